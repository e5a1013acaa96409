"""Where the details of an unexpected error are written: a file, not the screen."""

from __future__ import annotations

import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from scripts.process import redact
from scripts.settings.project import state_dir


def record(error: Exception) -> str:
    """Write the traceback (secrets hidden) to the state folder, else to the temporary one; say where it is."""
    now = datetime.now(UTC)
    trace = "".join(traceback.format_exception(error))
    text = redact(f"{now.isoformat()}\n{' '.join(sys.argv)}\npython {sys.version}\n\n{trace}")
    for folder in (state_dir() / "errors", Path(tempfile.gettempdir()) / "modelshelf-errors"):
        path = folder / f"{now.strftime('%Y%m%dT%H%M%S.%fZ')}.log"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return f"Details were written to {path}"
    return "Details could not be written anywhere: neither the state folder nor the temporary one takes a file."
