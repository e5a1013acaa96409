"""An environment file as frozen, typed values. The docstrings of the fields are the descriptions that editors show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from scripts.errors import NotFound
from scripts.settings import fields, project
from scripts.settings.fields import Frozen, Whole, expect
from scripts.settings.types import Kind, ModelSpec, OnMiss, Verify


class Section(BaseModel):
    """What all parts of an environment file share: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Vpc(Section):
    """How a service reaches a private network: through a connector, or directly with network and subnetwork."""

    connector: fields.Text = ""
    """Serverless VPC Access connector; empty when network is given."""
    network: fields.Text = ""
    """Network for direct egress; empty when connector is given."""
    subnetwork: fields.Text = ""
    """Subnetwork for direct egress."""
    egress: Annotated[
        Literal["private-ranges-only", "all-traffic"], expect("one of private-ranges-only, all-traffic")
    ] = "private-ranges-only"
    """Which traffic takes the private network."""


class Probe(Section):
    """An HTTP probe of the container."""

    path: fields.UrlPath
    """What is asked for."""
    initial_delay_s: Annotated[int, Whole(0, 240, "seconds")] = 0
    """Seconds before the first try."""
    period_s: Annotated[int, Whole(1, 3600, "seconds")] = 10
    """Seconds between two tries."""
    timeout_s: Annotated[int, Whole(1, 3600, "seconds")] = 5
    """Seconds a try may take; at most period_s."""
    failure_threshold: Annotated[int, Whole(1, 1000, "tries")] = 3
    """Failed tries in a row after which the instance counts as broken."""


class Probes(Section):
    """When an instance may serve (startup) and when it has to be started anew (liveness)."""

    startup: Probe = Probe(path="/ready", period_s=2, timeout_s=2, failure_threshold=120)
    """Cloud Run gives an instance failure_threshold × period_s, at most 240 s, to become ready."""
    liveness: Probe = Probe(path="/health", period_s=30, timeout_s=10, failure_threshold=3)
    """Failing it restarts the instance."""


class Service(Section):
    """A Cloud Run service."""

    cloud_run_name: fields.ServiceName
    """Its name in Cloud Run."""
    image: fields.Image
    """The image that the service and its sync job run."""
    cpu: fields.Cpu
    """CPUs of an instance."""
    memory: fields.Memory
    """Memory of an instance, private disk included."""
    concurrency: Annotated[int, Whole(1, 1000, "requests at a time")]
    """Requests that an instance serves at the same time."""
    min_instances: Annotated[int, Whole(0, 1000, "instances")]
    """Instances that are always running."""
    max_instances: Annotated[int, Whole(1, 1000, "instances")]
    """Instances at most."""
    timeout_s: Annotated[int, Whole(1, 3600, "seconds")] = 300
    """Seconds a request may take."""
    service_account: fields.ServiceAccount
    """Whom the service acts as."""
    env: Annotated[Mapping[fields.Variable, fields.Text], *Frozen] = {}
    """Variables of the service's own; those that modelshelf sets may not be set here."""
    secret_env: Annotated[Mapping[fields.Variable, fields.SecretVersion], *Frozen] = {}
    """Variables from Secret Manager: NAME: "secret:version"."""
    ingress: Annotated[
        Literal["all", "internal", "internal-and-cloud-load-balancing"],
        expect("one of all, internal, internal-and-cloud-load-balancing"),
    ] = "all"
    """Where requests may come from."""
    vpc: Vpc | None = None
    """The way into a private network; leave it out for none."""
    probes: Probes = Probes()
    """Startup and liveness."""


class Cache(Section):
    """The shared model cache: one bucket, mounted in every instance."""

    bucket: fields.Bucket
    """Bucket names are global: change this one if somebody else has it."""
    mount_path: fields.MountPath = "/models"
    """Where instances see the bucket."""
    enabled: fields.Flag = True
    """False: no mount; every instance downloads for itself."""
    version: fields.Version = ""
    """Pin instances to one published version; empty follows the newest trusted statement."""
    keep: Annotated[int, Whole(1, 100, "versions")] = 3
    """Complete versions that are kept."""
    capacity_gb: fields.Gigabytes
    """The bucket size that monitoring measures against; keep × size of the models must fit 80 % of it."""
    on_miss: Annotated[OnMiss, expect("one of trigger, publish, wait, private, fail")] = "trigger"
    """What an instance without a usable version does: start the sync job and wait, publish by itself, wait, download
    privately, or fail."""
    wait_timeout_s: Annotated[int, Whole(1, 239, "seconds, less than Cloud Run's 240 s for a start")] = 180
    """Seconds an instance waits for a version before it gives up."""
    verify: Annotated[Verify, expect("one of metadata, full")] = "metadata"
    """What an instance compares before it serves: sizes and checksums that the bucket tells, or in full the SHA-256 of
    every byte that it sees, which takes as long as reading the models."""


class Model(Section):
    """A model that the sync job publishes."""

    name: fields.ModelName
    """How people call it; unique."""
    kind: Annotated[Kind, expect("one of ollama, huggingface")]
    """Which upstream it comes from."""
    source: Annotated[str, expect("ORG/NAME (huggingface) or [namespace/]name:tag (ollama)")]
    """ollama: [namespace/]name:tag; huggingface: ORG/NAME."""
    revision: fields.Text = ""
    """Digest (ollama) or commit (huggingface); empty = pinned by the first sync, recorded in the manifest."""
    files: tuple[fields.FilePattern, ...] = ()
    """huggingface only: patterns of the files to take; empty = all."""
    size_gb: fields.Gigabytes
    """Expected size; sizes × cache.keep must fit the capacity."""

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec(self.name, self.kind, self.source, self.revision, self.files)


