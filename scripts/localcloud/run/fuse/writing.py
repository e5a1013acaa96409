"""What changes the bucket: files become objects when closed, folders are folder objects, renames are copies."""

from __future__ import annotations

import errno

from scripts.localcloud.run.fuse import wire
from scripts.localcloud.run.fuse.desk import Found
from scripts.localcloud.run.fuse.mount import Mount
from scripts.localcloud.run.fuse.nodes import DROPPED, OVERTAKEN, Draft, Node
from scripts.localcloud.run.fuse.wire import Call, Refusal


class WritableMount(Mount):
    """A mount with the requests that write. On a read-only one the kernel refuses them (EROFS) before they come."""

    def create(self, call: Call) -> bytes:
        """A new file and a handle for it. No object is made yet: O_EXCL protects within this instance alone."""
        path = self.child(call.node, wire.name(call.data[wire.CREATE_IN.size :]))
        node = self.nodes.draft(path, Draft(self.settings.staging, None))
        node.lookups += 1
        return wire.entry(self.attributes(node)) + wire.opened(self.handle(node, True), wire.KEEP_CACHE)

    def write(self, call: Call) -> bytes:
        """Bytes for a draft."""
        number, offset, size, *_ = wire.WRITE_IN.unpack_from(call.data)
        draft = self.opened(number).node.draft
        if draft is None:
            raise Refusal(errno.EBADF)
        return wire.written(draft.write(call.data[wire.WRITE_IN.size :][:size], offset))

    def setattr(self, call: Call) -> bytes:
        """A new size; modes, owners and times are taken and forgotten, as gcsfuse does."""
        valid, _, _, size_bytes = wire.SETATTR_IN.unpack_from(call.data)
        node = self.nodes[call.node]
        if valid & wire.SET_SIZE and not node.folder:
            self.edit(node, empty=size_bytes == 0).truncate(size_bytes)
            if not any(each.writable for each in node.handles):
                try:
                    self.publish(node)
                finally:
                    self.nodes.settled(node)
        return wire.attributes_out(self.attributes(node))

    def flush(self, call: Call) -> bytes:
        """A descriptor of the file is closed: what was written becomes an object."""
        handle = self.opened(wire.HANDLE_IN.unpack_from(call.data)[0])
        if handle.writable:
            self.publish(handle.node)
        return b""

    def publish(self, node: Node) -> None:
        """Make the draft a new generation, if it has changed. Raises Refusal."""
        draft = node.draft
        if draft is None or not draft.dirty or draft.fate == DROPPED:
            return
        if draft.fate == OVERTAKEN:
            raise Refusal(errno.ESTALE)
        size_bytes = draft.size_bytes
        generation = self.bucket.upload(node.path, draft.descriptor, size_bytes)
        draft.dirty = False
        found, _ = self.desk.look(self.settings.mount, node.path, fresh=True)
        if found is None or found.generation != generation:  # overwritten or deleted by another already
            found = Found(False, generation, size_bytes, "")
        self.nodes.published(node, found)
        if node.handles:
            self.watch(node)

    def unlink(self, call: Call) -> bytes:
        """Delete an object, or a file that is none yet."""
        path = self.child(call.node, wire.name(call.data))
        node = self.nodes.drafts.pop(path, None)
        if node is not None and node.draft is not None:
            node.draft.fate = DROPPED
        try:
            self.bucket.remove(path)
        except Refusal as refusal:
            if refusal.number != errno.ENOENT or node is None:
                raise
        finally:
            self._look_again(path)
        return b""

    def mkdir(self, call: Call) -> bytes:
        """A folder object."""
        path = self.child(call.node, wire.name(call.data[wire.MKDIR_IN.size :]))
        self.bucket.make_folder(path)
        self._look_again(path)
        return wire.entry(self.attributes(self.named(path)))

    def rmdir(self, call: Call) -> bytes:
        """Delete a folder object; ENOTEMPTY when there is something in it."""
        path = self.child(call.node, wire.name(call.data))
        self._must_be_empty(path)
        self._remove_folder(path)
        return b""

    def rename(self, call: Call) -> bytes:
        """Copy and delete: others may see both names, or after a failure two objects."""
        self._rename(call, *wire.RENAME_IN.unpack_from(call.data), data=call.data[wire.RENAME_IN.size :])
        return b""

    def rename2(self, call: Call) -> bytes:
        """As rename, with flags."""
        parent, flags, _ = wire.RENAME2_IN.unpack_from(call.data)
        self._rename(call, parent, data=call.data[wire.RENAME2_IN.size :], keep=wire.no_replace(flags))
        return b""

    def _rename(self, call: Call, parent: int, *, data: memoryview, keep: bool = False) -> None:
        old, new = wire.names(data)
        source, target = self.child(call.node, old), self.child(parent, new)
        there, _ = self.desk.look(self.settings.mount, target, fresh=True)
        if keep and there is not None:
            raise Refusal(errno.EEXIST)
        node = self.nodes.drafts.get(source)
        found, _ = self.desk.look(self.settings.mount, source)
        if node is None and found is not None and found.folder:
            self._rename_folder(source, target)
        else:
            self._rename_file(node, source, target)

    def _rename_file(self, node: Node | None, source: str, target: str) -> None:
        if node is not None and node.draft is not None:
            self.publish(node)
            node.draft.fate = OVERTAKEN
            del self.nodes.drafts[source]
        try:
            self.bucket.copy(source, target)
            self.bucket.remove(source)
        finally:
            self._look_again(source, target)

    def _rename_folder(self, source: str, target: str) -> None:
        inside = list(self._below(source))
        if len(inside) > self.settings.rename_dir_limit:
            raise Refusal(errno.EMFILE)
        self._must_be_empty(target)
        self._make_folder(target)
        for path, folder in inside:
            moved = target + path.removeprefix(source)
            if folder:
                self._make_folder(moved)
            else:
                self.bucket.copy(path, moved)
        for path, folder in reversed(inside):
            if folder:
                self._remove_folder(path)
            else:
                self.bucket.remove(path)
                self._look_again(path)
        self._remove_folder(source)
        self._look_again(target)

    def _below(self, folder: str) -> list[tuple[str, bool]]:
        found: list[tuple[str, bool]] = []
        for name, is_folder in list(self.desk.entries(self.settings.mount, folder)):
            path = f"{folder}/{name}"
            found.append((path, is_folder))
            if is_folder:
                found += self._below(path)
        return found

    def _make_folder(self, path: str) -> None:
        try:
            self.bucket.make_folder(path)
        except Refusal as refusal:
            if refusal.number != errno.EEXIST:
                raise

    def _remove_folder(self, path: str) -> None:
        try:
            self.bucket.remove(path + "/")
        except Refusal as refusal:
            if refusal.number != errno.ENOENT:  # a folder that no object makes
                raise
        finally:
            self._look_again(path)

    def _must_be_empty(self, path: str) -> None:
        drafts = any(each.startswith(f"{path}/") for each in self.nodes.drafts)
        if drafts or next(self.desk.entries(self.settings.mount, path), None) is not None:
            raise Refusal(errno.ENOTEMPTY)

    def _look_again(self, *paths: str) -> None:
        for path in paths:
            self.desk.look(self.settings.mount, path, fresh=True)
