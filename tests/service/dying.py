"""A deploy that ends itself at one of its calls, as `kill -9` does: python -m tests.service.dying DIR AT AFTER WHICH

AT counts the calls that WHICH names: `all`, or `changes` of the service. AFTER is 1 when the call is carried out first.
What gets through prints how many calls there were.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter

from scripts.service import deploy, instances
from scripts.service.preflight import Options
from scripts.service.steps import SILENT
from scripts.settings.load import load

OPTIONS = Options(sync="never", canary="50")


def main(folder: str, at: str, after: str, which: str) -> None:
    """Deploy, or die."""
    count = 0
    whole = HTTPAdapter.send

    def send(self: HTTPAdapter, request: Any, *args: Any, **options: Any) -> Any:
        nonlocal count
        change = request.method == "PUT" and "/services/" in request.url and "dryRun" not in request.url
        mine = which == "all" or change
        count += mine
        last = mine and count == int(at)
        if last and after == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = whole(self, request, *args, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    HTTPAdapter.send = send  # type: ignore[method-assign]
    instances.SEEN_TIMEOUT_S = 0.0  # the image of these tests decides nothing, so nothing is waited for
    deploy.deploy(load("local", Path(folder)), OPTIONS, SILENT)
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
