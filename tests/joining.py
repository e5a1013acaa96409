"""The stand-in, but with every composite lying in its parts until it is read, small ones too."""

from __future__ import annotations

from scripts.localcloud.daemon import main
from scripts.localcloud.storage import joints

if __name__ == "__main__":
    joints.JOINED_BYTES = 0
    raise SystemExit(main())
