"""python -m scripts.localcloud --state DIR --port N: the daemon, in the foreground."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Started over and over: to compile 250 modules each time would take longer than all else. What is kept lies in
    # __pycache__, which git ignores, and a checkout that cannot be written to is none the worse.
    sys.dont_write_bytecode = False
    from scripts.localcloud.daemon import main

    raise SystemExit(main())
