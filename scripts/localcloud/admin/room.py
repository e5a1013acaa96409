"""The rooms of administration behind one door: KMS, Secret Manager, service accounts, Service Usage, projects."""

from __future__ import annotations

from typing import Any

from scripts.localcloud.admin.accounts import Accounts
from scripts.localcloud.admin.documents import Documents
from scripts.localcloud.admin.kms import Kms
from scripts.localcloud.admin.policies import Policies
from scripts.localcloud.admin.projects import Projects
from scripts.localcloud.admin.secret_manager import SecretManager
from scripts.localcloud.admin.service_usage import ServiceUsage
from scripts.localcloud.context import Context
from scripts.localcloud.web import Route


class AdminRoom:
    """Everything that is a named document with a policy."""

    def __init__(self, context: Context) -> None:
        self._documents = Documents(context.db)
        policies = Policies(context.db)
        self._parts = (
            Kms(context, self._documents, policies),
            SecretManager(context, self._documents, policies),
            Accounts(context, self._documents, policies),
            ServiceUsage(self._documents),
            Projects(context, self._documents, policies),
        )

    def routes(self) -> list[Route]:
        return [route for part in self._parts for route in part.routes()]

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def status(self) -> dict[str, Any]:
        return {"resources": self._documents.count()}
