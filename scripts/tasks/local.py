"""invoke local.*: the stand-in for Google Cloud on this machine."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command, settings_for


@command(
    help={"model": "also fetch the real model that the stand-in's upstreams serve (default); --no-model leaves it"}
)
def up(c: Any, model: bool = True, json: bool = False) -> None:
    """Start the stand-in, and fetch the one real model it serves."""
    from scripts.service import rehearsal
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    address = rehearsal.up(screen, model=model)
    screen.line(f"the stand-in cloud answers at {address.url}")
    screen.result({"url": address.url, "pid": address.pid, "state": str(address.state)})


@command()
def down(c: Any) -> None:
    """Stop the stand-in and its instances; what it keeps stays."""
    from scripts.service import rehearsal
    from scripts.tasks._screen import Screen

    Screen().line("stopped" if rehearsal.down() else "it was not running")


@command(exits={4: "it does not run"})
def status(c: Any, json: bool = False) -> None:
    """Show what the stand-in holds and runs."""
    from scripts.service import overview, rehearsal
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    found = rehearsal.status()
    screen.rows("stand-in", overview.rows(found))
    for table in overview.tables(found):
        screen.table(*table)
    screen.result(found)


@command(help={"lines": "how many lines from the end"})
def logs(c: Any, lines: int = 50) -> None:
    """Show the stand-in's own log.

    The logs of services and jobs in it: ./dev invoke logs --env local
    """
    from scripts.service import rehearsal
    from scripts.tasks._screen import Screen

    Screen().lines(rehearsal.log_lines(lines))


@command(more="Buckets, services, jobs and logs; the signing key and the downloaded model stay.")
def reset(c: Any, yes: bool = False, dry_run: bool = False) -> int:
    """Stop the stand-in and remove everything that it keeps."""
    from scripts.service import rehearsal
    from scripts.tasks._screen import Screen

    screen = Screen()
    if dry_run:
        there = rehearsal.folder().exists()
        screen.line(f"would remove everything in {rehearsal.folder()}" if there else "there was nothing to remove")
        return 2 if there else 0
    if rehearsal.folder().exists():
        screen.confirm(f"removing everything in {rehearsal.folder()}", yes)
    screen.line("removed" if rehearsal.reset() else "there was nothing to remove")
    return 0


@command()
def provision(c: Any, env: str = "", service: str = "tabular", dry_run: bool = False, json: bool = False) -> int:
    """Make in the stand-in what Terraform makes on Google Cloud.

    For a rehearsal of an environment: set MODELSHELF_ENDPOINT first.
    """
    from scripts.service import provision as domain
    from scripts.tasks._screen import show_plan

    screen, settings = begin(env, json)
    plan = domain.provision(settings, service, dry_run=dry_run)
    if dry_run:
        return show_plan(screen, plan)
    screen.lines(plan.lines())
    screen.result({**plan.as_json(), "changed": not plan.empty})
    return 0


@command(
    help={"stop": "let the upstreams refuse every request", "start": "let them serve again"},
    more="Without an option it shows what was pulled from them, and by whom.",
)
def upstreams(c: Any, stop: bool = False, start: bool = False, dry_run: bool = False, json: bool = False) -> int:
    """Show, stop or start the stand-in's model upstreams."""
    from scripts.service import overview, rehearsal
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    found = rehearsal.upstreams(stop=stop, start=start, dry_run=dry_run)
    changes = dry_run and (stop or start) and found["running"] != start
    if changes:
        screen.line(f"would {'start' if start else 'stop'} the upstreams")
    screen.rows("upstreams", overview.upstream_rows(found), overview.upstream_table(found))
    screen.result(found)
    return 2 if changes else 0


@command(
    help={
        "service": "its name in Cloud Run, or its short name",
        "instances": "how many further instances (1 to 50)",
    }
)
def scale(c: Any, instances: int = 1, env: str = "", service: str = "tabular", json: bool = False) -> None:
    """Start further instances of a service in the stand-in."""
    from scripts.service import overview, rehearsal
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    found = rehearsal.scale(service, instances, settings_for(env) if env else None)
    screen.rows(found["service"], overview.scale_rows(found))
    screen.result(found)


@command(
    help={
        "now": "carry the rules out; without it only say what they would do",
        "bucket": "only this bucket; by default all that have rules",
    },
    exits={2: "without --now: there is something to do"},
)
def lifecycle(c: Any, now: bool = False, bucket: str = "", dry_run: bool = False, json: bool = False) -> int:
    """Show what lifecycle rules would do; with --now, do it.

    By themselves the rules are carried out once in a day of the stand-in's clock.
    """
    from scripts.service import lifecycle as domain
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    found = domain.run(bucket, now=now and not dry_run)
    screen.lines(domain.told(found))
    screen.result(found)
    return domain.exit_code(found)


