"""The start of a service instance: check the mount, decide hit or miss, point every client into the version, serve.

1  the mount: present, a folder, listable, readable                                   mount.py
2  the statements, through the bucket's API (the mount may lag): hit or miss; with
   VERIFY=full every byte of the version as the mount shows it                        models/gate.py, watch.py
3  on a miss: what on_miss says, then again; at last the previous trusted version     miss.py, private.py
4  every file of the version visible on the mount with its size                       stores.py
5  the environment narrowed to that version, then the service                         stores.py, service.py

Each instance writes ONE entry "cache hit" or "cache miss" when it decides (step 2). Exit codes: 0 after SIGTERM while
serving, 1 no version to serve or a model that cannot be loaded, 3 wrong settings or a bucket that does not exist,
4 the mount or the bucket cannot be reached or is not allowed, 130 interrupted while starting.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping

from scripts.cloud.connect import Cloud, connect_runtime
from scripts.container import logs, miss, mount, private, stores
from scripts.container.service import Active, serve
from scripts.container.watch import MOUNT, START_LIMIT_S, Watch, folders, on_mount, visible
from scripts.errors import OpsError
from scripts.models.gate import Decision, Look
from scripts.models.statements import Trusted
from scripts.settings.runtime import Runtime

UPSTREAM = "upstream"
DISABLED = "shared_volume_disabled"


def start(runtime: Runtime, environ: MutableMapping[str, str], began: float) -> int:
    """Start one instance and serve until SIGTERM; returns the exit code. began: time.monotonic() at process start."""
    cloud = connect_runtime(runtime.project, runtime.region, runtime.endpoint)
    active = prepare(runtime, cloud, environ, began)
    narrowed = stores.environment(active.stores, environ)
    environ.update(narrowed)
    return serve(runtime, active, narrowed, began)


def prepare(runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str], began: float) -> Active:
    """Steps 1 to 4: the version that this instance serves and where its files are."""
    if not runtime.enabled:
        _tell_decision(runtime, False, DISABLED, None, began)
        return _private(runtime, cloud, environ, DISABLED)
    found = mount.check(runtime.mount_path, runtime.bucket)
    logs.info("mount checked", path=str(found.path), bucket=runtime.bucket, empty=found.empty, read=found.read or None)
    watch = Watch(runtime, cloud.bucket(runtime.bucket), began)
    first = watch.look()
    _tell_decision(runtime, first.decision.hit, first.decision.reason, first.decision, began)
    if first.decision.hit:
        return _mounted(runtime, first, first.reading.trusted, began)
    if runtime.on_miss == "private":
        return _private(runtime, cloud, environ, first.decision.reason)
    if watch.rejected and runtime.on_miss != "fail":
        # No sync brings other bytes to files whose sizes and checksums are right.
        later = miss.settle(runtime, first, "the newest version was rejected, see the errors above")
    else:
        later = miss.resolve(runtime, cloud, environ, watch.look, first, began)
    return _mounted(runtime, first, later.reading.trusted, began)


def _tell_decision(runtime: Runtime, hit: bool, reason: str, decision: Decision | None, began: float) -> None:
    tell = logs.info if hit else logs.warning
    tell(
        "cache hit" if hit else "cache miss",
        cache_hit=hit,
        reason=reason,
        manifest_version=(decision.version or None) if decision else None,
        serial=(decision.serial or None) if decision else None,
        bucket=runtime.bucket,
        source=MOUNT if hit else UPSTREAM,
        on_miss=None if hit or not runtime.enabled else runtime.on_miss,
        duration_s=time.monotonic() - began,
    )


def _mounted(runtime: Runtime, first: Look, trusted: Trusted | None, began: float) -> Active:
    """Serve a trusted version from the mount, once all its files show there."""
    if trusted is None:
        raise OpsError("no trusted version to serve", f"Run: invoke sync --env {runtime.environment}")
    version, where = trusted.version, folders(runtime, trusted.version)
    checking = time.monotonic()
    size_bytes = visible(runtime, trusted, START_LIMIT_S - (checking - began))
    models = tuple(
        stores.Served(model.name, model.kind, model.source, model.revision, on_mount(where, model.kind, model.prefix))
        for model in trusted.manifest.models
    )
    logs.info(
        "version visible on the mount", manifest_version=version, serial=trusted.serial, size_bytes=size_bytes,
        bucket=runtime.bucket, source=MOUNT, duration_s=time.monotonic() - checking,
    )  # fmt: skip
    decision = first.decision
    return Active(decision.hit, decision.reason, MOUNT, version, trusted.serial, where, models)


def _private(runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str], reason: str) -> Active:
    """Pull the models onto this instance's own disk and serve from there."""
    private.online(environ)
    from scripts.models.sources.base import open_sources

    client = runtime.instance_id or runtime.revision
    sources = open_sources(cloud.upstreams(), environ.get("HF_TOKEN") or None, client=client)
    logs.info("private download started", models=[spec.source for spec in runtime.models], source=UPSTREAM)
    done = private.download(runtime.models, sources, private.default_root())
    logs.info(
        "private download finished", source=UPSTREAM, upstream_bytes=done.upstream_bytes, kept_bytes=done.kept_bytes,
        duration_s=done.duration_s,
    )  # fmt: skip
    return Active(False, reason, UPSTREAM, None, None, done.stores, done.models)
