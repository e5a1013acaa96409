"""What has to fit together in an environment file: rules over several values, each a (place, found, expected).

The rules see a partly valid file: a value that is missing or has the wrong type is None here and was reported before.
Sources: Cloud Run "CPU limits", "Memory limits", "Health checks", "Execution environments"; Artifact references of
Ollama and Hugging Face.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from scripts.settings.document import Place
from scripts.settings.keys import key_id
from scripts.settings.runtime import MANAGED, PLATFORM

Finding = tuple[Place, str, str]

STARTUP_LIMIT_S = 240
CAPACITY_SHARE = 0.8
RESERVED_LABELS = ("env", "service", "managed-by")
# Memory in MiB that Cloud Run allows for a number of CPUs; 512 is the least of the second generation.
_MEMORY_MIB = {
    "1": (512, 4096),
    "2": (512, 8192),
    "4": (2048, 16384),
    "6": (4096, 24576),
    "8": (4096, 32768),
}
_SOURCES = {
    "ollama": (
        re.compile(r"([a-z0-9][a-z0-9_-]*/)?[a-z0-9][a-z0-9._-]*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"),
        "an Ollama reference without a host: [namespace/]name:tag, like library/llama3.2:1b",
    ),
    "huggingface": (
        re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*/[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*"),
        "a Hugging Face repository: ORG/NAME, like BAAI/bge-m3",
    ),
}
_REVISIONS = {
    "ollama": (re.compile(r"sha256:[0-9a-f]{64}"), "empty, or a digest sha256:… of 64 hexadecimal digits"),
    "huggingface": (re.compile(r"[0-9a-f]{40}"), "empty, or a commit of 40 hexadecimal digits"),
}


def findings(tree: Any, name: str) -> Iterator[Finding]:
    """Everything in a file named `<name>.yaml` that does not fit together."""
    if tree.environment is not None and tree.environment != name:
        yield ("environment",), repr(tree.environment), f"{name}, as the file is called"
    yield from _services(tree)
    yield from _models(tree)
    yield from _capacity(tree)
    if tree.sync is not None:
        yield from _size(("sync",), tree.sync.cpu, tree.sync.memory)
    yield from _signing(tree)
    yield from _rollout(tree.rollout)
    yield from _labels(tree.labels)


def _services(tree: Any) -> Iterator[Finding]:
    services: Mapping[str, Any] = tree.services or {}
    if tree.services is not None and not services:
        yield ("services",), "no service", "at least one"
    taken: dict[str, str] = {}
    for name, service in services.items():
        if service is None:
            continue
        place: Place = ("services", name)
        yield from _size(place, service.cpu, service.memory)
        if _known(service.min_instances, service.max_instances) and service.min_instances > service.max_instances:
            found = f"{service.min_instances}"
            yield (*place, "min_instances"), found, f"at most max_instances, {service.max_instances}"
        yield from _variables(place, service)
        yield from _vpc(place, service.vpc)
        yield from _probes(place, service.probes, tree.cache)
        first = taken.setdefault(service.cloud_run_name, name)
        if service.cloud_run_name is not None and first != name:
            yield (*place, "cloud_run_name"), f"the name of services.{first}", "a name of its own"


def _size(place: Place, cpu: Any, memory: Any) -> Iterator[Finding]:
    if not _known(cpu, memory):
        return
    low, high = _MEMORY_MIB[cpu]
    mib = int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)
    if not low <= mib <= high:
        yield (*place, "memory"), f"{memory} with {cpu} CPU", f"{_mib(low)} to {_mib(high)} for that many CPUs"


def _variables(place: Place, service: Any) -> Iterator[Finding]:
    for section in ("env", "secret_env"):
        for name in getattr(service, section) or {}:
            if name in MANAGED:
                yield (*place, section, name), "a variable that modelshelf sets itself", "a name of your own"
            elif name in PLATFORM or name.startswith("X_GOOGLE_"):
                yield (*place, section, name), "a variable that Cloud Run sets itself", "a name of your own"
    for name in sorted(set(service.env or {}) & set(service.secret_env or {})):
        yield (*place, "secret_env", name), "a variable that env sets too", "each variable once"


def _vpc(place: Place, vpc: Any) -> Iterator[Finding]:
    if vpc is None or not _known(vpc.connector, vpc.network, vpc.subnetwork):
        return
    direct = bool(vpc.network or vpc.subnetwork)
    if bool(vpc.connector) == direct:
        found = "both a connector and a network" if direct else "neither a connector nor a network"
        yield (*place, "vpc"), found, "exactly one of them"


def _probes(place: Place, probes: Any, cache: Any) -> Iterator[Finding]:
    if probes is None:
        return
    for kind in ("startup", "liveness"):
        probe = getattr(probes, kind)
        if probe is not None and _known(probe.timeout_s, probe.period_s) and probe.timeout_s > probe.period_s:
            at = (*place, "probes", kind, "timeout_s")
            yield at, str(probe.timeout_s), f"at most period_s, {probe.period_s}"
    startup = probes.startup
    if startup is None or not _known(startup.failure_threshold, startup.period_s):
        return
    budget = startup.failure_threshold * startup.period_s
    numbers = f"{startup.failure_threshold} × {startup.period_s} s = {budget} s"
    if budget > STARTUP_LIMIT_S:
        at = (*place, "probes", "startup", "failure_threshold")
        yield at, numbers, f"failure_threshold × period_s of at most {STARTUP_LIMIT_S} s"
    elif cache is not None and cache.wait_timeout_s is not None and cache.wait_timeout_s >= budget:
        expected = f"less than the {budget} s that {place[-1]}'s startup probe allows ({numbers})"
        yield ("cache", "wait_timeout_s"), str(cache.wait_timeout_s), expected


def _models(tree: Any) -> Iterator[Finding]:
    models = tree.models
    if models is not None and not models:
        yield ("models",), "an empty list", "at least one model"
    seen: dict[tuple[str, ...], int] = {}
    for place, model in enumerate(models or ()):
        if model is None:
            continue
        for field, value in (("name", (model.name,)), ("source", (model.kind, model.source))):
            first = seen.setdefault((field, *value), place)
            if first != place and None not in value:
                yield ("models", place, field), f"{value[-1]!r}, as in models[{first}]", f"each {field} once"
        if model.kind is None:
            continue
        source, words = _SOURCES[model.kind]
        if model.source is not None and not source.fullmatch(model.source):
            yield ("models", place, "source"), repr(model.source), words
        revision, words = _REVISIONS[model.kind]
        if model.revision and not revision.fullmatch(model.revision):
            yield ("models", place, "revision"), repr(model.revision), words
        if model.kind == "ollama" and model.files:
            yield ("models", place, "files"), f"{len(model.files)} patterns", "none: an Ollama model is taken whole"


def _capacity(tree: Any) -> Iterator[Finding]:
    cache, models = tree.cache, tree.models or ()
    sizes: list[Any] = [model.size_gb if model is not None else None for model in models]
    if cache is None or None in sizes or not sizes or not _known(cache.keep, cache.capacity_gb):
        return
    needed = cache.keep * sum(sizes)
    room = CAPACITY_SHARE * cache.capacity_gb
    if needed > room * (1 + 1e-9):
        found = f"{cache.keep} versions × {sum(sizes):g} GB = {needed:g} GB"
        expected = f"at most {room:g} GB ({CAPACITY_SHARE:.0%} of capacity_gb, {cache.capacity_gb:g})"
        yield ("cache", "capacity_gb"), found, expected


def _signing(tree: Any) -> Iterator[Finding]:
    signing = tree.signing
    if signing is None:
        return
    if tree.provision == "self" and signing.key == "":
        yield ("signing", "key"), "nothing", "file:PATH: an environment that provisions itself signs by itself"
    if tree.provision == "terraform" and (signing.key or "").startswith("file:"):
        yield ("signing", "key"), repr(signing.key), "gcpkms:…, a key that never leaves Cloud KMS, or empty"
    if signing.key and signing.trusted_keys == ():
        yield ("signing", "trusted_keys"), "no key", "at least the public key of signing.key"
    names: Counter[str] = Counter()
    for number, key in enumerate(signing.trusted_keys or ()):
        place: Place = ("signing", "trusted_keys", number)
        if key is None or not _known(key.key_id, key.public_pem, key.file):
            continue
        if bool(key.file) == bool(key.key_id or key.public_pem) or bool(key.key_id) != bool(key.public_pem):
            given = [name for name in ("key_id", "public_pem", "file") if getattr(key, name)]
            yield place, " and ".join(given) or "nothing", "key_id and public_pem, or file alone"
        elif key.public_pem and (found := _not_public(key.public_pem)):
            yield (*place, "public_pem"), found, "a public key in PEM, ed25519 or ECDSA P-256"
        elif key.public_pem and key.key_id != key_id(key.public_pem):
            expected = f"{key_id(key.public_pem)}, the SHA-256 of this public key in DER"
            yield (*place, "key_id"), repr(key.key_id), expected
        names[key.key_id] += 1
        if key.key_id and names[key.key_id] > 1:
            yield (*place, "key_id"), f"{key.key_id!r} a second time", "each key once"


def _not_public(pem: str) -> str:
    """What is wrong with a PEM; never its text, which may be a private key put in the wrong place."""
    if "PRIVATE KEY" in pem:
        return "a private key (treat it as leaked)"
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key_id(pem)
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return "text that is no PEM"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return ""
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else "a key of another kind"


def _rollout(rollout: Any) -> Iterator[Finding]:
    shares = [share for share in rollout.canary or () if share is not None] if rollout is not None else []
    if any(later <= earlier for earlier, later in pairwise(shares)):
        yield ("rollout", "canary"), ", ".join(str(share) for share in shares), "shares that grow, like 10, 50"


def _labels(labels: Mapping[str, Any] | None) -> Iterator[Finding]:
    for name in labels or {}:
        if name in RESERVED_LABELS:
            yield ("labels", name), "a label that modelshelf sets itself", "a name of your own"
        elif name.startswith("goog"):
            yield ("labels", name), "a label of Google's own", "a name that does not begin with goog"
    if labels is not None and len(labels) > 60:
        yield ("labels",), f"{len(labels)} labels", "at most 60"


def _known(*values: Any) -> bool:
    return None not in values


def _mib(size: int) -> str:
    return f"{size // 1024}Gi" if size % 1024 == 0 else f"{size}Mi"
