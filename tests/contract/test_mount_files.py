"""Reading and writing through a mount: ESTALE, EROFS, objects at close, the last writer, locks that protect nobody."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests.contract.mount_support import AT_ONCE, MINUTE_S, SHOWN, Connect, Mounts, content, names
from tests.contract.run_support import until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def mounts(shared_standin: Any, connect: Connect) -> Mounts:
    return Mounts(shared_standin, connect(shared_standin.url))


def test_a_read_only_mount_refuses_every_write(mounts: Mounts) -> None:
    """The container keeps its lock or cache beside the models: EROFS, for root too."""
    bucket = mounts.bucket("sealed", model="m", folder__x="x")
    careless = mounts.instance("sealed", bucket, AT_ONCE)
    if careless.mode == "rewritten":  # file modes are all there is, and root may ignore them
        assert oct(careless("mode", "")[0]) == oct(0o555)
        return
    refused = [
        careless("save", "model.lock", text="1"),
        careless("save", "model", text="1"),
        careless("append", "model", text="1"),
        careless("cut", "model", length=0),
        careless("replace", "model", text="1"),
        careless("rename", "model", to="other"),
        careless("remove", "model"),
        careless("remove", "folder"),
        careless("folder", "new"),
        careless("link", "link", to="model"),
        careless("lock", "lock"),
    ]
    assert set(refused) == {"EROFS"}
    assert names(bucket) == ["folder/x", "model"] and content(bucket, "model") == "m"


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("mount", [AT_ONCE, SHOWN])
def test_a_file_that_is_replaced_while_it_is_open_is_stale(mounts: Mounts, versioned: bool, mount: str) -> None:
    """The container opens its model once and reads on for ever; somebody overwrites in place."""
    if not mounts.fuse:
        return
    name = f"replaced-{versioned}-{len(mount)}".lower()
    bucket = mounts.bucket(name, model="old content", other="o")
    bucket.versioning_enabled = versioned
    bucket.patch()
    careless = mounts.instance(name, bucket, mount)
    assert careless("hold", "model", length=3) == "old"
    assert careless("hold", "other", length=0) == ""
    bucket.blob("model").upload_from_string("new content")
    assert until(lambda: careless("more", "model", length=8) == "ESTALE")
    assert until(lambda: careless("again", "model") == "ESTALE")
    assert careless("again", "other") == "o"
    mounts.advance(MINUTE_S)
    assert careless("hold", "model", length=3) == "new"
    bucket.blob("model").delete()
    assert until(lambda: careless("more", "model", length=8) == "ESTALE")


def test_a_mapped_file_that_is_replaced_kills_who_touches_it(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("mapped", model="weights")
    careless = mounts.instance("mapped", bucket, AT_ONCE)
    assert careless("hold_map", "model") == 7
    bucket.blob("model").upload_from_string("others")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        careless("touch_map", "model")
    assert until(lambda: mounts.cloud.entries('resource.labels.service_name="mapped" AND textPayload:"signal 7"'))


def test_a_new_file_becomes_an_object_when_it_is_closed(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("closing", model="m")
    careless, other = mounts.instances("closing", bucket, AT_ONCE, count=2, read_only=False)
    careless("start", "result", text="half a resu")
    assert names(bucket) == ["model"] and other("read", "result") == "ENOENT"
    assert careless("read", "result") == "half a resu" and careless("listing") == ["model", "result"]
    careless("finish", "result")
    assert content(bucket, "result") == "half a resu" and other("read", "result") == "half a resu"
    careless("start", "synced", text="x")
    careless("sync", "synced")
    assert content(bucket, "synced") == "x"


def test_changing_a_file_makes_a_new_generation_of_the_whole(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("changing", log="one\n")
    first = bucket.get_blob("log").generation
    careless = mounts.instance("changing", bucket, AT_ONCE, read_only=False)
    assert careless("append", "log", text="two\n") == 4
    assert content(bucket, "log") == "one\ntwo\n" and bucket.get_blob("log").generation > first
    assert careless("read", "log") == "one\ntwo\n"
    assert careless("cut", "log", length=3) is None and content(bucket, "log") == "one"
    assert careless("save", "log", text="") == 0 and content(bucket, "log") == ""
    big = "0123456789" * 300_000
    assert careless("save", "big", text=big) == len(big) and content(bucket, "big") == big
    assert careless("load", "big")[0] == len(big)


def test_of_two_writers_the_last_one_wins(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("writers", state="0")
    one, two = mounts.instances("writers", bucket, AT_ONCE, count=2, read_only=False)
    one("start", "state", text="from one")
    two("start", "state", text="from two, longer")
    assert two("finish", "state") is None and content(bucket, "state") == "from two, longer"
    assert one("finish", "state") is None and content(bucket, "state") == "from one"
    assert two("read", "state") == "from one"


def test_a_lock_file_protects_nobody(mounts: Mounts) -> None:
    """Two instances create the file that must not exist, and both hold the lock."""
    if not mounts.fuse:
        return
    bucket = mounts.bucket("locks", there="x")
    one, two = mounts.instances("locks", bucket, AT_ONCE, count=2, read_only=False)
    assert [one("lock", "leader"), two("lock", "leader")] == ["mine", "mine"]
    assert one("lock", "leader") == "EEXIST"  # within one instance it does protect
    assert [one("flock", "there"), two("flock", "there")] == ["mine", "mine"]


def test_renaming_copies_and_deletes(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("renaming", a__x="x", a__y="y", kept="k", target="t")
    careless = mounts.instance("renaming", bucket, AT_ONCE, read_only=False)
    assert careless("rename", "kept", to="a/kept") is None
    assert careless("replace", "target", text="new") is None
    assert names(bucket) == ["a/kept", "a/x", "a/y", "target"]
    assert content(bucket, "a/kept") == "k" and content(bucket, "target") == "new"
    assert careless("rename", "a", to="b") == "EMFILE"
    willing = mounts.instance("willing", bucket, f"{AT_ONCE},rename-dir-limit=10", read_only=False)
    assert willing("rename", "a", to="b") is None
    assert names(bucket) == ["b/", "b/kept", "b/x", "b/y", "target"]
    assert willing("listing") == ["b/", "target"]


def test_folders_are_objects(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("folders")
    careless = mounts.instance("folders", bucket, "metadata-cache-ttl-secs=0", read_only=False)
    assert careless("folder", "a") is None and careless("folder", "a") == "EEXIST"
    assert names(bucket) == ["a/"]
    assert careless("save", "a/x", text="x") == 1 and careless("remove", "a") == "ENOTEMPTY"
    assert careless("remove", "a/x") is None and careless("remove", "a") is None
    assert names(bucket) == [] and careless("listing") == [] and careless("remove", "a") == "ENOENT"
    assert careless("save", "no/folder", text="x") == "ENOENT"
    assert careless("link", "link", to="a") == "ENOSYS"


def test_an_instance_sees_what_it_did_itself_whatever_it_remembers(mounts: Mounts) -> None:
    if not mounts.fuse:
        return
    bucket = mounts.bucket("itself", old="o")
    careless = mounts.instance("itself", bucket, SHOWN, read_only=False)
    assert (careless("read", "old"), careless("read", "new")) == ("o", "ENOENT")
    assert careless("save", "new", text="n") == 1 and careless("read", "new") == "n"
    assert careless("save", "old", text="changed") == 7 and careless("read", "old") == "changed"
    assert careless("remove", "old") is None and careless("read", "old") == "ENOENT"
    assert careless("replace", "new", text="newer") is None and careless("read", "new") == "newer"


def test_a_bucket_that_refuses_makes_close_fail(mounts: Mounts) -> None:
    """Nobody who ignores the result of close learns that nothing was stored."""
    if not mounts.fuse:
        return
    bucket = mounts.bucket("refusing", kept="k")
    careless = mounts.instance("refusing", bucket, AT_ONCE, read_only=False)
    bucket.blob("kept").temporary_hold = True
    blob = bucket.get_blob("kept")
    blob.temporary_hold = True
    blob.patch()
    assert careless("save", "kept", text="x") == "EACCES" and careless("remove", "kept") == "EACCES"
    assert content(bucket, "kept") == "k" and careless("read", "kept") == "k"
