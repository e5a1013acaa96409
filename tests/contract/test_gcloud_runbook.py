"""Every gcloud and gsutil command of the operators' old runbook, as it is written there, with this project's names.

What that runbook has wrong (docs/traps.md) is in WRONG: such a command is not expected to work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.gcloud_support import GCLOUD, GSUTIL, Terminal, of_google
from tests.e2e.conftest import House, build

pytestmark = pytest.mark.process

QUICK_REFERENCE = """
gcloud run jobs execute tabular-model-sync --region europe-west1
gsutil cat gs://tabular-model-cache-local/manifest.json
gcloud logging read 'jsonPayload.cache_hit=true' --limit=10
gcloud run services update tabular-service --set-env-vars SHARED_MODEL_VOLUME_ENABLED=false --region europe-west1
gsutil du -sh gs://tabular-model-cache-local
"""
MANUAL_SYNC = """
# 1. Trigger sync job
gcloud run jobs execute tabular-model-sync \\
  --region europe-west1 \\
  --wait

# 2. Check job status
gcloud run jobs executions list \\
  --job tabular-model-sync \\
  --region europe-west1 \\
  --limit 5

# 3. Verify manifest was updated
gsutil cat gs://tabular-model-cache-local/manifest.json | jq .

# 4. Check for .done marker
gsutil cat gs://tabular-model-cache-local/.done

# 5. Verify models exist
gsutil ls gs://tabular-model-cache-local/ollama/
gsutil ls gs://tabular-model-cache-local/sbert/
"""
ROLLBACK = """
# 1. List available versions in .tmp (if retained)
gsutil ls gs://tabular-model-cache-local/.tmp/

# 2. Option A: Restore from backup (if versioning enabled)
gsutil ls -a gs://tabular-model-cache-local/manifest.json
gsutil cp "gs://tabular-model-cache-local/manifest.json#${PREV_VERSION}" \\
  gs://tabular-model-cache-local/manifest.json

# Option B, after terraform apply: trigger sync
gcloud run jobs execute tabular-model-sync \\
  --region europe-west1 \\
  --wait

# 4. Restart Cloud Run instances to pick up changes
gcloud run services update tabular-service \\
  --region europe-west1 \\
  --update-labels rollback=true

# 5. Verify cache hits with old model
gcloud logging read 'jsonPayload.manifest_version' --limit=10
"""
TOGGLE = """
gcloud run services update tabular-service \\
  --region europe-west1 \\
  --set-env-vars SHARED_MODEL_VOLUME_ENABLED=false

gcloud run services describe tabular-service \\
  --region europe-west1 \\
  --format='value(spec.template.spec.containers[0].env.find(SHARED_MODEL_VOLUME_ENABLED))'

gcloud run jobs execute tabular-model-sync --region europe-west1 --wait

gcloud run services update tabular-service \\
  --region europe-west1 \\
  --set-env-vars SHARED_MODEL_VOLUME_ENABLED=true
"""
CLEANUP = """
gsutil du -sh gs://tabular-model-cache-local
gsutil du -h gs://tabular-model-cache-local/
gsutil ls gs://tabular-model-cache-local/.tmp/
gsutil -m rm -r gs://tabular-model-cache-local/.tmp/20241101-*
gsutil versioning get gs://tabular-model-cache-local
gsutil ls -a gs://tabular-model-cache-local/manifest.json
"""
UPDATE = """
gcloud run jobs execute tabular-model-sync \\
  --region europe-west1 \\
  --wait

# 4. Monitor sync job logs
gcloud logging read \\
  'resource.type="cloud_run_job"
   resource.labels.job_name="tabular-model-sync"' \\
  --limit=100 \\
  --format=json | jq '.[] | {time:.timestamp, message:.jsonPayload.message}'

gsutil ls -lh gs://tabular-model-cache-local/ollama/
gsutil cat gs://tabular-model-cache-local/manifest.json | jq '.models'
gcloud run services replace infra/tabular-config.yaml --region europe-west1
gcloud logging read 'jsonPayload.cache_hit' --limit=20
"""
HEALTH = """
gsutil cat gs://tabular-model-cache-local/manifest.json | jq '{version, created_at, models}'
gsutil cat gs://tabular-model-cache-local/.done
gsutil du -sh gs://tabular-model-cache-local
TOTAL=$(gcloud logging read 'jsonPayload.cache_hit' --limit=100 --format=json | jq '. | length')
HITS=$(gcloud logging read 'jsonPayload.cache_hit=true' --limit=100 --format=json | jq '. | length')

# 5. Check last sync job execution
gcloud run jobs executions list \\
  --job tabular-model-sync \\
  --region europe-west1 \\
  --limit 1 \\
  --format='table(name,status,startTime)'

