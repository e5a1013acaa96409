"""Whether FUSE works here: a mount with one file, served by the real process and looked at by a real child."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts import process

if TYPE_CHECKING:
    import subprocess

_PATIENCE_S = 20.0
_Serve = Callable[[int, Mapping[str, str]], "subprocess.Popen[bytes]"]


def works(argv: Sequence[str], proof: Path, serve: _Serve) -> bool:
    """Run argv, which finds a mount whose only file has the content of proof: whether it ends with 0."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    (ours, server_end), (launch, launch_end) = pairs
    children: list[subprocess.Popen[bytes]] = []
    with ours, launch:
        ours.settimeout(_PATIENCE_S)
        launch.settimeout(_PATIENCE_S)
        try:
            with server_end, launch_end:
                children.append(serve(server_end.fileno(), {}))
                with Path(os.devnull).open("wb") as nowhere:
                    child = process.spawn(argv, stdin=launch_end.fileno(), stdout=nowhere, stderr=nowhere)
                children.append(child)
            threading.Thread(target=_answer, args=(ours, launch, proof), daemon=True).start()
            return _code(child) == 0
        finally:
            for each in children:
                process.kill_group(each)


def _code(child: subprocess.Popen[bytes]) -> int | None:
    try:
        return child.wait(_PATIENCE_S)
    except Exception:  # the time-out's type belongs to a module that is process's own
        return None


def _answer(ours: socket.socket, launch: socket.socket, proof: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        _, descriptors, _, _ = socket.recv_fds(launch, 16, 1)
        told = {
            "mount": 0, "bucket": "proof", "prefix": "", "endpoint": "", "instance": "", "staging": "",
            "uid": os.getuid(), "gid": os.getgid(), "file_mode": 0o644, "dir_mode": 0o755, "cached": False,
            "rename_dir_limit": 0, "bandwidth_bytes_s": None,
        }  # fmt: skip
        socket.send_fds(ours, [json.dumps({"settings": told}).encode()], descriptors)
        os.close(descriptors[0])
        while packet := ours.recv(1 << 16):
            question = json.loads(packet)
            found = [False, 1, proof.stat().st_size, str(proof)] if question.get("path") == proof.name else None
            answer: dict[str, Any] = {"answer": question.get("ask"), "found": found, "cached": True, "live": True}
            if "ask" in question:
                ours.send(json.dumps(answer).encode())
