"""The forms of single values in an environment file, each with the words an error uses for it.

Sources: Cloud Storage "Bucket naming guidelines"; Cloud Run "Container runtime contract", "Memory limits", "Labels";
Resource Manager "Project ID requirements"; Ollama and Hugging Face reference syntax.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, PlainSerializer, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError, core_schema

K = TypeVar("K")
V = TypeVar("V")


def expect(words: str) -> Any:
    """Say what was expected, in place of pydantic's own words, whatever was wrong with the value."""

    def wrap(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except (ValidationError, ValueError):
            raise PydanticCustomError("expected", "{expected}", {"expected": words}) from None

    return WrapValidator(wrap)


@dataclass(frozen=True)
class Form:
    """A text that matches a pattern, and passes a test where one is given; words describe it in errors."""

    pattern: str
    words: str
    test: Callable[[str], bool] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        def wrap(value: Any, inner: Callable[[Any], Any]) -> Any:
            try:
                text = inner(value)
            except ValidationError:
                text = None
            if text is None or (self.test is not None and not self.test(text)):
                raise PydanticCustomError("expected", "{expected}", {"expected": self.words})
            return text

        text = core_schema.str_schema(strict=True, pattern=self.pattern)
        return core_schema.no_info_wrap_validator_function(wrap, text)


@dataclass(frozen=True)
class Whole:
    """A whole number within limits; unit names what is counted."""

    low: int
    high: int
    unit: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        words = f"a whole number from {self.low} to {self.high}" + (f" ({self.unit})" if self.unit else "")

        def wrap(value: Any, inner: Callable[[Any], Any]) -> Any:
            try:
                return inner(value)
            except ValidationError:
                raise PydanticCustomError("expected", "{expected}", {"expected": words}) from None

        number = core_schema.int_schema(strict=True, ge=self.low, le=self.high)
        return core_schema.no_info_wrap_validator_function(wrap, number)


def _bucket(name: str) -> bool:
    labels = name.split(".")
    if "google" in name or name.startswith("goog") or any(not 1 <= len(label) <= 63 for label in labels):
        return False
    if len(labels) > 1 and any(label.startswith("-") or label.endswith("-") for label in labels):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return True
    return False


# Cloud Run refuses /dev, /proc and /sys; a bucket over the others would hide the image's own programs and settings.
_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "run", "sbin", "sys", "usr")
_SYSTEM_ROOTS = ("home", "media", "mnt", "opt", "srv", "tmp", "var", "app", "workspace")


def _mountable(path: str) -> bool:
    parts = path[1:].split("/")
    if any(part in ("", ".", "..") for part in parts) or parts[0] in _SYSTEM:
        return False
    return len(parts) > 1 or parts[0] not in _SYSTEM_ROOTS


_CRON_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CRON_NAMES: Mapping[int, Mapping[str, int]] = {
    3: {name: month for month, name in enumerate(_MONTHS, 1)},
    4: {name: day for day, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))},
}


def _cron(text: str) -> bool:
    fields = text.split(" ")
    if len(fields) != 5:
        return False
    return all(
        _cron_part(part, low, high, _CRON_NAMES.get(place, {}))
        for place, (field, (low, high)) in enumerate(zip(fields, _CRON_LIMITS, strict=True))
        for part in field.split(",")
    )


