"""Writes docs/commands.md from the tasks themselves: ./dev python -m docs.commands

With --check it writes nothing and exits 2 when the page is not what the tasks say.
"""

from __future__ import annotations

import sys
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tasks
from scripts.tasks._command import HELP

if TYPE_CHECKING:
    from invoke.parser.argument import Argument
    from invoke.parser.context import ParserContext

PAGE = Path(__file__).with_name("commands.md")
SHARED = ("env", "service", "dry-run", "yes", "json")
PLANNED = ("title", "changes", "changed")
SYNCED = (
    "execution", "changed", "version", "serial", "upstream_bytes", "reused_bytes", "seconds", "pruned[]",
    "accepted[] (name, source, published, upstream)",
)  # fmt: skip
# The keys of each task's document. Those of the stand-in's own reports are what its API under /_local/ answers.
DOCUMENTS: dict[str, tuple[str, ...]] = {
    "deploy": (
        "environment", "service", "url", "revision", "previous_revision", "image", "manifest_version", "changed",
        "upstream_bytes", "instances[] (id, cache_hit)", "steps[] (name, seconds)",
    ),
    "doctor": ("findings[] (name, present, found, purpose, required, remedy)",),
    "health": ("healthy", "status", "environment", "service", "url", "causes[]"),
    "history": (
        "records[] (command, environment, actor, host, plan, outcome, started_at, duration_s, commit, details, name)",
    ),
    "image.build": ("reference", "digest", "image", "tool", "commit", "steps[] (name, seconds)"),
    "lock.release": ("name", "state", "owner", "host", "purpose", "expires_at", "changed"),
    "lock.status": ("leases[] (name, state, owner, host, purpose, expires_at)",),
    "promote": (
        "from", "to", "service", "image", "manifest_version", "manifest_sha256", "revision", "load_test", "changed",
        "steps[] (name, seconds)",
    ),
    "rollback": ("environment", "service", "models", "revision", "changed", "moved_s", "steps[] (name, seconds)"),
    "status": (
        "status", "environment", "cloud", "service", "url", "revision", "traffic[]", "manifest_version", "serial",
        "published_at", "decision", "hold", "sync", "differences[]", "down[]", "degraded[]", "remedies[]",
        "instances[] (id, cache_hit, reason, manifest_version)", "revisions[]", "bucket_bytes", "capacity_bytes",
        "hits", "starts", "alerts[] (id, policy, severity, opened_at, labels)", "leases[]", "notes[]", "unknown[]",
        "causes[] (text, runbook)",
    ),
    "sync": SYNCED,
    "cache.sync": SYNCED,
    "toggle": ("environment", "service", "value", "revision", "changed", "steps[] (name, seconds)"),
    "cache.keys": ("keys[] (key_id, signs, serials[], active)",),
    "cache.list": (
        "bucket", "versions[] (name, active, held, pinned, serials[], created_at, size_bytes, models[], problem)",
        "problems[] (object, what, remedy, kind)",
    ),
    "cache.pin": PLANNED,
    "cache.prune": ("removed[]", "freed_bytes", "kept (version: reasons[])"),
    "cache.repair": ("fixed[]", "lost[]", "version", "serial"),
    "cache.resume": PLANNED,
    "cache.rollback": ("environment", "version", "serial", "changed", "revision", "steps[] (name, seconds)"),
    "cache.show": (
        "schema_version", "version", "created_at", "total_size_bytes", "models[]", "serial", "manifest_sha256",
        "statement", "bucket", "hit", "reason", "hold", "problems[]",
    ),
    "cache.unpin": PLANNED,
    "cache.verify": ("bucket", "version", "serial", "full", "files", "hashed_bytes", "problems[]"),
    "loadtest": (
        "environment", "service", "revision", "image_digest", "manifest_version", "passed", "failures[]", "rate",
        "duration_s", "requests", "errors", "latency_ms", "send_lag_ms", "achieved", "thresholds[]", "instances",
        "hits", "misses", "cold_starts", "upstream_bytes", "witnesses[]", "seconds[]", "histogram", "report",
    ),
    "local.env": ("each variable and its value",),
    "local.fault": ("dry_run", "set[]", "or cleared[]"),
    "local.faults": ("faults[] (id, on, kind, nth, count, seen, fired, missed, left, …)",),
    "local.lifecycle": ("dry_run", "buckets[] (bucket, deleted, archived, changed, aborted, kept, changes[])"),
    "local.provision": PLANNED,
    "local.requests": ("requests[]", "or summary[]", "matched"),
    "local.scale": ("service", "revision", "started[]"),
    "local.status": (
        "clock", "traffic", "storage", "logging", "run", "scheduler", "admin", "monitoring", "upstream", "control",
    ),
    "local.up": ("url", "pid", "state"),
    "local.upstreams": ("running", "requests", "bytes", "metadata_bytes", "by_client", "corpus"),
    "logs": ("one object a line: timestamp, severity, source, instance, message, and the entry's own fields",),
    **dict.fromkeys(
        ("schedule.pause", "schedule.resume", "schedule.run", "schedule.status"),
        ("name", "state", "cron", "time_zone", "next_run", "last_run", "last_status", "target"),
    ),
}  # fmt: skip
HEAD = """# Commands

What `./dev invoke --help TASK` tells, on one page. It is made from the tasks: `./dev python -m docs.commands`.

| option of many tasks | |
| --- | --- |
| `--env NAME`, `--environment`, `-e` | a file in `environments/`; without it `MODELSHELF_ENV` counts |
| `--service NAME` | a service of the environment, by its short name (default: tabular) |
| `--dry-run` | print what would be done, and change nothing |
| `--yes` | do not ask. What cannot be undone asks first; without a terminal to ask on it is refused with 3 |
| `--json` | print one JSON document on standard output, and nothing else there; an error prints no document |

The document of `--dry-run` is always `title`, `changes[]` (`action`, `target`, `path`, `before`, `after`) and
`would_change`; that of `local.fault`, `.lifecycle` and `.upstreams` is the same as without it. Every command can be
typed again: what is done already is not done twice. Colours and frames are for terminals; a pipe gets plain lines, and
`NO_COLOR` and `TERM=dumb` are respected.

| exit code | means |
| --- | --- |
| 0 | done, healthy, nothing to change |
| 1 | failed; a mistake in the command line itself, too |
| 2 | a difference was found: `--dry-run` would change something, degraded, not as it was signed |
| 3 | refused: not confirmed, locked by another command, a precondition, bad input |
| 4 | down, unreachable, or access denied |
| 5 | a check failed, and what was changed is as before |
| 130 | interrupted; the same command continues where it stopped |
"""
GROUPS = (
    ("", "Services", "One service of one environment, from what its files say to what serves."),
    (
        "cache",
        "The models in the bucket",
        "Versions, signatures, holds and pins. docs/publication.md tells how they work.",
    ),
    ("image", "Images", "What services run."),
    ("lock", "Leases", "What keeps two commands from working against each other. They lapse by themselves."),
    ("schedule", "The nightly sync", "The job of Cloud Scheduler that runs the sync job."),
    ("local", "The stand-in", "The local cloud on this machine. See docs/local-cloud.md."),
)


