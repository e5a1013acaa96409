"""Good environment files load; of bad ones everything that is wrong is told, with line, place, found and expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.errors import BadInput, ExitCode, NotFound
from scripts.settings import load as loading
from scripts.settings.keys import key_id
from scripts.settings.load import default_environment, environments, load
from tests.settings.bad_files import BAD_VALUES, GOOD, KMS, TEXTS, line_of, spoiled

LOCAL = (loading.FOLDER / "local.yaml").read_text(encoding="utf-8")
EC_PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----"""


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


def contains(line: str, expected: str) -> bool:
    """Whether a line holds the parts of an expectation in order; `.*` stands for anything between them."""
    place = 0
    for part in expected.split(".*"):
        place = line.find(part, place)
        if place < 0:
            return False
    return True


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
    assert staging.signing_key == f"file:{tmp_path}/keys/signing.pem"


@pytest.mark.parametrize("text", ["127.0.0.1:8085", "ftp://x", "http://", "http://a b", "http://x/y"])
def test_an_endpoint_that_is_no_address(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MODELSHELF_ENDPOINT", text)
    with pytest.raises(BadInput, match=r"MODELSHELF_ENDPOINT: found .* expected http, a loopback host"):
        load("staging")


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(NotFound, match="available: tabular"):
        load("local").service("ct-scan-api")


@pytest.mark.parametrize(("written", "instead", "expected"), BAD_VALUES, ids=lambda text: text.strip()[:40])
def test_a_bad_value_is_told_with_its_line(folder: Path, written: str, instead: str, expected: str) -> None:
    lines = refused(folder, spoiled(written, instead))
    assert any(contains(line, expected) for line in lines), lines
    assert all(line.startswith("environments/staging.yaml:") for line in lines)
    assert all(", expected " in line and ": found " in line for line in lines)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ab", "short"), ("a" * 64, "long"), ("Tabular", "upper case"), ("-models", "dash first"),
        ("models-", "dash last"), ("_models", "underscore first"), ("192.168.5.4", "an address"),
        ("goog-models", "goog first"), ("my-google-models", "google inside"), ("a..b", "dots"),
        ("models.-x.de", "dash after a dot"), ("mod els", "space"), ("modèle", "accent"),
        ("gs://models", "scheme"), (f"{'a' * 64}.de", "long part"),
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


@pytest.mark.parametrize(
    "text",
    [
        "60 2 * * *", "0 2 0 * *", "0 2 * 13 *", "0 2 * * 8", "5-1 2 * * *", "*/0 2 * * *", "a 2 * * *", "0  2 * * *",
        "1-2-3 * * * *", ", * * * *", "@daily  ", "0 2 * * mond",
    ],
)  # fmt: skip
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
    lines = refused(folder, bomb)
    assert "found the anchor &a0" in lines[0]
    assert len(lines) == len(set(lines)) == loading.MAX_TOLD + 1
    assert re.fullmatch(r"environments/staging\.yaml: and \d+ more problems", lines[-1])


def test_a_doubt_is_told_once(folder: Path) -> None:
    lines = refused(folder, spoiled("    memory: 8Gi", "    memory: *x"))
    assert len(lines) == 1


def test_what_provisions_itself_signs_by_itself(folder: Path) -> None:
    start, end = LOCAL.index("signing:"), LOCAL.index("monitoring:")
    for text in (LOCAL[:start] + LOCAL[end:], LOCAL[:start] + "signing: {}\n" + LOCAL[end:]):
        assert "signing.key: found nothing, expected file:PATH" in refused(folder, text, "local")[0]


def test_an_unknown_service_names_the_known_ones() -> None:
    for wrong in ("nosuch", "tabular-service"):
        with pytest.raises(NotFound, match="available: tabular") as error:
            load("local").service(wrong)
        assert error.value.remedy == "Run the command again with --service tabular"


def test_inline_keys(folder: Path) -> None:
    pem = "\n".join(f"        {line}" for line in EC_PEM.splitlines())
    entry = f"  trusted_keys:\n    - key_id: {key_id(EC_PEM)}\n      public_pem: |\n{pem}"
    text = spoiled("  trusted_keys: []", entry, spoiled('  key: ""', f"  key: {KMS}"))
    (folder / "staging.yaml").write_text(text, encoding="utf-8")
    settings = load("staging", folder)
    assert settings.signing_key == KMS
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
