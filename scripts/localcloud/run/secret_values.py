"""Variables that come from Secret Manager: their values are read when an instance or an execution is started."""

from __future__ import annotations

import copy
import re
from typing import Any

from scripts.localcloud.admin.documents import Documents
from scripts.localcloud.admin.vault import Vault
from scripts.localcloud.context import Context
from scripts.localcloud.run.container import CannotRun

Document = dict[str, Any]
_ALIAS = re.compile(r"(?P<alias>[^:,]+):projects/(?P<project>[^/,]+)/secrets/(?P<secret>[^/,]+)")
ANNOTATION = "run.googleapis.com/secrets"


def has_any(pod: Document) -> bool:
    """Whether variables of a RevisionSpec or TaskSpec come from secrets."""
    return any(each.get("valueFrom") for container in pod["containers"] for each in container.get("env") or ())


class SecretValues:
    """Looks into the stand-in's own Secret Manager; a value is never written into a document."""

    def __init__(self, context: Context) -> None:
        self._documents = Documents(context.db)
        self._vault = Vault(context.folder("secrets"))

    def filled(self, pod: Document, annotations: Document, project: str) -> Document:
        """A RevisionSpec or TaskSpec with the values of secrets in its variables. Raises CannotRun."""
        if not has_any(pod):
            return pod
        aliases = {each["alias"].strip(): each for each in _ALIAS.finditer(annotations.get(ANNOTATION) or "")}
        changed = copy.deepcopy(pod)
        for number, container in enumerate(changed["containers"]):
            for index, variable in enumerate(container.get("env") or ()):
                reference = (variable.pop("valueFrom", None) or {}).get("secretKeyRef")
                if reference is None:
                    continue
                alias = aliases.get(reference["name"])
                owner, name = (alias["project"], alias["secret"]) if alias else (project, reference["name"])
                place = f"spec.template.spec.containers[{number}].env[{index}].value_from.secret_key_ref.name"
                variable["value"] = self._value(f"projects/{owner}/secrets/{name}", str(reference["key"]), place)
        return changed

    def _value(self, secret: str, key: str, place: str) -> str:
        found = self._documents.read(secret)
        version = key if key.isdigit() else str((found or {}).get("versionAliases", {}).get(key, key))
        if found is not None and key == "latest":
            version = str(found["next"] - 1)
        name = f"{secret}/versions/{version}"
        document = self._documents.read(name) if found is not None else None
        remedy = f"Add a version with: gcloud secrets versions add {secret.rpartition('/')[2]} --data-file=FILE"
        if document is None:
            text = f"{place}: Secret {secret}/versions/{key} was not found. {remedy}"
            raise CannotRun("SecretsAccessCheckFailed", text)
        if document["state"] != "ENABLED":
            text = f"{place}: Secret {name} is in {document['state']} state. {remedy}"
            raise CannotRun("SecretsAccessCheckFailed", text)
        try:
            return self._vault.read(name).decode()
        except UnicodeDecodeError:
            text = f"{place}: Secret {name} is no UTF-8 text, which a variable must be."
            raise CannotRun("SecretsAccessCheckFailed", text) from None