class Sync(Section):
    """The Cloud Run job that publishes models, and its schedule."""

    job_name: fields.ServiceName
    """The job's name in Cloud Run."""
    schedule_name: fields.ScheduleName
    """The schedule's name in Cloud Scheduler."""
    schedule: fields.Cron
    """When the schedule runs the job: minute hour day month weekday."""
    time_zone: fields.TimeZone = "UTC"
    """Zone of the schedule."""
    schedule_enabled: fields.Flag = False
    """Whether the schedule runs at all."""
    on_deploy: Annotated[Literal["auto", "always", "never"], expect("one of auto, always, never")] = "auto"
    """What deploy does first without --sync: auto syncs models that are not published yet."""
    tasks: Annotated[int, Whole(1, 100, "tasks")] = 1
    """Tasks of an execution."""
    max_retries: Annotated[int, Whole(0, 10, "tries")] = 1
    """How often a failed task is tried again."""
    timeout_s: Annotated[int, Whole(60, 604_800, "seconds")] = 3600
    """Seconds a task may take."""
    cpu: fields.Cpu
    """CPUs of a task."""
    memory: fields.Memory
    """Memory of a task; models are streamed and do not have to fit."""
    service_account: fields.ServiceAccount
    """Whom the job acts as: it writes to the bucket and signs."""


class Trusted(Section):
    """A public key whose signatures are believed: key_id and public_pem, or a file."""

    key_id: fields.Text = ""
    """Name of the key in signatures."""
    public_pem: fields.Text = ""
    """The public key as PEM."""
    file: fields.Text = ""
    """A PEM file; `.local/…` is in the state folder."""


class Signing(Section):
    """Who signs published versions, and whose signatures are believed."""

    key: fields.SigningKey = ""
    """file:PATH (ed25519) or gcpkms:… (Cloud KMS, ECDSA P-256); empty = nothing can be published yet."""
    trusted_keys: tuple[Trusted, ...] = ()
    """Public keys; never kept in the bucket."""


class Monitoring(Section):
    """Alerting."""

    enabled: fields.Flag = False
    """Create alert policies (Terraform's enable_monitoring_alerts)."""


class Rollout(Section):
    """How a deploy gives traffic to a new revision, and what makes it take the traffic back."""

    canary: tuple[Annotated[int, Whole(1, 99, "percent")], ...] = ()
    """Shares that the new revision gets one after the other before it gets everything; empty = everything at once."""
    watch_s: Annotated[int, Whole(0, 3600, "seconds")] = 10
    """Seconds for which each share is watched, the whole too."""
    max_error_percent: fields.Percent = 1.0
    """Failed requests (429 and 5xx) of the new revision, of all that it got, beyond which it is rolled back."""
    max_p95_ms: Annotated[int, Whole(0, 3_600_000, "milliseconds")] = 0
    """95 of 100 requests to the new revision have to be answered within this; 0 = any time will do."""


class Hooks(Section):
    """Programs that a deploy starts, each a list of words and no shell; they read JSON on their standard input."""

    before_deploy: tuple[fields.Command, ...] = ()
    """Before anything changes; one that fails stops the deploy."""
    after_deploy: tuple[fields.Command, ...] = ()
    """After everything went well."""
    on_failure: tuple[fields.Command, ...] = ()
    """After a deploy failed."""
    on_rollback: tuple[fields.Command, ...] = ()
    """After traffic was put back on an earlier revision."""
    timeout_s: Annotated[int, Whole(1, 3600, "seconds")] = 300
    """Seconds that each may take."""


class EnvironmentFile(Section):
    """One environment of modelshelf: read by Python, Jinja and Terraform alike."""

    environment: fields.Environment
    """The file's own name."""
    project: fields.Project
    """Google Cloud project id."""
    region: fields.Region
    """Region of everything."""
    provision: Annotated[Literal["self", "terraform"], expect("one of self, terraform")]
    """Who creates buckets, accounts and permissions: Terraform, or the commands themselves (stand-in only)."""
    access: Annotated[Literal["private", "public"], expect("one of private, public")]
    """Who may call the services: holders of an ID token, or everybody."""
    confirm: Annotated[Literal["none", "name"], expect("one of none, name")] = "none"
    """What a deploy asks before it changes something: nothing, or the environment's name typed (--yes: not asked)."""
    services: Annotated[Mapping[fields.ServiceKey, Service], *Frozen]
    """Services by their short name."""
    cache: Cache
    models: tuple[Model, ...]
    """The models of this environment."""
    sync: Sync
    signing: Signing = Signing()
    rollout: Rollout = Rollout()
    hooks: Hooks = Hooks()
    monitoring: Monitoring = Monitoring()
    labels: Annotated[Mapping[fields.LabelKey, fields.LabelValue], *Frozen] = {}
    """Labels of everything that is deployed."""


class Settings(EnvironmentFile):
    """An environment file, and where it is used: endpoint is a stand-in's address (None = Google Cloud)."""

    endpoint: str | None = None
    rehearsal: bool = False

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """The models as the sync job and the containers know them."""
        return tuple(model.spec for model in self.models)

    def service(self, name: str) -> Service:
        """A service by its short name. Raises NotFound listing the ones there are."""
        if name in self.services:
            return self.services[name]
        known = sorted(self.services)
        named = (key for key in known if self.services[key].cloud_run_name == name)
        raise NotFound(
            f"service {name!r} is not in environments/{self.environment}.yaml; available: {', '.join(known)}",
            f"Run the command again with --service {next(named, '|'.join(known))}",
        )

    @property
    def signing_key(self) -> str:
        """signing.key with a file's place made absolute, so that every process finds the same file; may be empty."""
        kind, _, path = self.signing.key.partition(":")
        return f"file:{project.resolve(path)}" if kind == "file" else self.signing.key
