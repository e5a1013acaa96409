"""What an instance knows of names: late by the metadata cache, blind to folders that no object makes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.mount_support import AT_ONCE, MINUTE_S, SHOWN, Connect, Mounts, content
from tests.contract.run_support import condition, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def mounts(shared_standin: Any, connect: Connect) -> Mounts:
    return Mounts(shared_standin, connect(shared_standin.url))


@pytest.mark.parametrize("versioned", [False, True])
def test_a_pointer_read_through_the_mount_is_stale_for_a_minute(mounts: Mounts, versioned: bool) -> None:
    bucket = mounts.bucket(f"pointer-{versioned}".lower(), manifest_DOT_json="v1")
    bucket.versioning_enabled = versioned
    bucket.patch()
    careless = mounts.instance(f"pointer-{versioned}".lower(), bucket, SHOWN)
    assert careless("read", "manifest.json") == "v1"
    mounts.advance(30)
    bucket.blob("manifest.json").upload_from_string("version 2")
    assert content(bucket, "manifest.json") == "version 2"
    assert (careless("read", "manifest.json"), careless("size", "manifest.json")) == ("v1", 2)
    mounts.advance(MINUTE_S)
    assert (careless("read", "manifest.json"), careless("size", "manifest.json")) == ("version 2", 9)


def test_a_cache_of_no_seconds_shows_every_change_at_once(mounts: Mounts) -> None:
    bucket = mounts.bucket("at-once", pointer="v1")
    careful = mounts.instance("at-once", bucket, AT_ONCE)
    assert careful("read", "pointer") == "v1" and careful("read", "new") == "ENOENT"
    bucket.blob("pointer").upload_from_string("v2")
    bucket.blob("new").upload_from_string("n")
    assert careful("read", "pointer") == "v2" and careful("read", "new") == "n"
    bucket.blob("new").delete()
    assert until(lambda: careful("read", "new") == "ENOENT" and careful("listing") == ["pointer"])


def test_a_cache_without_end_never_looks_again(mounts: Mounts) -> None:
    bucket = mounts.bucket("for-ever", pointer="v1")
    careless = mounts.instance("for-ever", bucket, "metadata-cache-ttl-secs=-1")
    assert careless("read", "pointer") == "v1"
    bucket.blob("pointer").upload_from_string("v2")
    mounts.advance(3600)
    assert careless("read", "pointer") == "v1"


def test_the_deprecated_option_sets_the_time_too(mounts: Mounts) -> None:
    bucket = mounts.bucket("deprecated", pointer="v1")
    careless = mounts.instance("deprecated", bucket, "stat-cache-ttl=10s,type-cache-ttl=1h")
    assert careless("read", "pointer") == "v1"
    bucket.blob("pointer").upload_from_string("v2")
    mounts.advance(11)
    assert careless("read", "pointer") == "v2"


def test_what_was_not_there_is_believed_for_five_seconds(mounts: Mounts) -> None:
    bucket = mounts.bucket("negative")
    careless = mounts.instance("negative", bucket, SHOWN)
    assert careless("read", "done") == "ENOENT"
    bucket.blob("done").upload_from_string("yes")
    assert careless("read", "done") == "ENOENT"
    mounts.advance(6)
    assert careless("read", "done") == "yes"


def test_each_instance_counts_from_when_it_looked(mounts: Mounts) -> None:
    """Two instances disagree about the active version, and the one that never looked is up to date."""
    if not mounts.fuse:
        return
    bucket = mounts.bucket("each", pointer="v1")
    early, late, never = mounts.instances("each", bucket, SHOWN, count=3)
    assert early("read", "pointer") == "v1"
    mounts.advance(40)
    assert late("read", "pointer") == "v1"
    bucket.blob("pointer").upload_from_string("v2")
    mounts.advance(30)
    assert [each("read", "pointer") for each in (early, late, never)] == ["v2", "v1", "v2"]
    mounts.advance(31)
    assert late("read", "pointer") == "v2"


def test_a_listing_is_fresh_and_refreshes_what_it_shows(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("listed", pointer="v1")
    careless = mounts.instance("listed", bucket, SHOWN)
    assert careless("read", "pointer") == "v1"
    bucket.blob("pointer").upload_from_string("v2")
    bucket.blob("other").upload_from_string("o")
    assert careless("read", "pointer") == "v1"
    assert careless("listing") == ["other", "pointer"]
    assert careless("read", "pointer") == "v2"


def test_without_implicit_dirs_a_prefix_is_invisible(mounts: Mounts) -> None:
    """Objects that the API wrote, in folders that no object makes: the container finds an empty mount."""
    bucket = mounts.bucket("prefixes", top="t", sbert__v1__model="m", made__file="f")
    blind = mounts.instance("blind", bucket, "metadata-cache-ttl-secs=0")
    seeing = mounts.instance("seeing", bucket, AT_ONCE)
    assert blind("tree") == ["top"] and blind("read", "sbert/v1/model") == "ENOENT"
    assert seeing("tree") == ["made", "made/file", "sbert", "sbert/v1", "sbert/v1/model", "top"]
    bucket.blob("made/").upload_from_string("")
    assert blind("tree") == ["made", "made/file", "top"]
    bucket.blob("sbert/v1/").upload_from_string("")  # its parent is still no object
    assert blind("read", "sbert/v1/model") == "ENOENT"
    bucket.blob("sbert/").upload_from_string("")
    assert blind("read", "sbert/v1/model") == "m"
    bucket.blob("sbert/").delete()
    assert until(lambda: blind("tree") == ["made", "made/file", "top"])


def test_only_dir_shows_one_folder(mounts: Mounts) -> None:
    bucket = mounts.bucket("only", top="t", a__b__x="x", a__bc="no", a__b__c__y="y")
    careful = mounts.instance("only", bucket, f"only-dir=a/b,{AT_ONCE}")
    assert careful("tree") == ["c", "c/y", "x"] and careful("read", "c/y") == "y"


def test_a_folder_with_very_many_files_is_listed_whole(mounts: Mounts) -> None:
    bucket = mounts.bucket("many")
    files = [f"f{number:03}" for number in range(260)]
    for name in [*files, *(f"d{number:03}/inner/file" for number in range(40))]:
        bucket.blob(name).upload_from_string("x")
    careful = mounts.instance("many", bucket, AT_ONCE)
    assert careful("listing") == [f"d{number:03}/" for number in range(40)] + files


def test_modes_and_owners_are_as_the_options_say(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("modes", file="x", folder__file="y")
    plain = mounts.instance("modes", bucket, AT_ONCE)
    own = plain("mode", "file")[1:]
    assert plain("mode", "file")[0] == 0o644 and plain("mode", "folder") == [0o755, *own]
    chosen = mounts.instance("chosen", bucket, f"{AT_ONCE},file-mode=440,dir-mode=550,uid={own[0]},gid={own[1]}")
    assert chosen("mode", "file") == [0o440, *own] and chosen("mode", "folder") == [0o550, *own]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("implicit-dirs,no-such-flag=1", "unknown flag: --no-such-flag"),
        ("metadata-cache-ttl=0", "unknown flag: --metadata-cache-ttl"),
        ("metadata-cache-ttl-secs=-2", "metadata-cache-ttl-secs=-2"),
        ("file-mode=999", "file-mode=999"),
    ],
)
def test_an_option_that_gcsfuse_does_not_know_fails_the_revision(mounts: Mounts, options: str, told: str) -> None:
    bucket = mounts.bucket("unknown-option")
    name = "bad-" + "".join(each for each in options if each.isalnum())[:40]
    ready = condition(mounts.create(name, bucket.name, options), "Ready")
    assert ready["status"] == "False" and told in ready["message"] and "/models" in ready["message"]