@command(name="env", help={"shell": "bash, zsh or fish; by default your own ($SHELL)"})
def exports(c: Any, shell: str = "", env: str = "", json: bool = False) -> None:
    """Print the exports that turn Google's tools to the stand-in.

    bash, zsh: eval "$(./dev invoke local.env)"

    fish: ./dev invoke local.env --shell fish | source
    """
    from scripts.service import exports as domain
    from scripts.tasks._screen import Screen

    screen, chosen, values = Screen(json=json), domain.choose(shell), domain.prepare(env)
    if not json:
        screen.text(domain.script(values, chosen))
    screen.result(values)


@command()
def shell(c: Any, env: str = "") -> int:
    """Open a shell with Google's tools turned to the stand-in.

    It is your own shell; its prompt says where it is turned to, and `exit` leaves it.
    """
    from scripts.service import exports as domain
    from scripts.tasks._screen import Screen

    return domain.open_shell(env, Screen())


@command(
    help={
        "operation": "pattern of Google's method ids, like storage.objects.*",
        "bucket": "pattern of the bucket's name",
        "object": "pattern of the object's name",
        "caller": "part of the caller's user agent or account, or a pattern of it",
        "instance": "pattern of the id of the instance that called",
        "status": "404, 5xx, error, none (no answer); several with commas",
        "since": "from this time on: 10m (ago), or 2026-01-31T02:00:00Z",
        "until": "before this time",
        "limit": "how many at most (1 to 10000)",
        "order": "newest (default) or oldest first",
        "summary": "sums by operation, object, caller or instance instead of the calls",
    },
    more="By whom, for what, bytes, status, time, and the fault that hit.",
)
def requests(
    c: Any, operation: str = "", bucket: str = "", object: str = "", caller: str = "", instance: str = "",
    status: str = "", since: str = "", until: str = "", limit: int = 50, order: str = "newest", summary: str = "",
    json: bool = False,
) -> None:  # fmt: skip
    """Show the calls of its APIs that the stand-in got."""
    asked = {key: str(value) for key, value in locals().items() if key not in ("c", "json")}
    from scripts.service import traffic
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    found = traffic.requests(asked)
    screen.table(*traffic.requests_table(found))
    screen.line(traffic.requests_line(found))
    screen.result(found)


@command(
    help={
        "on": "which calls: a pattern of Google's method ids, like storage.objects.insert",
        "kind": "reset, 503, 429, 403, 403-quota, stall, truncate, lost-reply, slow or 412-after-success",
        "nth": "the first matching call that it hits, counted from now (1)",
        "count": "how often it happens: a number (1), or forever (the default with --every and --probability)",
        "every": "from the nth on, hit each K-th matching call",
        "probability": "hit with this chance, above 0 and up to 1",
        "seed": "what the chance is drawn from (0): the same seed hits the same calls",
        "bucket": "only calls for buckets of this pattern",
        "object": "only calls for objects of this pattern",
        "instance": "only calls from instances of this pattern",
        "after_bytes": "in the middle of a body, after so many bytes (reset, truncate, stall, slow)",
        "delay_s": "for how long (stall), or how long before (slow)",
        "rate_bytes_s": "bytes a second (slow; 65536)",
        "retry_after_s": "what to say in Retry-After (503, 429)",
        "clear": "remove a fault by its id; without one, all of them",
    },
    optional=("clear",),
    more="Without more it happens once, at the first matching call from now on. A restart of the stand-in clears all.",
)
def fault(
    c: Any, on: str = "", kind: str = "", nth: str = "", count: str = "", every: str = "", probability: str = "",
    seed: str = "", bucket: str = "", object: str = "", instance: str = "", after_bytes: str = "", delay_s: str = "",
    rate_bytes_s: str = "", retry_after_s: str = "", clear: Any = "", dry_run: bool = False, json: bool = False,
) -> int:  # fmt: skip
    """Let calls of the stand-in fail on demand, or clear that."""
    asked = {key: value for key, value in locals().items() if key not in ("c", "clear", "dry_run", "json") and value}
    from scripts.service import traffic
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    found = traffic.clear(clear, asked, dry_run=dry_run) if clear else traffic.fault(asked, dry_run=dry_run)
    screen.lines(traffic.told(found))
    screen.result(found)
    return traffic.exit_code(found)


@command()
def faults(c: Any, json: bool = False) -> None:
    """Show the faults that are set, and how often each happened."""
    from scripts.service import traffic
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    found = traffic.faults()
    screen.table(*traffic.faults_table(found))
    if not found["faults"]:
        screen.line("no fault is set")
    screen.result(found)
