"""What a command works on: one service of one environment, in one cloud, with its bucket and its job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from scripts.cloud import connect
from scripts.cloud.connect import Cloud

if TYPE_CHECKING:
    from scripts.cloud.logs import LogsClient
    from scripts.cloud.run import RunClient
    from scripts.cloud.storage import Bucket
    from scripts.settings.model import Service, Settings

DEFAULT_SERVICE = "tabular"


@dataclass(frozen=True)
class Target:
    """key is the service's name in the environment file; its name in Cloud Run is `name`.

    unpin: traffic that a rollback holds on an earlier revision may be moved. promoted: the note of a promotion whose
    image stands in for the file's, or empty.
    """

    settings: Settings
    key: str
    cloud: Cloud
    unpin: bool = False
    promoted: str = ""

    @property
    def environment(self) -> str:
        return self.settings.environment

    @property
    def service(self) -> Service:
        return self.settings.service(self.key)

    @property
    def name(self) -> str:
        return self.service.cloud_run_name

    @property
    def job_name(self) -> str:
        return self.settings.sync.job_name

    def advice(self, remedy: str) -> str:
        """A remedy with this environment's name in it."""
        return remedy.replace("ENVIRONMENT", self.environment)

    @property
    def lease_name(self) -> str:
        return f"deploy-{self.name}"

    @cached_property
    def bucket(self) -> Bucket:
        return self.cloud.bucket(self.settings.cache.bucket)

    @cached_property
    def run(self) -> RunClient:
        return self.cloud.run()

    @cached_property
    def logs(self) -> LogsClient:
        return self.cloud.logs()


def reach(settings: Settings, key: str = DEFAULT_SERVICE) -> Target:
    """The target in a cloud that runs. Raises NotFound for an unknown service, and what connect.connect raises."""
    settings.service(key)
    return Target(settings, key, connect.connect(settings))


def ensure(settings: Settings, key: str, say: Callable[[str], None]) -> Target:
    """The target; where the environment provisions itself its cloud is started first."""
    settings.service(key)
    return Target(settings, key, connect.ensure(settings, say))
