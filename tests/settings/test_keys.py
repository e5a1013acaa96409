"""Trusted keys come from the file itself or from PEM files in the state folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from scripts.errors import BadInput
from scripts.settings.keys import Trust, key_id, trust
from scripts.settings.load import load
from scripts.settings.model import Signing, Trusted
from scripts.settings.types import TrustedKey

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def keys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path))
    (tmp_path / "keys").mkdir()
    return tmp_path / "keys"


def test_the_name_of_a_key_is_the_digest_of_its_der() -> None:
    der = PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_id(PEM) == hashlib.sha256(der).hexdigest()
    assert key_id("\n" + PEM.replace("\n", "\r\n")) == key_id(PEM)


@pytest.mark.parametrize("text", ["", "x", PEM[:40], PEM.replace("M", "-", 1), PEM.replace("PUBLIC", "PRIVATE")])
def test_other_texts_have_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        key_id(text)


def test_a_key_file(keys_folder: Path) -> None:
    assert trust(load("local")) == Trust((), (keys_folder / "signing.pub",))
    (keys_folder / "signing.pub").write_text(PEM, encoding="ascii")
    assert trust(load("local")) == Trust((TrustedKey(key_id(PEM), PEM),))


def test_keys_in_the_environment_file() -> None:
    signing = Signing(trusted_keys=(Trusted(key_id=key_id(PEM), public_pem=PEM),))
    settings = load("prod").model_copy(update={"signing": signing})
    assert trust(settings).keys == (TrustedKey(key_id(PEM), PEM),)


def test_a_file_that_holds_something_else_is_refused(keys_folder: Path) -> None:
    private = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, found in ((b"hello", "something else"), (private, "a private key"), (b"\xff", "cannot be read")):
        (keys_folder / "signing.pub").write_bytes(content)
        with pytest.raises(BadInput, match=found) as error:
            trust(load("local"))
        assert error.value.message.startswith("environments/local.yaml: signing.trusted_keys: .local/keys/signing.pub")
        assert str(keys_folder / "signing.pub") in error.value.remedy


def test_only_a_file_of_the_state_folder_may_be_removed(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("precious", encoding="ascii")
    signing = Signing(trusted_keys=(Trusted(file=str(tmp_path / "other.txt")),))
    with pytest.raises(BadInput) as error:
        trust(load("prod").model_copy(update={"signing": signing}))
    assert error.value.remedy == "Name the right file there."
