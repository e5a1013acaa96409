"""Errors that say what to do next, and the exit codes they carry.

OpsError                 1    the command failed
├── Refused              3    confirmation missing, lock held, precondition, bad input
│   ├── BadInput         3    a file or an argument: place, found, expected
│   ├── NotFound         3    the thing named does not exist
│   └── Conflict         3    somebody else changed it first (412, 409)
├── Unreachable          4    down, or no way to reach it
│   └── AccessDenied     4    reached, but not allowed (401, 403)
├── GateFailed           5    a gate failed and the change was rolled back
└── Interrupted        130    Ctrl-C, SIGTERM
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

# Remedies that many errors share; see OpsError on ENVIRONMENT.
SYNC = "Run: ./dev invoke sync --env ENVIRONMENT"
STATUS = "Run: ./dev invoke status --env ENVIRONMENT"


class ExitCode(IntEnum):
    """Exit codes of every task; documented in README and docs/architecture.md."""

    OK = 0
    FAILED = 1
    DIFFERENCE = 2
    REFUSED = 3
    UNREACHABLE = 4
    ROLLED_BACK = 5
    INTERRUPTED = 130


class OpsError(Exception):
    """A failure told in two parts: what happened (expected, found) and the next command to type.

    message: one sentence, no trailing full stop needed. remedy: what to type or change; may be empty. Who does not know
    the environment writes ENVIRONMENT there; whoever shows the error fills it in.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class Refused(OpsError):
    """The command did not start: a confirmation, a lock or a precondition is missing."""

    exit_code = ExitCode.REFUSED


class BadInput(Refused):
    """A file or an argument is wrong; the message names the place, what was found and what was expected."""


class NotFound(Refused):
    """The thing named does not exist."""


class Conflict(Refused):
    """A compare-and-swap lost: somebody else changed the object first."""


class Unreachable(OpsError):
    """A service is down or cannot be reached."""

    exit_code = ExitCode.UNREACHABLE


class AccessDenied(Unreachable):
    """A service was reached and did not allow the call."""


class GateFailed(OpsError):
    """A gate failed and the change was rolled back."""

    exit_code = ExitCode.ROLLED_BACK


class Interrupted(OpsError):
    """Stopped by the user or by a signal."""

    exit_code = ExitCode.INTERRUPTED
