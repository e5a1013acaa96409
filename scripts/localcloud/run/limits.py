"""The limits of Cloud Run on CPU, memory, concurrency and scaling: what is refused with 400 and how that is worded.

Source: "Configure CPU limits", "Configure memory limits", "Maximum concurrent requests" in Cloud Run's documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from scripts.localcloud.web import ApiError

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", re.ASCII)
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_MI, _GI = 2**20, 2**30
_LIMITS = ("cpu", "memory", "nvidia.com/gpu")
# CPUs: the least memory in MiB (first generation), and the most in GiB
_PAIRS = {1: (128, 4), 2: (128, 8), 4: (2048, 16), 6: (4096, 24), 8: (4096, 32)}
_LEAST_GEN2_MI = 512
_TROUBLE = "For more troubleshooting guidance, see https://cloud.google.com/run/docs/configuring/memory-limits"


def refuse(place: str, message: str) -> NoReturn:
    """Raise ApiError 400 with the path of the field first, as Cloud Run writes it."""
    raise ApiError(400, f"{place}: {message}")


def number(owner: Mapping[str, Any], key: str, place: str, least: int, most: int) -> None:
    """Check a whole number that may be absent. Raises ApiError 400."""
    value = owner.get(key)
    if value is not None and not least <= int(value) <= most:
        refuse(f"{place}.{key}", f"expected {least} <= {value} <= {most}.")


def default_concurrency(limits: Mapping[str, Any]) -> int:
    """Requests at once where none are declared: 80, or 1 with less than one CPU."""
    return 1 if _cpus(limits) < 1 else 80


def scaling(annotations: Mapping[str, Any], place: str) -> None:
    """Check minScale and maxScale. place names the metadata that has the annotations. Raises ApiError 400."""
    bounds = []
    for key in ("minScale", "maxScale"):
        value = annotations.get(f"autoscaling.knative.dev/{key}")
        if value is not None and not (isinstance(value, str) and value.isascii() and value.isdigit()):
            refuse(_annotation(place, key), f"expected an integer as text, found {value!r}.")
        bounds.append(int(value) if value is not None else None)
    least, most = bounds
    if most == 0:
        refuse(_annotation(place, "maxScale"), "expected at least 1.")
    if least is not None and most is not None and least > most:
        refuse(_annotation(place, "minScale"), f"{least} is larger than maxScale {most}.")


def _annotation(place: str, key: str) -> str:
    return f"{place}.annotations[autoscaling.knative.dev/{key}]"


def resources(
    containers: Sequence[Mapping[str, Any]], place: str, generation: str = "", concurrency: int | None = None
) -> None:
    """Check CPU and memory of the containers of one instance. generation is gen1, gen2 or "" (unknown); concurrency is
    None for jobs. Raises ApiError 400.
    """
    cpus, memory_bytes = Decimal(0), Decimal(0)
    for index, container in enumerate(containers):
        at = f"{place}.containers[{index}].resources"
        found = container.get("resources") or {}
        for kind in ("limits", "requests"):
            _check_quantities(found.get(kind) or {}, f"{at}.{kind}")
        cpus += _cpus(found.get("limits") or {})
        memory_bytes += quantity((found.get("limits") or {}).get("memory", "512Mi")) or 0
    at = f"{place}.containers[0].resources.limits"
    _check_cpus(cpus, f"{at}.cpu", len(containers), generation, concurrency)
    _check_memory(cpus, memory_bytes, f"{at}.memory", generation)


def quantity(text: Any) -> Decimal | None:
    """A Kubernetes quantity as a number (CPUs or bytes); None when it is none."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        return None
    amount = Decimal(match[1])
    return amount / 1000 if match[2] == "m" else amount * _UNITS[match[2] or ""]


def _cpus(limits: Mapping[str, Any]) -> Decimal:
    return quantity(limits.get("cpu", "1")) or Decimal(0)


def _check_quantities(values: Mapping[str, Any], place: str) -> None:
    for name, value in values.items():
        if name not in _LIMITS:
            refuse(place, f"expected one of {', '.join(_LIMITS)}, found '{name}'.")
        if quantity(value) is None or (name == "memory" and str(value).endswith("m")):
            refuse(f"{place}.{name}", f"invalid quantity {value!r}, expected e.g. '2' or '512Mi'.")


def _check_cpus(cpus: Decimal, place: str, containers: int, generation: str, concurrency: int | None) -> None:
    known = cpus in _PAIRS or (containers > 1 and cpus <= 8)
    fraction = Decimal("0.08") <= cpus < 1 and cpus % Decimal("0.01") == 0 and concurrency is not None
    if not known and not fraction:
        fractions = "" if concurrency is None else " and, in steps of 0.01, 0.08 to 1"
        refuse(place, f"Invalid value specified for cpu. Supported values are 1, 2, 4, 6, 8{fractions}.")
    if cpus >= 1 or concurrency is None:
        return
    if concurrency > 1:
        refuse(place, "Invalid value specified for cpu. Total cpu < 1 is not supported with concurrency > 1.")
    if generation == "gen2":
        refuse(
            place, "Invalid value specified for cpu. Total cpu < 1 is not supported with gen2 execution environment."
        )


def _check_memory(cpus: Decimal, memory_bytes: Decimal, place: str, generation: str) -> None:
    if cpus < 1:
        least_mi, most_bytes = 128, 512 * _MI if cpus < Decimal("0.5") else 1 * _GI
    else:
        pair = next(each for each in sorted(_PAIRS) if cpus <= each)
        least_mi, most_bytes = _PAIRS[pair][0], _PAIRS[pair][1] * _GI
    if generation == "gen2":
        least_mi = max(least_mi, _LEAST_GEN2_MI)
    if least_mi * _MI <= memory_bytes <= most_bytes:
        return
    with_generation = " with gen2 execution environment" if generation == "gen2" else ""
    refuse(
        place,
        f"Invalid value specified for container memory{with_generation}. For {float(cpus)} CPU, memory must be between"
        f" {_shown(least_mi * _MI)} and {_shown(most_bytes)} inclusive.\n{_TROUBLE}",
    )


def _shown(size_bytes: int) -> str:
    return f"{size_bytes // _GI}Gi" if size_bytes % _GI == 0 else f"{size_bytes // _MI}Mi"
