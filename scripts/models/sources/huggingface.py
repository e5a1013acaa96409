"""Models from the Hugging Face hub: metadata through huggingface_hub, bytes through our own resumable streams.

Layout inside models--ORG--NAME: snapshots/<commit>/<path> and refs/main, real files, as its cache readers expect.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import requests

from scripts.errors import AccessDenied, BadInput, NotFound, OpsError
from scripts.models.sources.backoff import RETRYABLE, Backoff, Patience, asked_wait_s
from scripts.models.sources.base import RemoteFile, Resolved, part, safe_path
from scripts.models.sources.http import LOOPBACK, Http, explanation, refuse
from scripts.settings.project import user_agent
from scripts.settings.types import ModelSpec

BRANCH = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 30.0
_UNTRUSTED = "Do not use this model; the published version keeps serving."
_pulling: ContextVar[bool] = ContextVar("pulling", default=False)
_factory_lock = threading.Lock()
_factory_set = False


class HubSource:
    """Resolves and streams models of one hub; see base.Source. The token is sent to that hub alone."""

    def __init__(
        self, base_url: str, token: str | None = None, *, client: str = "", patience: Patience | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._client = client
        self._http = Http(client=client, patience=patience or Patience())

    @property
    def received_bytes(self) -> int:
        return self._http.received_bytes

    def resolve(self, spec: ModelSpec, pinned: str | None = None) -> Resolved:
        """See base.Source; one request unless the branch has moved away from the pinned commit."""
        wanted = spec.revision or pinned
        if wanted and not _COMMIT.fullmatch(wanted):
            raise BadInput(
                f"model {spec.name!r}: revision {wanted!r} is not a commit of 40 hexadecimal digits",
                "Correct `revision` in the environment file, or leave it empty to pin the newest commit.",
            )
        latest = None if spec.revision else self._info(spec, BRANCH)
        found = latest
        if wanted and (latest is None or latest.sha != wanted):
            found = self._info(spec, wanted)
        if found is None:
            raise _gone(spec, wanted, getattr(latest, "sha", None))
        commit = str(found.sha)
        if not _COMMIT.fullmatch(commit) or (wanted and commit != wanted):
            raise OpsError(
                f"model {spec.name!r}: expected commit {wanted or 'of 40 digits'}, found {commit!r}", _UNTRUSTED
            )
        moved_to = str(latest.sha) if latest is not None and latest.sha != commit else None
        return Resolved(spec, commit, _files(spec, commit, found.siblings), moved_to)

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See base.Source. A whole file that is known by its git id only is compared with it here."""
        if file.content is not None:
            return part(file.content, start, stop)
        spec = resolved.spec
        path = file.path.removeprefix(f"snapshots/{resolved.revision}/")
        url = f"{self._base_url}/{spec.source}/resolve/{resolved.revision}/{quote(path)}"
        what = f"model {spec.name!r}, {path} of {spec.source}"

        def opener(headers: Mapping[str, str], backoff: Backoff) -> requests.Response:
            sent = dict(headers) | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
            response = self._http.request("GET", url, sent, what, backoff)
            if response.status_code not in (200, 206):
                refuse(response, what, _access_remedy(self._token))
            return response

        body = self._http.stream(opener, what, file.size_bytes, start, stop)
        whole = start == 0 and stop in (None, file.size_bytes)
        return _compared(body, file, what) if whole and file.sha256 is None else body

    def _info(self, spec: ModelSpec, revision: str) -> Any | None:
        """What the hub tells about a revision, sizes and digests included; None when it does not have it."""
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RevisionNotFoundError

        _set_factory()
        headers = {"user-agent": user_agent()} | ({"x-modelshelf-client": self._client} if self._client else {})
        api = HfApi(endpoint=self._base_url, token=self._token or False, headers=headers)
        what = f"model {spec.name!r}, {spec.source} at {revision}"
        backoff = self._http.backoff()
        while True:
            try:
                with _pull():
                    return api.model_info(spec.source, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)
            except RevisionNotFoundError:
                return None
            except HfHubHTTPError as error:
                _wait_or_refuse(error, what, self._token, backoff)
            except HFValidationError as error:
                raise BadInput(
                    f"model {spec.name!r}: source {spec.source!r} is no repository id ({error})",
                    "Write it like BAAI/bge-m3 in the environment file.",
                ) from None
            except httpx2.TransportError as error:
                backoff.pause(what, f"{type(error).__name__}: {error}")
            except httpx2.RequestError as error:
                raise OpsError(f"{what}: {type(error).__name__}: {error}", "Try again later.") from None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise OpsError(
                    f"{what}: the answer is not a hub's ({type(error).__name__}: {error})", "Check the hub's address."
                ) from None


