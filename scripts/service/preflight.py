"""Before a deploy: what it was asked for, the image's digest, one look at what is live, and the server's own check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from pydantic import TypeAdapter, ValidationError

from scripts.errors import AccessDenied, BadInput, Conflict
from scripts.plan import Change, Plan
from scripts.service import observe, ownership, planning, promoted, rollout, target
from scripts.service.observe import Live
from scripts.service.planning import SyncMode
from scripts.service.rollout import Way
from scripts.service.steps import Talk
from scripts.service.target import Target
from scripts.settings.fields import Image
from scripts.settings.model import Settings


@dataclass(frozen=True)
class Options:
    """What the caller chose. sync and canary None mean what the environment says, image "" its own image.

    wait_s: how long to wait for another command that holds the service's lease; None: until one that died has lapsed.
    unpin: move traffic that a rollback holds. accept: take what tags name upstream by now.
    """

    service: str = target.DEFAULT_SERVICE
    sync: str | None = None
    image: str = ""
    canary: str | None = None
    wait_s: float | None = None
    unpin: bool = False
    accept: bool = False

    def shares(self, settings: Settings) -> tuple[int, ...]:
        """The shares before the whole. Raises BadInput."""
        return settings.rollout.canary if self.canary is None else rollout.parsed(self.canary)

    def mode(self, settings: Settings) -> SyncMode:
        """When the sync job runs first. Raises BadInput for an unknown mode."""
        try:
            return SyncMode(self.sync or settings.sync.on_deploy)
        except ValueError:
            known = ", ".join(SyncMode)
            text = f"--sync: found {self.sync!r}, expected one of {known}"
            raise BadInput(text, "Run: ./dev invoke --help deploy") from None

    def check(self, settings: Settings) -> None:
        """Refuse what cannot be meant, before anything is asked. Raises BadInput, NotFound."""
        settings.service(self.service)
        self.mode(settings)
        self.shares(settings)
        if self.image:
            check_image(self.image, "--image")


@dataclass(frozen=True)
class Outlook:
    """What a deploy found and what it would do: way is None where the service stays as it is."""

    live: Live
    plan: Plan
    way: Way | None


def with_digest(reached: Target, options: Options) -> Target:
    """The target with the digest in the place of its image, which is the promoted one where one stands.

    Raises what the clients raise.
    """
    if not options.image:
        reached = promoted.applied(reached, reached.run.get_service(reached.name))
    service = reached.service
    digest = reached.cloud.registry().digest(options.image or service.image)
    pinned = service.model_copy(update={"image": digest})
    services = MappingProxyType({**reached.settings.services, reached.key: pinned})
    return replace(reached, settings=reached.settings.model_copy(update={"services": services}), unpin=options.unpin)


def outlook(reached: Target, options: Options) -> Outlook:
    """Look at everything and decide. Raises Refused when Terraform's part is missing."""
    live = observe.look(reached)
    ownership.check(reached, live.foundation)
    return decided(reached, live, options)


def decided(reached: Target, live: Live, options: Options) -> Outlook:
    """What a deploy would do with what was seen."""
    way = way_of(reached, live, options, planning.service_changes(reached, live))
    found = planning.plan(reached, live, options.mode(reached.settings))
    steps = rollout.told(way, reached.name, reached.settings.rollout.watch_s)
    return Outlook(live, found.extended(steps), way)


def way_of(reached: Target, live: Live, options: Options, changes: Sequence[Change]) -> Way | None:
    """How the changes of the service come to the traffic; None where there are none."""
    if not changes:
        return None
    body = planning.desired_service(reached, live)
    return rollout.decide(live.service, body, changes, options.shares(reached.settings))


def tell(reached: Target, options: Options, found: Outlook, talk: Talk) -> None:
    """Say what deserves care."""
    if options.image:
        talk.note(
            f"image {options.image} for this deploy only: the next one without --image takes the environment's again"
        )
    for line in promoted.told(reached):
        talk.note(line)
    for line in planning.notes(reached, found.live):
        talk.note(line, warning=True)


def validate(reached: Target, found: Outlook, talk: Talk, *, only_looking: bool = False) -> None:
    """Let Cloud Run check the service without changing it (dryRun=all). Raises what it refuses with.

    only_looking: somebody who may not change the service may still see the plan, and is told so.
    """
    if found.way is None:
        return
    version = found.live.service.resource_version if found.live.service else ""
    try:
        reached.run.apply_service(found.way.body, version, validate_only=True)
    except AccessDenied as error:
        if not only_looking:
            raise
        talk.note(f"Cloud Run did not check this plan: {error.message}", warning=True)
    except Conflict:  # another deploy is at work: under the lease this is decided, and checked, anew
        talk.note("the service changes while this is planned; it is looked at again before anything is done")


def check_image(reference: str, option: str) -> None:
    """Raise BadInput unless a text that was typed is an image reference."""
    try:
        TypeAdapter(Image).validate_python(reference)
    except ValidationError:
        expected = "an image reference like europe-west1-docker.pkg.dev/PROJECT/REPOSITORY/tabular:TAG"
        text = f"{option}: found {reference!r}, expected {expected}"
        raise BadInput(text, f"For example: {option} tabular:local") from None
