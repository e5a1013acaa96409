"""Mount options are read as gcsfuse reads its flags, and what it does not know is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from scripts.localcloud.run.mount_options import BadOption, Options, of_volume, parse


def test_the_defaults_are_those_of_gcsfuse() -> None:
    plain = parse("", read_only=False)
    assert plain == Options()
    assert (plain.implicit_dirs, plain.ttl_s, plain.negative_ttl_s, plain.cached) == (False, 60.0, 5.0, True)
    assert (plain.file_mode, plain.dir_mode, plain.rename_dir_limit) == (0o644, 0o755, 0)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("implicit-dirs", {"implicit_dirs": True}),
        ("implicit-dirs=false", {}),
        (" implicit_dirs=True , metadata-cache-ttl-secs=0,", {"implicit_dirs": True, "ttl_s": 0.0}),
        ("metadata-cache-ttl-secs=-1", {"ttl_s": math.inf}),
        ("metadata-cache:ttl-secs=7", {"ttl_s": 7.0}),
        ("metadata-cache-negative-ttl-secs=0", {"negative_ttl_s": 0.0}),
        ("stat-cache-ttl=1h30m,type-cache-ttl=1500ms", {"ttl_s": 2.0}),
        ("stat-cache-ttl=1h,metadata-cache-ttl-secs=3", {"ttl_s": 3.0}),
        ("only-dir=/a/b/", {"prefix": "a/b/"}),
        ("uid=1000,gid=-1,file-mode=0640,dir-mode=750", {"uid": 1000, "file_mode": 0o640, "dir_mode": 0o750}),
        ("o=ro", {"read_only": True}),
        ("rw,o=allow_other", {}),
        ("rename-dir-limit=5,limit-bytes-per-sec=1000", {"rename_dir_limit": 5, "bandwidth_bytes_s": 1000.0}),
        ("limit-bytes-per-sec=-1,stat-cache-max-size-mb=-1,log-severity=trace", {}),
    ],
)
def test_options_are_read(text: str, changes: dict[str, Any]) -> None:
    assert parse(text, read_only=False) == replace(Options(), **changes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cache-for-ever=1", "unknown flag: --cache-for-ever"),
        ("implicit-dirs=yes", "'implicit-dirs=yes': expected true or false"),
        ("metadata-cache-ttl-secs=60s", "expected whole seconds"),
        ("metadata-cache-ttl-secs=-2", "-1 for no expiry"),
        ("stat-cache-ttl=60", "a duration like 60s"),
        ("only-dir=a//b", "a folder of the bucket"),
        ("only-dir=../a", "a folder of the bucket"),
        ("file-mode=rw", "octal"),
        ("uid=root", "expected a number"),
        ("o=suid", "unknown FUSE option: -o suid"),
        ("limit-bytes-per-sec=0", "bytes per second"),
    ],
)
def test_what_gcsfuse_cannot_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadOption, match=told):
        parse(text, read_only=True)


def test_a_volume_that_is_read_only_stays_so() -> None:
    csi = {"readOnly": True, "volumeAttributes": {"bucketName": "b", "mountOptions": "rw,o=rw"}}
    assert of_volume(csi).read_only
    assert not of_volume({**csi, "readOnly": False}).read_only
    assert of_volume({"readOnly": True}) == Options(read_only=True)
