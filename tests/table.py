"""The stand-in's daemon with one more program in its table of images: `broken`, tests/data/containers/revision.py."""

from __future__ import annotations

import sys

from scripts.localcloud import daemon
from scripts.localcloud.run import images
from tests.conftest import ROOT

PROGRAM = "tests/data/containers/revision.py"
IMAGE = "us-docker.pkg.dev/tests/containers/broken:1"

if __name__ == "__main__":
    images.IMAGES["broken"] = images.Image((sys.executable, str(ROOT / PROGRAM)), sources=(PROGRAM,))
    raise SystemExit(daemon.main())
