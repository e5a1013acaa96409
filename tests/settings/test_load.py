"""Good environment files load; of bad ones everything that is wrong is told, with line, place, found and expected."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import BadInput, ExitCode, NotFound, Refused
from scripts.settings import load as loading
from scripts.settings.keys import key_id
from scripts.settings.load import default_environment, environments, load

GOOD = (loading.FOLDER / "staging.yaml").read_text(encoding="utf-8")
LOCAL = (loading.FOLDER / "local.yaml").read_text(encoding="utf-8")
EC_PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----"""
KMS = "gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "environments"
    made.mkdir()
    return made


def refused(folder: Path, text: str | bytes, name: str = "staging") -> list[str]:
    """The lines of the error that a file's content gives."""
    (folder / f"{name}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as error:
        load(name, folder)
    assert f"environments/{name}.yaml" in error.value.remedy
    return error.value.message.splitlines()


def spoiled(written: str, instead: str, text: str = GOOD) -> str:
    assert text.count(written) >= 1, written
    return text.replace(written, instead, 1)


def contains(line: str, expected: str) -> bool:
    """Whether a line holds the parts of an expectation in order; `.*` stands for anything between them."""
    place = 0
    for part in expected.split(".*"):
        place = line.find(part, place)
        if place < 0:
            return False
    return True


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("name", environments())
def test_every_environment_loads(name: str) -> None:
    settings = load(name)
    assert (settings.environment, settings.region) == (name, "europe-west1")
    assert settings.cache.bucket == f"tabular-model-cache-{name}"
    assert (settings.endpoint, settings.rehearsal) == (None, False)
    assert settings.services["tabular"].cloud_run_name == "tabular-service"
    assert (settings.sync.job_name, settings.sync.schedule) == ("tabular-model-sync", "0 2 * * *")
    assert not settings.sync.schedule_enabled
    needed = settings.cache.keep * sum(model.size_gb for model in settings.models)
    assert needed <= 0.8 * settings.cache.capacity_gb


def test_only_local_provides_for_itself() -> None:
    assert [name for name in environments() if load(name).provision == "self"] == ["local"]
    assert load("local").services["tabular"].min_instances == 2


def test_models_are_the_documents() -> None:
    by_name = {spec.name: spec for spec in load("prod").specs}
    assert by_name["llama3.2-1b"].source == "library/llama3.2:1b"
    assert by_name["llama3.2-1b"].revision == ""
    assert by_name["bge-m3"].revision == "5617a9f61b028005a4858fdac845db406aefb181"
    assert not any("onnx" in pattern for pattern in by_name["bge-m3"].files)


def test_settings_do_not_change() -> None:
    settings = load("local")
    with pytest.raises(ValueError, match="frozen"):
        settings.region = "us-central1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.services["other"] = settings.services["tabular"]  # type: ignore[index]
    with pytest.raises(TypeError):
        settings.services["tabular"].env["A"] = "b"  # type: ignore[index]


def test_what_a_file_leaves_out_has_a_default(folder: Path) -> None:
    shorter = spoiled("  keep: 3\n", "")
    shorter = spoiled("    vpc: null\n", "", shorter)
    shorter = shorter[: shorter.index("monitoring:")]
    (folder / "staging.yaml").write_text(shorter, encoding="utf-8")
    settings = load("staging", folder)
    assert (settings.cache.keep, settings.services["tabular"].vpc, dict(settings.labels)) == (3, None, {})


def test_an_unknown_environment_is_named_with_the_ones_there_are() -> None:
    with pytest.raises(
        NotFound, match=r"'stagin' does not exist; available: dev, local, prod, staging; did you mean staging"
    ):
        load("stagin")
    with pytest.raises(NotFound, match=r"'\.\./local' does not exist") as error:
        load("../local")
    assert error.value.exit_code is ExitCode.REFUSED
    assert "--env" in error.value.remedy


def test_default_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_environment() is None
    monkeypatch.setenv("MODELSHELF_ENV", "staging")
    assert default_environment() == "staging"
    monkeypatch.setenv("MODELSHELF_ENV", "")
    assert default_environment() is None


def test_a_rehearsal_takes_models_and_keys_of_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELSHELF_ENDPOINT", "http://127.0.0.1:8085/")
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path))
    staging, local = load("staging"), load("local")
    assert (staging.endpoint, staging.rehearsal) == ("http://127.0.0.1:8085", True)
    assert (local.endpoint, local.rehearsal) == ("http://127.0.0.1:8085", False)
    assert (staging.models, staging.signing) == (local.models, local.signing)
    assert staging.cache.bucket == "tabular-model-cache-staging"
    assert staging.require_signing_key() == f"file:{tmp_path}/keys/signing.pem"


