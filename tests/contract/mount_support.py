"""Instances with a mount, driven one operation at a time, for the contract tests of mounts."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from functools import cached_property
from typing import Any

from tests.contract.run_support import CONTAINERS, Cloud, condition, service

CARELESS = ["python", str(CONTAINERS / "careless.py")]
MINUTE_S = 61
SHOWN = "implicit-dirs=true"
AT_ONCE = "implicit-dirs=true,metadata-cache-ttl-secs=0"


class Instance:
    """One instance of a careless container with a bucket at /models. Calls go to it alone, past the front."""

    def __init__(self, described: dict[str, Any], root: str) -> None:
        self.id = described["id"]
        self.pid = described["pid"]
        self.mode = described["mount_mode"]
        self._url = f"http://127.0.0.1:{described['port']}"
        self._root = root if self.mode == "rewritten" else "/models"

    def __call__(self, operation: str, path: str = "", **arguments: Any) -> Any:
        """What an operation gives, or the name of its errno. Paths are relative to the mount."""
        arguments = {**arguments, "path": self._at(path)}
        if "to" in arguments:
            arguments["to"] = self._at(arguments["to"])
        request = urllib.request.Request(f"{self._url}/{operation}", json.dumps(arguments).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            told: dict[str, Any] = json.load(answer)
        return told.get("errno", told.get("value"))

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


class Mounts:
    """A stand-in and its storage client, with short ways to what the tests of mounts do."""

    def __init__(self, standin: Any, client: Any) -> None:
        self.standin = standin
        self.client = client
        self.cloud = Cloud(standin.url)

    @cached_property
    def fuse(self) -> bool:
        """Whether mounts are made by FUSE here; if not, a writable one must be refused and say why."""
        told = self.standin.get("/_local/mounts")
        if told["mode"] == "fuse":
            return True
        bucket = self.bucket(f"plain-{told['mode']}")
        ready = condition(self.create(f"refused-{told['mode']}", bucket.name, AT_ONCE, read_only=False), "Ready")
        assert ready["status"] == "False" and "/dev/fuse" in ready["message"]
        return False

    def bucket(self, name: str, **objects: str) -> Any:
        """The bucket of this name, with objects (`__` in a keyword is a slash, `_DOT_` a dot)."""
        found = self.client.lookup_bucket(name) or self.client.create_bucket(name)
        for key, text in objects.items():
            found.blob(key.replace("__", "/").replace("_DOT_", ".")).upload_from_string(text)
        return found

    def create(self, name: str, bucket: str, mount: str, count: int = 1, read_only: bool = True) -> dict[str, Any]:
        """A service with the bucket at /models."""
        return self.cloud.create(
            service(
                name,
                bucket=bucket,
                mount=mount,
                read_only=read_only,
                env={"SEEN_AT": "/models"},
                container={"command": CARELESS},
                annotations={"autoscaling.knative.dev/minScale": str(count)},
            )
        )

    def instances(self, name: str, bucket: Any, mount: str, count: int = 1, read_only: bool = True) -> list[Instance]:
        """Ready instances of a new service."""
        ready = condition(self.create(name, bucket.name, mount, count, read_only), "Ready")
        assert ready["status"] == "True", ready
        found = self.cloud.instances(name)
        assert len(found) == count
        return [Instance(each, self._root(each)) for each in found]

    def _root(self, described: dict[str, Any]) -> str:
        if described["mount_mode"] != "rewritten":
            return ""
        request = urllib.request.Request(f"http://127.0.0.1:{described['port']}/environment", b"{}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["value"]["SEEN_AT"])

    def instance(self, name: str, bucket: Any, mount: str, read_only: bool = True) -> Instance:
        """The one instance of a new service."""
        return self.instances(name, bucket, mount, read_only=read_only)[0]

    def advance(self, seconds: float) -> None:
        """Move the stand-in's clock."""
        self.standin.post("/_local/clock", {"advance_s": seconds})


def content(bucket: Any, name: str) -> str:
    """What Cloud Storage says that an object holds."""
    return str(bucket.blob(name).download_as_bytes().decode())


def names(bucket: Any) -> list[str]:
    """The names of the live objects."""
    return sorted(blob.name for blob in bucket.list_blobs())


Connect = Callable[[str], Any]
