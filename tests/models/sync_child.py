"""A sync in a process of its own, that waits in the middle until it is killed: URL BUCKET FOLDER."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.cloud.storage import open_bucket
from scripts.models import signing
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.sync import sync
from tests.models.support import SPECS, FolderSource

LEASE_TTL_S = 3.0
WHOLE_FILES = 3


class Stalling(FolderSource):
    """An upstream that sends three files, and of the others the first chunk."""

    numbers = itertools.count(1)

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        number = next(self.numbers)
        for chunk in super().open(resolved, file, start, stop):
            yield chunk
            if number > WHOLE_FILES:
                time.sleep(600)


def main(url: str, bucket: str, folder: Path) -> None:
    """Sync both models of a world's folder and print the result."""
    signer = signing.load_signer(f"file:{folder / 'keys' / signing.PRIVATE_NAME}")
    ollama = Stalling(folder / "upstream", "ollama", chunk=1 << 16)
    hub = FolderSource(folder / "upstream", "huggingface")
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
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