@pytest.mark.parametrize("text", ["127.0.0.1:8085", "ftp://x", "http://", "http://a b", "http://x/y"])
def test_an_endpoint_that_is_no_address(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MODELSHELF_ENDPOINT", text)
    with pytest.raises(BadInput, match=r"MODELSHELF_ENDPOINT: found .* expected an address like http://"):
        load("staging")


def test_without_a_signing_key_the_remedy_is_told() -> None:
    with pytest.raises(Refused, match=r"prod\.yaml: signing\.key is empty") as error:
        load("prod").require_signing_key()
    assert "gcpkms:" in error.value.remedy


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(NotFound, match="available: tabular"):
        load("local").service("ct-scan-api")


BAD_VALUES = [
    # written, instead, what the message says of it
    ("region: europe-west1", "regoin: europe-west1", "regoin: found an unknown key, expected one of access, .*; did you mean region?"),
    ("    concurrency: 10", "    concurency: 10", "services.tabular.concurency: found an unknown key, .*did you mean concurrency?"),
    ("    concurrency: 10", "    concurrency: 0", "services.tabular.concurrency: found 0, expected a whole number from 1 to 1000"),
    ("    concurrency: 10", "    concurrency: -3", "found -3, expected a whole number from 1"),
    ("    concurrency: 10", "    concurrency: ten", "found 'ten', expected a whole number from 1"),
    ("    concurrency: 10", '    concurrency: "10"', "found '10', expected a whole number from 1"),
    ("    concurrency: 10", "    concurrency: 10.0", "found 10.0, expected a whole number from 1"),
    ("    concurrency: 10", "    concurrency: true", "found true, expected a whole number from 1"),
    ("    concurrency: 10", "    concurrency: 010", "found 010 without quotes, expected a whole number"),
    ("    concurrency: 10", "    concurrency: 1_0", "found 1_0 without quotes, expected a whole number"),
    ("    concurrency: 10", "    concurrency: 0x10", "found 0x10 without quotes, expected a whole number"),
    ("    concurrency: 10", "    concurrency: 1:30", "found 1:30 without quotes, expected a whole number"),
    ("    concurrency: 10", f"    concurrency: {'9' * 5000}", "999 without quotes, expected a whole number"),
    ("    concurrency: 10", "    concurrency:", "services.tabular.concurrency: found nothing, expected a whole number"),
    ("    concurrency: 10", "    concurrency: [10]", "found a list, expected a whole number"),
    ("    min_instances: 1", "    min_instances: 5", "services.tabular.min_instances: found 5, expected at most max_instances, 4"),
    ("    min_instances: 1", "    min_instances: -1", "found -1, expected a whole number from 0"),
    ("    max_instances: 4", "    max_instances: 0", "found 0, expected a whole number from 1"),
    ("    memory: 8Gi", "    memory: 8GB", "services.tabular.memory: found '8GB', expected a size in Mi or Gi, like 4Gi"),
    ("    memory: 8Gi", "    memory: 8", "found 8, expected a size in Mi or Gi"),
    ("    memory: 8Gi", "    memory: 1Gi", "found 1Gi with 4 CPU, expected 2Gi to 16Gi"),
    ("    memory: 8Gi", "    memory: 32Gi", "found 32Gi with 4 CPU, expected 2Gi to 16Gi"),
    ('    cpu: "4"', "    cpu: 4", 'services.tabular.cpu: found 4, expected a number of CPUs in quotes: "1"'),
    ('    cpu: "4"', '    cpu: "3"', "found '3', expected a number of CPUs"),
    ('    cpu: "4"', "    cpu: 500m", "found '500m', expected a number of CPUs"),
    ("    timeout_s: 300", "    timeout_s: 5m", "services.tabular.timeout_s: found '5m', expected a whole number from 1 to 3600 (seconds"),
    ("    timeout_s: 300", "    timeout_s: 3601", "found 3601, expected"),
    ("    service_account: tabular-service@", "    service_account: tab@", "expected a service account's e-mail"),
    ("    ingress: all", "    ingress: some", "found 'some', expected one of all, internal, internal-and-cloud"),
    ("    cloud_run_name: tabular-service", "    cloud_run_name: Tabular_Service", "expected a Cloud Run name"),
    ("    cloud_run_name: tabular-service", f"    cloud_run_name: {'a' * 50}", "expected a Cloud Run name"),
    ("services/tabular:latest", "services/tab ular", "services.tabular.image: found .* expected an image reference"),
    ("services/tabular:latest", "services/Tabular", "expected an image reference"),
    ("    env: {}", "    env: {LOG_LEVEL: 5}", "services.tabular.env.LOG_LEVEL: found 5, expected text (quote it"),
    ("    env: {}", "    env: {DEBUG: yes}", "services.tabular.env.DEBUG: found yes without quotes, expected text"),
    ("    env: {}", "    env: {A-B: x}", "services.tabular.env.A-B: found the key 'A-B', expected a variable name"),
    ("    env: {}", "    env: {MODEL_SPECS: x}", "env.MODEL_SPECS: found a variable that modelshelf sets itself"),
    ("    env: {}", "    env: {PORT: x}", "env.PORT: found a variable that Cloud Run sets itself"),
    ("    env: {}", "    env: []", "services.tabular.env: found a list, expected a mapping"),
    ("    env: {}\n    secret_env: {}", '    env: {A: x}\n    secret_env: {A: "s:1"}', "secret_env.A: found a variable that env sets too"),
    ("    secret_env: {}", "    secret_env: {A: secret}", "secret_env.A: found 'secret', expected SECRET:VERSION"),
    ("    secret_env: {}", "    secret_env: {A: 's:0'}", "secret_env.A: found 's:0', expected SECRET:VERSION"),
    ("    secret_env: {}", "    secret_env: {MODEL_CACHE_PATH: 's:1'}", "a variable that modelshelf sets itself"),
    ("    vpc: null", "    vpc: {}", "services.tabular.vpc: found neither a connector nor a network, expected exactly one"),
    ("    vpc: null", "    vpc: {connector: a, network: b}", "found both a connector and a network"),
    ("    vpc: null", "    vpc: {conector: a}", "services.tabular.vpc.conector: found an unknown key, .*did you mean connector?"),
    ("period_s: 10, timeout_s: 5", "period_s: 10, timeout_s: 11", "startup.timeout_s: found 11, expected at most period_s, 10"),
    ("failure_threshold: 24", "failure_threshold: 25", "found 25 × 10 s = 250 s, expected failure_threshold × period_s of at most 240 s"),
    ("failure_threshold: 24", "failure_threshold: 18", "cache.wait_timeout_s: found 180, expected less than the 180 s that tabular's startup"),
    ("path: /ready", "path: ready", "probes.startup.path: found 'ready', expected a path like /ready"),
    ("environment: staging", "environment: prod", "environment: found 'prod', expected staging, as the file is called"),
    ("project: modelshelf-staging", "project: Modelshelf", "project: found 'Modelshelf', expected a project id"),
    ("region: europe-west1", "region: europe_west", "region: found 'europe_west', expected a region like europe-west1"),
    ("region: europe-west1", "region: europe-west1-b", "expected a region like europe-west1"),
    ("provision: terraform", "provision: hand", "provision: found 'hand', expected one of self, terraform"),
    ("access: private", "access: no", "access: found no without quotes, expected one of private, public"),
    ("services:\n", "services: []\nx:\n", "services: found a list, expected a mapping"),
    ("  mount_path: /models", "  mount_path: models", "cache.mount_path: found 'models', expected an absolute path"),
    ("  mount_path: /models", "  mount_path: /", "cache.mount_path: found '/', expected an absolute path"),
    ("  mount_path: /models", "  mount_path: /etc", "cache.mount_path: found '/etc'"),
    ("  mount_path: /models", "  mount_path: /proc/models", "cache.mount_path: found '/proc/models'"),
    ("  mount_path: /models", "  mount_path: /tmp", "cache.mount_path: found '/tmp'"),
    ("  mount_path: /models", "  mount_path: /models/../etc", "cache.mount_path: found"),
    ("  mount_path: /models", "  mount_path: /models/", "cache.mount_path: found '/models/'"),
    ("  enabled: true", "  enabled: on", "cache.enabled: found on without quotes, expected true or false"),
    ("  enabled: true", "  enabled: 1", "cache.enabled: found 1, expected true or false"),
    ("  enabled: true", "  enabled: True", "cache.enabled: found True without quotes, expected true or false"),
    ('  version: ""', "  version: newest", "cache.version: found 'newest', expected empty, or a published version"),
    ("  keep: 3", "  keep: 0", "cache.keep: found 0, expected a whole number from 1"),
    ("  capacity_gb: 20", "  capacity_gb: 10", "found 3 versions × 3.63 GB = 10.89 GB, expected at most 8 GB (80% of capacity_gb, 10"),
    ("  capacity_gb: 20", "  capacity_gb: 20Gi", "found '20Gi', expected a number of gigabytes"),
    ("  capacity_gb: 20", "  capacity_gb: .inf", "found .inf without quotes, expected a number of gigabytes"),
    ("  capacity_gb: 20", "  capacity_gb: 0", "found 0, expected a number of gigabytes above 0"),
    ("  on_miss: trigger", "  on_miss: pull", "found 'pull', expected one of trigger, publish, wait, private, fail"),
    ("  wait_timeout_s: 180", "  wait_timeout_s: 240", "found 240, expected a whole number from 1 to 239 (seconds, less than"),
    ("  wait_timeout_s: 180", "  wait_timeout_s: 3m", "found '3m', expected a whole number"),
    ("    kind: ollama", "    kind: onnx", "models[0].kind: found 'onnx', expected one of ollama, huggingface"),
    ("    source: library/llama3.2:1b", "    source: registry.example.com/library/llama3.2:1b", "models[0].source: .*without a host"),
    ("    source: library/llama3.2:1b", "    source: llama3.2", "models[0].source: found 'llama3.2', expected an Ollama reference"),
    ("    source: BAAI/bge-m3", "    source: ../bge-m3", "models[1].source: found '../bge-m3', expected a Hugging Face repository"),
    ("    source: BAAI/bge-m3", "    source: bge-m3", "models[1].source: found 'bge-m3', expected a Hugging Face"),
    ("    revision: 5617a9f61b028005a4858fdac845db406aefb181", "    revision: main", "models[1].revision: .* a commit of 40"),
    ("    revision: 5617a9f61b028005a4858fdac845db406aefb181", "    revision: 2026-11-20", "found 2026-11-20 without quotes, expected text"),
    ('    revision: ""', "    revision: sha256:12", "models[0].revision: found 'sha256:12', expected empty, or a digest"),
    ("      - modules.json", "      - ../modules.json", "models[1].files[0]: found '../modules.json', expected a file pattern"),
    ("      - modules.json", "      - /modules.json", "models[1].files[0]: found '/modules.json'"),
    ("      - modules.json", "      - 7", "models[1].files[0]: found 7, expected a file pattern"),
    ("    size_gb: 1.33", "    size_gb: 1.33\n    files: [a]", "models[0].files: found 1 patterns, expected none"),
    ("    size_gb: 1.33", "    size_gb: -1.33", "models[0].size_gb: found -1.33, expected a number of gigabytes"),
    ("    size_gb: 1.33\n", "", "models[0].size_gb: found nothing, expected a number of gigabytes"),
    ("  - name: bge-m3", "  - name: llama3.2-1b", "models[1].name: found 'llama3.2-1b', as in models[0], expected each name once"),
    ("  - name: bge-m3", "  - name: bge m3", "models[1].name: found 'bge m3', expected a name"),
    ('  schedule: "0 2 * * *"', '  schedule: "0 25 * * *"', "sync.schedule: found '0 25 .*', expected five cron fields"),
    ('  schedule: "0 2 * * *"', '  schedule: "0 2 * *"', "sync.schedule: .*expected five cron fields"),
    ('  schedule: "0 2 * * *"', '  schedule: "every 24 hours"', "sync.schedule: .*expected five cron fields"),
    ("  time_zone: UTC", "  time_zone: Europe/Atlantis", "sync.time_zone: found 'Europe/Atlantis', expected a time zone"),
    ("  time_zone: UTC", "  time_zone: ../../etc/passwd", "sync.time_zone: found"),
    ("  schedule_enabled: false", "  schedule_enabled: off", "sync.schedule_enabled: found off without quotes, expected true or false"),
    ("  on_deploy: auto", "  on_deploy: sometimes", "sync.on_deploy: found 'sometimes', expected one of auto, always, never"),
    ("  tasks: 1", "  tasks: 0", "sync.tasks: found 0, expected a whole number from 1"),
    ("  memory: 2Gi", "  memory: 16Gi", "sync.memory: found 16Gi with 2 CPU, expected 512Mi to 8Gi"),
    ('  key: ""', "  key: file:.local/keys/signing.pem\n  x: 1", "signing.x: found an unknown key"),
    ('  key: ""', "  key: file:keys/signing.pem", "signing.key: found 'file:keys/signing.pem', expected gcpkms:"),
    ('  key: ""', "  key: gcpkms:projects/p", "signing.key: found 'gcpkms:projects/p', expected empty, file:PATH, or gcpkms:"),
    ('  key: ""', f"  key: {KMS}", "signing.trusted_keys: found no key, expected at least the public key"),
    ("  trusted_keys: []", "  trusted_keys: [{}]", "signing.trusted_keys[0]: found nothing, expected key_id and public_pem, or file alone"),
    ("  trusted_keys: []", "  trusted_keys: [{key_id: a}]", "trusted_keys[0]: found key_id, expected key_id and public_pem"),
    ("  trusted_keys: []", "  trusted_keys: [{key_id: a, public_pem: b}]", "trusted_keys[0].public_pem: found text that is no PEM"),
    ("  trusted_keys: []", "  trusted_keys: [{file: a, public_pem: b}]", "trusted_keys[0]: found public_pem and file, expected"),
    ("  enabled: false", "  enabled: 0", "monitoring.enabled: found 0, expected true or false"),
    ("  team: ml-platform", "  Team: ml-platform", "labels.Team: found the key 'Team', expected a label key"),
    ("  team: ml-platform", "  team: ML Platform", "labels.team: found 'ML Platform', expected a label value"),
    ("  team: ml-platform", "  team: 7", "labels.team: found 7, expected a label value"),
    ("  team: ml-platform", "  env: x", "labels.env: found a label that modelshelf sets itself"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "instead", "expected"), BAD_VALUES, ids=lambda text: text.strip()[:40])
def test_a_bad_value_is_told_with_its_line(folder: Path, written: str, instead: str, expected: str) -> None:
    lines = refused(folder, spoiled(written, instead))
    assert any(contains(line, expected) for line in lines), lines
    assert all(line.startswith("environments/staging.yaml:") for line in lines)
    assert all(", expected " in line and ": found " in line for line in lines)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ab", "short"), ("a" * 64, "long"), ("Tabular", "upper case"), ("-models", "dash first"), ("models-", "dash last"),
        ("192.168.5.4", "an address"), ("goog-models", "goog first"), ("my-google-models", "google inside"), ("a..b", "dots"),
        ("models.-x.de", "dash after a dot"), ("mod els", "space"), ("modèle", "accent"), ("gs://models", "scheme"),
        (f"{'a' * 64}.de", "long part"), ("_models", "underscore first"),
    ],
)  # fmt: skip
def test_bucket_names(folder: Path, name: str, why: str) -> None:
    text = spoiled("bucket: tabular-model-cache-staging", f'bucket: "{name}"')
    line = line_of(text, "  bucket:")
    expected = f"environments/staging.yaml:{line}: cache.bucket: found {name!r}, expected a bucket name"
    assert [each[: len(expected)] for each in refused(folder, text)] == [expected]