def select(paths: Sequence[str], patterns: Sequence[str], what: str) -> list[str]:
    """The paths that some allow-pattern matches (fnmatch over the whole path; `folder/` means all below it).

    No pattern means every path. Raises BadInput for a pattern that matches nothing: a misspelt one would silently
    publish a model without its weights.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        wide = f"{pattern}*" if pattern.endswith("/") else pattern
        matched = {path for path in paths if fnmatch.fnmatchcase(path, wide)}
        if not matched:
            offered = ", ".join(sorted(paths)[:12]) + (", …" if len(paths) > 12 else "")
            raise BadInput(
                f"{what}: the pattern {pattern!r} matches no file; the repository has {offered or 'none'}",
                "Correct `files` of this model in the environment file.",
            )
        chosen |= matched
    return [path for path in paths if path in chosen] if patterns else list(paths)


def _files(spec: ModelSpec, commit: str, siblings: Sequence[Any] | None) -> tuple[RemoteFile, ...]:
    what = f"model {spec.name!r}, {spec.source} at {commit[:12]}"
    by_path = {safe_path(sibling.rfilename, what): sibling for sibling in siblings or ()}
    if len(by_path) != len(siblings or ()) or not by_path:
        raise OpsError(f"{what}: expected files, each named once, found {len(siblings or ())} names", _UNTRUSTED)
    files = [
        _file(by_path[path], f"snapshots/{commit}/{path}", what) for path in select(list(by_path), spec.files, what)
    ]
    ref = commit.encode()
    digest = hashlib.sha256(ref).hexdigest()
    return (*files, RemoteFile(f"refs/{BRANCH}", len(ref), digest, f"sha256:{digest}", ref))


def _file(sibling: Any, path: str, what: str) -> RemoteFile:
    """A sibling as a file: large ones carry their sha256, others git's id of their content."""
    size = sibling.lfs.size if sibling.lfs is not None else sibling.size
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise OpsError(f"{what}: {sibling.rfilename}: expected a size in bytes, found {size!r}", _UNTRUSTED)
    if sibling.lfs is None:
        if not isinstance(sibling.blob_id, str) or not _COMMIT.fullmatch(sibling.blob_id):
            raise OpsError(f"{what}: {sibling.rfilename}: expected a git id, found {sibling.blob_id!r}", _UNTRUSTED)
        return RemoteFile(path, size, None, f"git:{sibling.blob_id}")
    sha256 = sibling.lfs.sha256
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise OpsError(f"{what}: {sibling.rfilename}: expected a sha256, found {sha256!r}", _UNTRUSTED)
    return RemoteFile(path, size, sha256, f"sha256:{sha256}")


def _compared(body: Iterator[bytes], file: RemoteFile, what: str) -> Iterator[bytes]:
    """The body, compared at its end with git's id: SHA-1 over the header `blob SIZE\\0` and the content."""
    hasher = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
    for chunk in body:
        hasher.update(chunk)
        yield chunk
    if f"git:{hasher.hexdigest()}" != file.identity:
        raise OpsError(f"{what}: expected content of {file.identity}, found git:{hasher.hexdigest()}", _UNTRUSTED)


def _gone(spec: ModelSpec, wanted: str | None, latest: str | None) -> NotFound:
    now = f"; branch {BRANCH} is now at {latest}" if latest else ""
    accept = f"set `revision: {latest}` for it" if latest else "correct its `source` or `revision`"
    return NotFound(
        f"model {spec.name!r}: the hub does not have revision {wanted or BRANCH} of {spec.source!r}{now}",
        f"A published version keeps serving; to go on, {accept} in the environment file.",
    )


def _wait_or_refuse(error: Any, what: str, token: str | None, backoff: Backoff) -> None:
    """Wait when the hub is busy or failing; else raise what its status means."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    response = error.response
    status = response.status_code
    if status in RETRYABLE:
        backoff.pause(what, f"the hub answered {status}{explanation(response.content)}", asked_wait_s(response.headers))
        return
    if isinstance(error, GatedRepoError):
        raise AccessDenied(f"{what}: access is granted to named users only", _access_remedy(token)) from None
    if isinstance(error, RepositoryNotFoundError) or status in (404, 410):
        hidden = "" if token else ", or it is private"
        raise NotFound(
            f"{what}: the hub has no such repository{hidden} ({status})",
            f"Check `source` of this model in the environment file; {_access_remedy(token)}",
        ) from None
    if status in (401, 403):
        raise AccessDenied(f"{what}: the hub does not allow it ({status})", _access_remedy(token)) from None
    raise OpsError(f"{what}: expected 200 from the hub, found {status}", "Try again later.") from None


def _access_remedy(token: str | None) -> str:
    if token:
        return "check that HF_TOKEN may read it and that its terms were accepted on the hub's page."
    return "for a private or gated one, set HF_TOKEN to a token that may read it."


@contextlib.contextmanager
def _pull() -> Iterator[None]:
    mark = _pulling.set(True)
    try:
        yield
    finally:
        _pulling.reset(mark)


def _set_factory() -> None:
    """Give huggingface_hub a client that lets our pulls through where HF_HUB_OFFLINE holds back every other request.

    Instances run with HF_HUB_OFFLINE=1 so that no reader ever asks the hub; one that has to pull for itself still
    must. Its own client also would send loopback requests to a proxy.
    """
    global _factory_set
    import httpx2
    from huggingface_hub import is_offline_mode, set_client_factory
    from huggingface_hub.errors import OfflineModeIsEnabled

    def hook(request: httpx2.Request) -> None:
        if is_offline_mode() and not _pulling.get():
            raise OfflineModeIsEnabled(f"Cannot reach {request.url}: HF_HUB_OFFLINE is set")

    def make() -> httpx2.Client:
        direct: dict[str, None] = {f"all://{'[::1]' if host == '::1' else host}": None for host in LOOPBACK}
        return httpx2.Client(event_hooks={"request": [hook]}, follow_redirects=True, timeout=None, mounts=direct)

    with _factory_lock:
        if not _factory_set:
            set_client_factory(make)
            _factory_set = True
