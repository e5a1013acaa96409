"""gcloud's commands for Cloud Run in the ways in which operators type them: what each shows and how it ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.service import exports
from tests.conftest import StandIn
from tests.contract.gcloud_support import GCLOUD, Terminal

pytestmark = pytest.mark.process
HELLO = "us-docker.pkg.dev/cloudrun/container/hello"
R = "--region europe-west1"
EXECUTION = "$(gcloud run jobs executions list --job JOB --limit 1 --format='value(metadata.name)')"

# (command, exit code, what it shows)
FIRST = [
    (
        f"gcloud run deploy web --image {HELLO} {R} --allow-unauthenticated --set-env-vars A=1,B=2 --max-instances 3",
        0,
        "100 percent",
    ),
    (f"gcloud run services update-traffic web {R} --set-tags blue=LATEST", 0, "blue---web"),
    ("gcloud run services describe web --format='value(spec.template.spec.containers[0].env[0].value)'", 0, "^1$"),
    (f"gcloud run jobs create quick --image {HELLO} {R} --tasks 2 --execute-now --wait", 0, "completed execution"),
    (
        f"gcloud run jobs executions tasks list --execution {EXECUTION.replace('JOB', 'quick')} --succeeded",
        0,
        "(?s)Succeeded.*Succeeded",
    ),
    ("gcloud run services update web --memory 8Gi", 1, "memory must be between 128Mi and 4Gi"),
]
SERVICES = [
    (
        f"gcloud run deploy api --image {HELLO} {R} --no-allow-unauthenticated --labels team=x --min-instances 1",
        0,
        "api-00001-",
    ),
    (
        f"gcloud run deploy api --image {HELLO} --no-traffic --tag green --revision-suffix two --update-env-vars A=5",
        0,
        "0 percent",
    ),
    ("gcloud run services update-traffic api --to-tags green=20", 0, "20% api-two"),
    ("gcloud run services update-traffic api --to-revisions api-two=50", 0, "50% api-two"),
    (
        "gcloud run services update-traffic api --to-revisions none=50",
        1,
        "Revision 'none' of service 'api' does not exist",
    ),
    ("gcloud run services update-traffic api --to-latest", 0, r"100% LATEST \(currently api-two\)"),
    ("gcloud run services update-traffic api --update-tags pink=api-two", 0, "pink---api"),
    ("gcloud run services update-traffic api --remove-tags green,pink", 0, "100% LATEST"),
    ("gcloud run services update-traffic api --clear-tags", 0, "100% LATEST"),
    ("gcloud run services update api --clear-env-vars", 0, "api-00003-"),
    (
        "gcloud run services update api --revision-suffix two --update-env-vars Z=1",
        1,
        "api-two' with different configuration",
    ),
    (
        "gcloud run services update api --update-labels a=b --remove-labels team --concurrency default --cpu-boost",
        0,
        "100 percent",
    ),
    (
        "gcloud run services update api --execution-environment gen2 --ingress internal --no-cpu-throttling",
        0,
        "100 percent",
    ),
    ("gcloud run services update api --image gcr.io/p/none:v1", 1, "Image 'gcr.io/p/none:v1' not found"),
    (f"gcloud run services update api --image {HELLO}", 0, "100 percent"),
    ("gcloud run services update api --timeout 7200", 1, "timeoutSeconds"),
    ("gcloud run services update api --set-env-vars PORT=1", 1, "reserved env names were provided: PORT"),
    ("gcloud run services update api --set-secrets K=none:latest", 1, "secrets/none/versions/latest was not found"),
    (
        "printf x | gcloud secrets create kept --data-file=-",
        0,
        "Created version",
    ),
    (
        "gcloud run services update api --set-secrets K=kept:latest",
        0,
        "100 percent",
    ),
    ("gcloud run services update api --clear-secrets", 0, "100 percent"),
    (
        "gcloud run services describe api --format=export > api.yaml && gcloud run services replace api.yaml --dry-run",
        0,
        "has been validated",
    ),
    ("gcloud run services replace api.yaml", 0, "has been applied"),
    (
        "gcloud run services describe api --format=json > api.json && gcloud run services replace api.json",
        0,
        "has been applied",
    ),
    (
        "sed 's/percent: 100/percent: 90/' api.yaml > bad.yaml; gcloud run services replace bad.yaml",
        1,
        "they sum to 90",
    ),
    ("gcloud run services list --format=yaml", 0, "serving.knative.dev/creator: local"),
    ("gcloud run services list --region us-central1", 0, "Listed 0 items"),
    (
        f"gcloud run deploy api --image {HELLO} --region us-central1 --no-allow-unauthenticated",
        1,
        "has the region europe-west1 only",
    ),
    ("CLOUDSDK_RUN_REGION= gcloud run services describe api", 1, "You must specify a region"),
    ("gcloud run services list --filter=metadata.name=api --format='value(metadata.name)'", 0, "^api$"),
    ("gcloud run revisions list --service api --limit 2", 0, "api-000"),
    ("gcloud run revisions describe api-two --format=yaml", 0, "imageDigest: .*@sha256:"),
    ("gcloud run revisions delete api-two", 0, "Deleted revision"),
    ("gcloud run revisions delete api-two", 1, "could not be found"),
    ("gcloud run services add-iam-policy-binding api --member=user:a@b.c --role=roles/run.invoker", 0, "user:a@b.c"),
    (
        "gcloud run services get-iam-policy api --format=json > policy.json",
        0,
        "",
    ),
    ("gcloud run services set-iam-policy api policy.json", 0, "a@b.c"),
    (
        "gcloud run services remove-iam-policy-binding api --member=user:a@b.c --role=roles/run.invoker",
        0,
        "Updated IAM policy",
    ),
    ("gcloud run services describe none", 1, r"Cannot find service \[none\]"),
    ("gcloud run services delete api --async", 0, "is being deleted"),
    ("gcloud run services delete api", 1, "could not be found"),
]
JOBS = [
    (
        f"gcloud run jobs create sync --image {HELLO} --tasks 3 --parallelism 2 --max-retries 1 --task-timeout 5m",
        0,
        "successfully been created",
    ),
    ("gcloud run jobs describe sync", 0, "by local"),
    ("gcloud run jobs list", 0, "sync"),
    (
        "gcloud run jobs execute sync --wait --args a,b --update-env-vars X=1 --tasks 2 --task-timeout 10m",
        0,
        "successfully completed",
    ),
    ("gcloud run jobs execute sync --async", 0, "started asynchronously"),
    ("gcloud run jobs update sync --tasks 1 --update-env-vars Z=1 --execute-now --wait", 0, "completed execution"),
    ("gcloud run jobs update sync --clear-env-vars", 0, "successfully been updated"),
    (
        "gcloud run jobs describe sync --format=export > sync.yaml && gcloud run jobs replace sync.yaml",
        0,
        "successfully updated",
    ),
    ("gcloud run jobs executions list --job sync --limit 2", 0, "sync-"),
    (f"gcloud run jobs executions describe {EXECUTION.replace('JOB', 'sync')}", 0, "completed successfully"),
    (f"gcloud run jobs executions tasks describe {EXECUTION.replace('JOB', 'sync')}-task0", 0, "Succeeded"),
    (f"gcloud run jobs executions cancel {EXECUTION.replace('JOB', 'sync')}", 1, "already completed"),
    (f"gcloud run jobs executions delete {EXECUTION.replace('JOB', 'sync')}", 0, "Deleted execution"),
    (f"gcloud run jobs create slow --image {HELLO} --command sleep --args 60", 0, "created"),
    ("gcloud run jobs execute slow", 0, "successfully started running"),
    (f"gcloud run jobs executions cancel {EXECUTION.replace('JOB', 'slow')}", 0, "Cancelled execution"),
    (f"gcloud run jobs executions describe {EXECUTION.replace('JOB', 'slow')}", 0, "was cancelled"),
    (
        f"gcloud run jobs create failing --image {HELLO} --command false --max-retries 0 --execute-now --wait",
        1,
        "execution failed",
    ),
    (f"gcloud run jobs deploy sync --image {HELLO} --execute-now --wait", 0, "completed execution"),
    (f"gcloud run jobs create many --image {HELLO} --tasks 20000", 1, "taskCount"),
    (f"gcloud run jobs create long --image {HELLO} --task-timeout 200h", 1, "timeoutSeconds"),
    ("gcloud run jobs create imageless --image gcr.io/p/none:v1", 1, "Image 'gcr.io/p/none:v1' not found"),
    ("gcloud run jobs add-iam-policy-binding sync --member=user:a@b.c --role=roles/run.invoker", 0, "user:a@b.c"),
    ("gcloud run jobs execute none", 1, "Resource 'none' of kind 'JOB'"),
    ("gcloud run jobs delete sync", 0, "Deleted job"),
]


if GCLOUD is not None:

    @pytest.fixture(scope="module")
    def terminal(shared_standin: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
        folder = tmp_path_factory.mktemp("typed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODELSHELF_STATE", str(folder / "state"))
            patch.setenv("MODELSHELF_ENDPOINT", shared_standin.url)
            return Terminal(Path(folder), exports.prepare(""))

    def typed(terminal: Terminal, commands: list[tuple[str, int, str]]) -> None:
        for command, code, expected in commands:
            shown = terminal.type(command, code)
            assert re.search(expected, shown, re.MULTILINE), f"{command}\n{shown}"

    @pytest.mark.full
    @pytest.mark.timeout(300)
    def test_a_service_and_a_job_are_deployed_read_and_refused(terminal: Terminal) -> None:
        typed(terminal, FIRST)

    @pytest.mark.full
    @pytest.mark.timeout(600)
    def test_what_operators_do_with_services(terminal: Terminal) -> None:
        typed(terminal, SERVICES)

    @pytest.mark.full
    @pytest.mark.timeout(600)
    def test_what_operators_do_with_jobs(terminal: Terminal) -> None:
        typed(terminal, JOBS)