def page() -> str:
    """The whole page."""
    contexts = {str(context.name): context for context in tasks.namespace.to_contexts()}
    parts = [HEAD]
    for prefix, title, about in GROUPS:
        names = sorted(name for name in contexts if name.rpartition(".")[0] == prefix)
        parts.append(f"\n## {title}\n\n{about}\n")
        parts += [_section(name, contexts[name]) for name in names]
    return "".join(parts)


def _section(name: str, context: ParserContext) -> str:
    text, _, codes = (getdoc(tasks.namespace[name].body) or "").rpartition("\n\nExit codes: ")
    own = [argument for argument in context.args.values() if not _shared(argument)]
    common = {_name(argument) for argument in context.args.values() if _shared(argument)}
    shared = [f"`--{option}`" for option in SHARED if option in common]
    rows = "".join(_option(argument) for argument in dict.fromkeys(own))
    table = f"\n| option | |\n| --- | --- |\n{rows}" if own else ""
    told = [f"Also {', '.join(shared)}."] if shared else []
    marked = codes.replace("\n", " ").replace("--dry-run", "`--dry-run`").replace("--now", "`--now`")
    told += [f"Exit codes: {marked}"]
    told += [f"JSON: {', '.join(DOCUMENTS[name])}."] if "json" in context.args else []
    return f"\n### {name}\n\n{text}\n{table}\n" + "  \n".join(told) + "\n"


def _name(argument: Argument) -> str:
    return str(argument.names[0])


def _shared(argument: Argument) -> bool:
    """An option with the same meaning in every task, told at the top of the page."""
    return bool(argument.help == HELP.get(str(argument.name)))


def _option(argument: Argument) -> str:
    value: Any = {str: " TEXT", int: " N"}.get(argument.kind, "")
    shown = f"--{_name(argument)}" + (f" [{value.strip()}]" if argument.optional else value)
    if argument.kind is bool and argument.default is True:
        shown = f"--no-{_name(argument)}"
    told = str(argument.help).replace("|", "\\|")
    default = f" (default: {argument.default})" if argument.kind is not bool and argument.default else ""
    return f"| `{shown}` | {told}{default if '(default' not in told else ''} |\n"


def main() -> int:
    """Write the page, or compare it."""
    wanted = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write("docs/commands.md is not what the tasks say\n  Run: ./dev python -m docs.commands\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
