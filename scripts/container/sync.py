"""The sync job: pull what the settings want and publish it, and end with ONE entry that says how it went.

INFO "model sync succeeded" or ERROR "model sync failed", with version, serial, upstream_bytes, changed, moved,
duration_s, and on failure error and remedy: monitoring counts exactly these two messages. Of several tasks of one
execution the one that publishes says so (where there is nothing to publish: the first); the others end with "model sync
task done".
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from scripts.cloud.connect import Cloud, connect_runtime
from scripts.container import logs
from scripts.container.private import online
from scripts.errors import BadInput, ExitCode
from scripts.settings.runtime import Runtime
from scripts.units import bar

if TYPE_CHECKING:
    from scripts.models.outcome import SyncResult
    from scripts.models.progress import Pace

SUCCEEDED, DONE = "model sync succeeded", "model sync task done"


def run(runtime: Runtime, environ: MutableMapping[str, str], began: float) -> int:
    """One sync from its settings to its last entry; returns 0. Raises what publish raises (told by the caller)."""
    cloud = connect_runtime(runtime.project, runtime.region, runtime.endpoint)
    logs.info(
        "model sync started", bucket=runtime.bucket, execution=runtime.execution or None,
        models=[spec.source for spec in runtime.models],
    )  # fmt: skip
    result = publish(runtime, cloud, environ)
    mine = result.changed or (runtime.task_index == 0 and result.outcome != "placed")
    logs.info(SUCCEEDED if mine else DONE, **facts(runtime, result), duration_s=time.monotonic() - began)
    return ExitCode.OK


def publish(
    runtime: Runtime, cloud: Cloud, environ: MutableMapping[str, str], *, wait_s: float | None = None
) -> SyncResult:
    """Publish the models of the settings if they are not published yet; the work is models.sync.sync.

    wait_s: how long to wait for another publisher. Raises BadInput without a signing key, and what sync raises.
    """
    if not runtime.signing_key:
        remedy = "Set signing.key in the environment file and deploy again."
        raise BadInput("MODEL_SIGNING_KEY: found nothing, expected the key that signs versions", remedy)
    online(environ)  # before anything imports huggingface_hub
    from scripts.models import revisions, signing, sync
    from scripts.models.flight import Share
    from scripts.models.retention import Retain
    from scripts.models.sources.base import open_sources

    client = runtime.execution or runtime.instance_id or runtime.job
    sources = open_sources(cloud.upstreams(), environ.get("HF_TOKEN") or None, client=client)
    result = sync.sync(
        cloud.bucket(runtime.bucket),
        runtime.models,
        sources,
        signing.load_signer(runtime.signing_key),
        keys=runtime.trusted_keys,
        say=lambda line: logs.info(line, bucket=runtime.bucket),
        tell=lambda pace: _pace(runtime, pace),
        share=Share(runtime.task_index, runtime.task_count, runtime.execution),
        environment=runtime.environment,
        execution=client,
        min_serial=runtime.min_serial,
        wait_s=sync.WAIT_S if wait_s is None else wait_s,
        accept=runtime.accept,
        retain=Retain(runtime.keep, lambda: revisions.live_versions(cloud.run())) if runtime.sync_mode else None,
    )
    for line in result.tidied.warnings:
        logs.warning(line, bucket=runtime.bucket)
    return result


def _pace(runtime: Runtime, pace: Pace) -> None:
    """How far the transfer is, for people who wait for it."""
    told = bar(pace.done_bytes, pace.total_bytes, pace.rate_bytes_per_s, pace.left_s)
    logs.info(f"model sync under way {told}", **vars(pace), task=_task(runtime))


def facts(runtime: Runtime, result: SyncResult) -> dict[str, Any]:
    """The fields of the last entry."""
    return {
        "version": result.version or None,
        "manifest_version": result.version or None,
        "serial": result.serial or None,
        "bucket": runtime.bucket,
        "changed": result.changed,
        "outcome": result.outcome,
        "upstream_bytes": result.upstream_bytes,
        "reused_bytes": result.reused_bytes,
        "moved": [vars(item) for item in result.moved],
        "accepted": [vars(item) for item in result.accepted],
        "pruned": list(result.tidied.removed),
        "freed_bytes": result.tidied.freed_bytes,
        "held": result.hold.version if result.hold else None,
        "execution": runtime.execution or None,
        "task": _task(runtime),
    }


def _task(runtime: Runtime) -> int | None:
    return runtime.task_index if runtime.task_count > 1 else None