# 6. Check alert policies
gcloud alpha monitoring policies list \\
  --filter='displayName~"Tabular"' \\
  --format='table(displayName,enabled)'
"""
DISASTER = """
gsutil ls -L -b gs://tabular-model-cache-local
gcloud run jobs execute tabular-model-sync \\
  --region europe-west1 \\
  --wait
gcloud run services update tabular-service \\
  --region europe-west1 \\
  --set-env-vars SHARED_MODEL_VOLUME_ENABLED=false
gcloud run services update tabular-service \\
  --region europe-west1 \\
  --set-env-vars SHARED_MODEL_VOLUME_ENABLED=true
"""
METRICS = """
# Cache hit rate over last hour
gcloud logging read \\
  'jsonPayload.cache_hit
   timestamp>="'"$(date -u -d '1 hour ago' +%Y-%m-%dT%H:%M:%SZ)"'"' \\
  --format=json \\
  | jq '[.[] | .jsonPayload.cache_hit] | group_by(.) | map({key: .[0], count: length})'

# Sync job history
gcloud run jobs executions list \\
  --job tabular-model-sync \\
  --region europe-west1 \\
  --limit 10 \\
  --format='table(name,status,startTime,completionTime)'

gcloud monitoring timeseries list \\
  --filter='metric.type="storage.googleapis.com/storage/total_bytes"
            resource.label.bucket_name="tabular-model-cache-local"' \\
  --format='table(points.interval.endTime,points.value.int64Value)'
"""
PAGES = {
    "quick reference": QUICK_REFERENCE, "manual sync": MANUAL_SYNC, "rollback": ROLLBACK, "toggle": TOGGLE,
    "cleanup": CLEANUP, "update": UPDATE, "health": HEALTH, "disaster": DISASTER, "metrics": METRICS,
}  # fmt: skip

# Part of a command → why it is not run, or what gcloud says of it.
NOT_RUN = {"--set-env-vars SHARED_MODEL_VOLUME_ENABLED": "wipes every other variable of the service"}
FAILS = {
    ".env.find(": (1, "unknown transform|Unknown transform"),
    "gcloud monitoring timeseries": (2, "Invalid choice: 'timeseries'"),
}
SHOWS = {
    "--wait": "successfully completed",
    "executions list": "tabular-model-sync",
    "cat gs://tabular-model-cache-local/manifest.json": "models",
    "cat gs://tabular-model-cache-local/.done": "version",
    "versioning get": "Enabled",
    "ls -L -b": "gs://tabular-model-cache-local",
    "ls -a": r"manifest\.json#\d{16}",
    "services replace": "New configuration has been applied",
    "cloud_run_job": "model sync started",
    "--update-labels": "100 percent",
}


def test_the_pages_are_read_whole() -> None:
    found = [command for page in PAGES.values() for command in of_google(page)]
    assert len(found) == 47
    assert sum("\n" in each for each in found) == 18, "commands of several lines are one"
    for part in (*NOT_RUN, *FAILS, *SHOWS):
        assert any(part in each for each in found), part


if GCLOUD is not None and GSUTIL is not None:

    @pytest.fixture(scope="module")
    def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
        """A deployed local environment, with what the runbook takes for granted."""
        house: House = build(tmp_path_factory.mktemp("operators"))
        house.invoke("deploy", "--env", "local")
        made = Terminal(Path(house.root), house.json("local.env", "--env", "local"))
        made.type(
            "mkdir infra && gcloud run services describe tabular-service --format=export > infra/tabular-config.yaml"
        )
        # a second generation with the same content: going back to the first changes nothing for the service
        pointer = "gs://tabular-model-cache-local/manifest.json"
        made.type(f"gsutil cp {pointer} infra/ && gsutil cp infra/manifest.json {pointer}")
        yield made
        house.close()

    @pytest.mark.full
    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("page", PAGES)
    def test_a_page_of_the_runbook_works_as_written(terminal: Terminal, page: str) -> None:
        bucket = "gs://tabular-model-cache-local"
        terminal.type(f"gsutil cp infra/tabular-config.yaml {bucket}/.tmp/20241101-1/a/b")
        listed = terminal.type(f"gsutil ls -a {bucket}/manifest.json").split()
        generations = [each.rpartition("#")[2] for each in listed if "#" in each]
        environ = {"PREV_VERSION": generations[0]}
        for command in of_google(PAGES[page]):
            if any(part in command for part in NOT_RUN):
                continue
            code, words = next((each for part, each in FAILS.items() if part in command), (0, ""))
            shown = terminal.type(command, code, **environ)
            assert re.search(words, shown), f"{command}\n{shown}"
            for part, expected in SHOWS.items():
                assert part not in command or code or re.search(expected, shown), f"{command}\n{shown}"
