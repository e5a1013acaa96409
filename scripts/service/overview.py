"""What the stand-in reports, as people read it: `local.status`, `local.upstreams`, `local.scale`; --json keeps all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scripts.units import age, size

Row = tuple[str, str]
Table = tuple[Sequence[str], list[list[str]]]


def rows(found: Mapping[str, Any]) -> list[Row]:
    """The stand-in in a dozen lines."""
    control, run, storage, traffic = (found[room] for room in ("control", "run", "storage", "traffic"))
    soft, alerts = storage["soft_deleted"], found["monitoring"]
    executions = f", {_many(run['executions_running'], 'execution')} running" if run["executions_running"] else ""
    return [
        ("URL", control["url"]),
        ("process", str(control["pid"])),
        ("state folder", control["state"]),
        ("clock", _clock(found["clock"])),
        ("requests", f"{traffic['requests_logged']} noted, {traffic['requests_per_s']:.1f} a second now"),
        ("faults", _faults(traffic["faults"])),
        ("buckets", f"{len(storage['buckets'])}, {_many(storage['uploads_under_way'], 'upload')} under way"),
        *([("soft-deleted", f"{soft['generations']}, {size(soft['size_bytes'])}")] if soft["generations"] else []),
        ("services", str(run["services"])),
        ("jobs", f"{run['jobs']}{executions}"),
        ("mounts", _mounts(run["mounts"])),
        ("log", f"{found['logging']['entries']} entries"),
        ("schedules", _schedules(found["scheduler"])),
        ("alert policies", f"{alerts['policies']}, {_many(alerts['open_incidents'], 'incident')} open"),
        ("upstreams", _upstreams(found["upstream"])),
    ]  # fmt: skip


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Buckets and instances."""
    now = datetime.fromisoformat(found["clock"]["now"])
    buckets = [
        [each["bucket"], str(each["objects"]), str(each["generations"]), size(each["size_bytes"])]
        for each in found["storage"]["buckets"]
    ]
    instances = [
        [each["id"][:12], each["revision"], each["state"], age(each["started_at"], now), str(each["in_flight"]),
         f"{each['cold_start_ms'] or 0:.0f} ms"]
        for each in found["run"]["instances"]
    ]  # fmt: skip
    return [
        (("bucket", "objects", "generations", "size"), buckets),
        (("instance", "revision", "state", "age", "in flight", "cold start"), instances),
    ]


def upstream_rows(found: Mapping[str, Any]) -> list[Row]:
    """Whether the upstreams serve, and how much they served."""
    return [
        ("state", "running" if found["running"] else "stopped: every request is refused"),
        ("real model", _corpus(found["corpus"])),
        ("requests", str(found["requests"])),
        ("pulled", size(found["bytes"])),
    ]


def upstream_table(found: Mapping[str, Any]) -> Table:
    """Who pulled."""
    clients = found["by_client"].items()
    return ("client", "requests", "pulled"), [
        [name, str(each["requests"]), size(each["bytes"])] for name, each in clients
    ]


def scale_rows(found: Mapping[str, Any]) -> list[Row]:
    """The instances that were started."""
    return [("revision", found["revision"]), *(("started", str(id)[:12]) for id in found["started"])]


def _clock(clock: Mapping[str, Any]) -> str:
    skipped_s = round(float(clock["skipped_s"]))
    words = [f"{str(clock['now'])[:19]}Z", f"{skipped_s} s ahead" if skipped_s else "the machine's own"]
    return ", ".join([*words, f"{clock['rate']:g} times as fast"] if clock["rate"] != 1 else words)


def _faults(faults: Sequence[Any]) -> str:
    return f"{len(faults)} set: ./dev invoke local.faults" if faults else "none"


def _mounts(mounts: Mapping[str, Any]) -> str:
    words = [str(mounts["mode"] or "none yet")]
    if mounts["bandwidth_bytes_s"]:
        words.append(f"{size(mounts['bandwidth_bytes_s'])} a second")
    return ", ".join([*words, f"{mounts['latency_ms']:g} ms latency"] if mounts["latency_ms"] else words)


def _schedules(scheduler: Mapping[str, Any]) -> str:
    return str(scheduler["jobs"]) + (f", next {str(scheduler['next'])[:19]}Z" if scheduler["next"] else ", none is due")


def _upstreams(upstream: Mapping[str, Any]) -> str:
    state = "running" if upstream["running"] else "stopped"
    pulled = f"{size(upstream['bytes'])} pulled in {_many(upstream['requests'], 'request')}"
    return f"{state}, {pulled}, real model {_corpus(upstream['corpus'])}"


def _corpus(corpus: Mapping[str, Any]) -> str:
    words = [str(corpus["state"]), *(str(value) for key, value in corpus.items() if key != "state" and value)]
    return ": ".join(words)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