def _cron_part(part: str, low: int, high: int, names: Mapping[str, int]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (re.fullmatch(r"[1-9][0-9]{0,2}", step) and int(step) <= high):
        return False
    if span == "*":
        return True
    ends = []
    for end in span.split("-"):
        if end.lower() in names:
            ends.append(names[end.lower()])
        elif re.fullmatch(r"[0-9]{1,2}", end):
            ends.append(int(end))
        else:
            return False
    return len(ends) <= 2 and ends == sorted(ends) and low <= ends[0] and ends[-1] <= high


def _zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except ZoneInfoNotFoundError:
        # A machine without a zone database can only judge the form.
        return not any(Path(folder).is_dir() for folder in zoneinfo.TZPATH)
    except (ValueError, OSError):
        return False
    return True


def _pattern_path(pattern: str) -> bool:
    return not any(part in ("", ".", "..") for part in pattern.split("/"))


def _proxy(value: Mapping[K, V]) -> Mapping[K, V]:
    return MappingProxyType(dict(value))


# A mapping that nobody changes after loading; written back as a plain dict.
Frozen = (AfterValidator(_proxy), PlainSerializer(dict))

Text = Annotated[str, expect('text (quote it: "…")')]
Flag = Annotated[bool, expect("true or false")]
Environment = Annotated[str, Form(r"^[a-z][a-z0-9-]{0,30}$", "a short name of lower-case letters, digits and dashes")]
ServiceKey = Environment
Project = Annotated[
    str,
    Form(
        r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$", "a project id: 6 to 30 lower-case letters, digits and dashes, a letter first"
    ),
]
Region = Annotated[str, Form(r"^[a-z]+-[a-z]+[0-9]{1,2}$", "a region like europe-west1")]
Bucket = Annotated[
    str,
    Form(
        r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$",
        "a bucket name: 3 to 63 lower-case letters, digits, '-', '_' and '.', starting and ending with a letter or "
        "digit, not an IP address, without 'google' and not beginning with 'goog'",
        _bucket,
    ),
]
ServiceName = Annotated[
    str,
    Form(
        r"^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$",
        "a Cloud Run name: at most 49 lower-case letters, digits and dashes, a letter first, no dash last",
    ),
]
ScheduleName = Annotated[
    str, Form(r"^[A-Za-z][A-Za-z0-9_-]{0,499}$", "a Cloud Scheduler job name: letters, digits, '_' and '-'")
]
Image = Annotated[
    str,
    Form(
        r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$",
        "an image reference like europe-west1-docker.pkg.dev/PROJECT/REPOSITORY/tabular:TAG",
    ),
]
Cpu = Annotated[str, Form(r"^[12468]$", 'a number of CPUs in quotes: "1", "2", "4", "6" or "8"')]
Memory = Annotated[str, Form(r"^[1-9][0-9]{0,5}(Mi|Gi)$", "a size in Mi or Gi, like 4Gi or 512Mi")]
ServiceAccount = Annotated[
    str,
    Form(
        r"^([a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9-]{4,28}[a-z0-9]\.iam|[0-9]+-compute@developer)\.gserviceaccount\.com$",
        "a service account's e-mail like NAME@PROJECT.iam.gserviceaccount.com (NAME: 6 to 30 characters)",
    ),
]
Variable = Annotated[str, Form(r"^[A-Za-z_][A-Za-z0-9_]*$", "a variable name of letters, digits and '_'")]
SecretVersion = Annotated[
    str,
    Form(r"^[A-Za-z0-9_-]{1,255}:(latest|[1-9][0-9]*)$", "SECRET:VERSION like wandb-api-key:3 or wandb-api-key:latest"),
]
UrlPath = Annotated[str, Form(r"^/[!-~]*$", "a path like /ready")]
MountPath = Annotated[
    str,
    Form(
        r"^/[A-Za-z0-9._/-]{1,200}$",
        "an absolute path of its own like /models: not /, not a system folder, no '..' and no '/' at its end",
        _mountable,
    ),
]
ModelName = Annotated[
    str, Form(r"^[a-z0-9][a-z0-9._-]{0,62}$", "a name of lower-case letters, digits, '.', '_' and '-'")
]
FilePattern = Annotated[
    str,
    Form(
        r"^[^\\\x00-\x1f]{1,200}$",
        "a file pattern relative to the repository's root, like tokenizer*.json",
        _pattern_path,
    ),
]
Version = Annotated[
    str, Form(r"^([0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})?$", "empty, or a published version like 20261120T020000Z-3f9a1c2b")
]
Cron = Annotated[str, Form(r"^[0-9A-Za-z*,/ -]{9,100}$", 'five cron fields like "0 2 * * *"', _cron)]
TimeZone = Annotated[str, Form(r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$", "a time zone like UTC or Europe/Paris", _zone)]
SigningKey = Annotated[
    str,
    Form(
        r"^(|file:[A-Za-z0-9._/-]+"
        r"|gcpkms:projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+/cryptoKeyVersions/[1-9][0-9]*)$",
        "empty, file:PATH, or gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N",
    ),
]
LabelKey = Annotated[
    str, Form(r"^[a-z][a-z0-9_-]{0,62}$", "a label key: at most 63 of a-z, 0-9, '_' and '-', a letter first")
]
LabelValue = Annotated[str, Form(r"^[a-z0-9_-]{0,63}$", "a label value: text of at most 63 of a-z, 0-9, '_' and '-'")]
Gigabytes = Annotated[
    float, Field(gt=0, le=1_000_000, allow_inf_nan=False), expect("a number of gigabytes above 0, like 3.5")
]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), expect("a number from 0 to 100 (percent)")]
Command = Annotated[
    tuple[Text, ...], Field(min_length=1), expect('a command as a list of words, like ["./notify.sh", "--loud"]')
]