@pytest.mark.parametrize("name", ["abc", "a_b", "0models", "models.example.com", "a" * 63, f"{'a' * 63}.{'b' * 63}"])
def test_bucket_names_that_google_accepts(folder: Path, name: str) -> None:
    (folder / "staging.yaml").write_text(spoiled("tabular-model-cache-staging", name), encoding="utf-8")
    assert load("staging", folder).cache.bucket == name


@pytest.mark.parametrize(
    "text", ["*/15 * * * *", "0 2 * * 1-5", "5,35 0-6/2 1 jan,jul MON", "0 2 29 2 *", "59 23 31 12 7", "0 2 * * SUN"]
)
def test_schedules_that_cron_accepts(folder: Path, text: str) -> None:
    (folder / "staging.yaml").write_text(spoiled("0 2 * * *", text), encoding="utf-8")
    assert load("staging", folder).sync.schedule == text


@pytest.mark.parametrize("text", ["60 2 * * *", "0 2 0 * *", "0 2 * 13 *", "0 2 * * 8", "5-1 2 * * *", "*/0 2 * * *", "a 2 * * *", "0  2 * * *", "1-2-3 * * * *", ", * * * *"])  # fmt: skip
def test_schedules_that_cron_refuses(folder: Path, text: str) -> None:
    assert "sync.schedule: found" in refused(folder, spoiled("0 2 * * *", text))[0]


