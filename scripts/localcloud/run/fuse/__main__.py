"""Serve the mounts of one instance; standard input is the socket to the daemon."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys

from scripts.localcloud.run.fuse.desk import Desk
from scripts.localcloud.run.fuse.server import Server

_PARENT_DEATH_SIGNAL = 1


def main() -> int:
    """Serve to the end; the argument is the daemon's process id."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        return 1
    Server(Desk(socket.socket(fileno=os.dup(0)))).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
