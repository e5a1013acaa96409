"""A sync in a process of its own, slow enough to be killed in the middle: URL BUCKET FOLDER PAUSE_S."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.cloud.storage import open_bucket
from scripts.models import signing
from scripts.models.sync import sync
from tests.models.support import SPECS, FolderSource

LEASE_TTL_S = 1.5


def main(url: str, bucket: str, folder: Path, pause_s: float) -> None:
    """Sync both models of a world's folder and print the result."""
    signer = signing.load_signer(f"file:{folder / 'keys' / signing.PRIVATE_NAME}")
    ollama = FolderSource(folder / "upstream", "ollama", pause_s=pause_s, chunk=1 << 16)
    hub = FolderSource(folder / "upstream", "huggingface", pause_s=pause_s, chunk=1 << 16)
    result = sync(
        open_bucket("test-project", url, bucket),
        SPECS,
        {"ollama": ollama, "huggingface": hub},
        signer,
        keys=(signing.key_of(signer),),
        say=lambda line: print(line, flush=True),
        environment="test",
        lease_ttl_s=LEASE_TTL_S,
    )
    print(f"RESULT {result.outcome} {result.version} {result.serial} {result.upstream_bytes}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