def test_the_line_is_the_values_own(folder: Path) -> None:
    text = spoiled("    memory: 8Gi", "    memory: 8GB")
    expected = f"environments/staging.yaml:{line_of(text, '    memory: 8GB')}: services.tabular.memory: found '8GB'"
    assert refused(folder, text)[0].startswith(expected)


def test_a_missing_key_has_the_line_of_its_section(folder: Path) -> None:
    text = spoiled("  bucket: tabular-model-cache-staging\n", "")
    expected = (
        f"environments/staging.yaml:{line_of(text, 'cache:')}: cache.bucket: found nothing, expected a bucket name"
    )
    assert refused(folder, text)[0].startswith(expected)


def test_a_missing_section_says_what_it_holds(folder: Path) -> None:
    text = GOOD[: GOOD.index("cache:")] + GOOD[GOOD.index("models:") :]
    assert "cache: found nothing, expected a mapping with the keys bucket, mount_path" in refused(folder, text)[0]


def test_all_problems_are_told_together_in_order(folder: Path) -> None:
    text = GOOD
    for written, instead in (
        ("region: europe-west1", "regoin: europe-west1"),
        ("    concurrency: 10", "    concurrency: 0"),
        ("    memory: 8Gi", "    memory: 8GB"),
        ("    min_instances: 1", "    min_instances: 9"),
        ("  bucket: tabular-model-cache-staging", "  bucket: Google"),
        ("  capacity_gb: 20", "  capacity_gb: 5"),
        ("    source: BAAI/bge-m3", "    source: bge-m3"),
        ("  time_zone: UTC", "  time_zone: Mars"),
        ("  team: ml-platform", "  env: x"),
    ):
        text = spoiled(written, instead, text)
    lines = refused(folder, text)
    places = [line.split(": ")[1] for line in lines]
    assert places == [
        "region", "regoin", "services.tabular.memory", "services.tabular.concurrency", "services.tabular.min_instances",
        "cache.bucket", "cache.capacity_gb", "models[1].source", "sync.time_zone", "labels.env",
    ]  # fmt: skip
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)


TEXTS: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "1: found an empty file, expected keys like environment"),
    ("only comments", "# nothing\n\n", "1: found an empty file"),
    ("null", "null\n", "1: found an empty file"),
    ("a list", "- a\n", "1: found a list, expected a mapping"),
    ("a text", "hello\n", "1: found 'hello', expected a mapping"),
    ("tab", spoiled("    memory: 8Gi", "\tmemory: 8Gi"), "LINE: found a tab in the indentation, expected spaces"),
    ("tab after spaces", spoiled("    memory: 8Gi", "  \tmemory: 8Gi"), "LINE: found a tab in the indentation"),
    ("tab after colon", spoiled("    memory: 8Gi", "    memory:\t8Gi"), "LINE: found a tab, expected spaces"),
    ("not utf-8", spoiled("    memory: 8Gi", "    memory: XX").encode().replace(b"XX", b"\xe4"), "LINE: found byte 0xe4, expected text in UTF-8"),
    ("utf-16", GOOD.encode("utf-16"), "1: found byte 0xff, expected text in UTF-8"),
    ("nul", spoiled("    memory: 8Gi", "    memory: \0"), "LINE: found the character '\\x00', expected printable text"),
    ("duplicate", spoiled("    memory: 8Gi", "    cpu: '1'\n    memory: 8Gi"), "services.tabular.cpu: found the key a second time (first on line"),
    ("duplicate on top", GOOD + "project: another\n", "project: found the key a second time (first on line"),
    ("alias", spoiled("    memory: 8Gi", "    memory: *x"), "LINE: found the alias *x, expected the value itself"),
    ("anchor", spoiled("    memory: 8Gi", "    memory: &x 8Gi"), "LINE: found the anchor &x, expected the value itself"),
    ("merge", spoiled("    memory: 8Gi", "    memory: 8Gi\n    <<: {a: 1}"), "services.tabular: found '<<' as a key, expected text"),
    ("a key that is no text", spoiled("    memory: 8Gi", "    memory: 8Gi\n    on: 1"), "services.tabular: found 'on' as a key"),
    ("a key that is a list", spoiled("    memory: 8Gi", "    memory: 8Gi\n    [a]: 1"), "services.tabular: found a list or mapping as a key"),
    ("a tag", spoiled("    memory: 8Gi", "    memory: !!binary 8Gi"), "LINE: services.tabular.memory: found the tag !!binary, expected a plain value"),
    ("a Python tag", spoiled("    memory: 8Gi", "    memory: !!python/object/apply:os.getcwd []"), "found the tag !!python/object/apply:os.getcwd"),
    ("open bracket", spoiled("    memory: 8Gi", "    memory: [8Gi"), "found text that is not YAML"),
    ("bad indentation", spoiled("    memory: 8Gi", "     memory: 8Gi"), "LINE: found text that is not YAML"),
    ("two documents", GOOD + "---\na: 1\n", "found text that is not YAML (expected a single document"),
    ("deep", "[" * 20_000, "found values nested too deeply"),
    ("huge", "#" * (1 << 20) + "\n", "1: found 1048577 bytes, expected at most 1048576 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "text", "expected"), TEXTS, ids=[each[0] for each in TEXTS])
def test_a_bad_text_is_told_with_its_line(folder: Path, why: str, text: str | bytes, expected: str) -> None:
    wanted = expected.replace("LINE", str(line_of(GOOD, "    memory: 8Gi")))
    lines = refused(folder, text)
    assert any(f":{wanted}" in each or f": {wanted}" in each for each in lines), lines
    assert all(each.startswith("environments/staging.yaml:") for each in lines)


def test_every_tab_is_told(folder: Path) -> None:
    text = GOOD.replace("    memory", "\tmemory").replace("    concurrency", "\tconcurrency")
    assert len(refused(folder, text)) == 2


def test_a_bomb_of_aliases_is_refused_at_once(folder: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    assert "found the anchor &a0" in refused(folder, bomb)[0]


def test_a_doubt_is_told_once(folder: Path) -> None:
    lines = refused(folder, spoiled("    memory: 8Gi", "    memory: *x"))
    assert len(lines) == 1


def test_inline_keys(folder: Path) -> None:
    pem = "\n".join(f"        {line}" for line in EC_PEM.splitlines())
    entry = f"  trusted_keys:\n    - key_id: {key_id(EC_PEM)}\n      public_pem: |\n{pem}"
    text = spoiled("  trusted_keys: []", entry, spoiled('  key: ""', f"  key: {KMS}"))
    (folder / "staging.yaml").write_text(text, encoding="utf-8")
    settings = load("staging", folder)
    assert (settings.signing_key, settings.require_signing_key()) == (KMS, KMS)
    wrong = refused(folder, text.replace(key_id(EC_PEM), "f" * 64))
    assert f"trusted_keys[0].key_id: found '{'f' * 64}', expected {key_id(EC_PEM)}" in wrong[0]
    private = refused(folder, text.replace("PUBLIC KEY", "PRIVATE KEY"))
    assert "found a private key (treat it as leaked)" in private[0]
    assert "MFkw" not in private[0]
    twice = refused(folder, text.replace(entry, entry + "\n" + entry.partition("\n")[2]))
    assert "a second time, expected each key once" in twice[0]


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    (folder / "staging.yaml").mkdir()
    with pytest.raises(BadInput, match=r"environments/staging\.yaml: cannot be read"):
        load("staging", folder)


def test_two_services_need_two_names(folder: Path) -> None:
    service = GOOD[GOOD.index("  tabular:") : GOOD.index("cache:")]
    text = GOOD.replace("cache:\n", service.replace("  tabular:", "  second:", 1) + "cache:\n", 1)
    assert "services.second.cloud_run_name: found the name of services.tabular" in refused(folder, text)[0]


def test_a_rehearsal_tells_what_is_wrong_with_local(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSHELF_ENDPOINT", "http://127.0.0.1:1")
    (folder / "local.yaml").write_text(LOCAL.replace("kind: ollama", "kind: x"), encoding="utf-8")
    (folder / "staging.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(BadInput, match=r"environments/local\.yaml:\d+: models\[1\]\.kind: found 'x'"):
        load("staging", folder)
