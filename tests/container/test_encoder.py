"""The encoder against the published model's own answers, and against models that are odd, foreign or damaged."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from scripts.container import encoder, torch_checkpoint
from scripts.errors import OpsError

DATA = Path(__file__).resolve().parents[1] / "data" / "embeddings"
GOLDEN: dict[str, Any] = json.loads((DATA / "minilm.json").read_text(encoding="utf-8"))
VECTORS = np.load(DATA / "minilm.npy")
XLMR = json.loads((DATA / "xlmr.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def real(minilm: Path) -> encoder.Encoder:
    return encoder.load(minilm)


@pytest.mark.process
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_it_equals_sentence_transformers(real: encoder.Encoder, case: dict[str, Any]) -> None:
    expected = VECTORS[case["first_row"] : case["first_row"] + case["rows"]]
    found = real.encode(case["texts"])
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-6


@pytest.mark.process
def test_the_goldens_are_of_these_weights_and_all_are_compared(minilm: Path) -> None:
    weights = encoder.snapshot(minilm) / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == GOLDEN["weights_sha256"]
    assert sum(case["rows"] for case in GOLDEN["cases"]) == len(VECTORS)


@pytest.mark.process
def test_related_texts_are_closest_and_vectors_are_unit_length(real: encoder.Encoder) -> None:
    cat, kitten, market = real.encode(["a cat", "a kitten", "stock market"])
    assert cat @ kitten > max(cat @ market, kitten @ market) + 0.3
    assert np.allclose([np.linalg.norm(each) for each in (cat, kitten, market)], 1.0, atol=1e-6)
    assert real.dimension == len(cat) == 384


@pytest.mark.process
def test_company_does_not_change_an_embedding(real: encoder.Encoder) -> None:
    texts = [" ".join(["word"] * length) for length in (1, 300, 7, 90, 1, 40)]
    together = real.encode(texts)
    alone = np.concatenate([real.encode([text]) for text in texts])
    assert np.abs(together - alone).max() <= 1e-6


@pytest.mark.process
def test_it_counts_every_byte_it_read_of_the_model(real: encoder.Encoder, minilm: Path) -> None:
    names = (
        "config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
        "tokenizer.json", "model.safetensors",
    )  # fmt: skip
    assert real.served_bytes == sum((encoder.snapshot(minilm) / name).stat().st_size for name in names)


@pytest.mark.process
def test_work_ends_between_batches_when_told_to(real: encoder.Encoder) -> None:
    with pytest.raises(InterruptedError):
        real.encode(["a"], going=lambda: False)


# ------------------------------------------------------------- a tiny XLM-RoBERTa and what the real libraries answer


@pytest.mark.parametrize("weights", ["full", "half"])
def test_xlm_roberta_equals_sentence_transformers(xlmr: Path, weights: str) -> None:
    if weights == "half":
        shutil.copyfile(DATA / "half.bin", encoder.snapshot(xlmr) / "pytorch_model.bin")
    stored = (encoder.snapshot(xlmr) / "pytorch_model.bin").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == XLMR["weights_sha256" if weights == "full" else "half_sha256"]
    model = encoder.load(xlmr)
    with np.load(DATA / "xlmr.npz") as arrays:
        expected = arrays[weights]
    assert sum(case["rows"] for case in XLMR["cases"]) == len(expected)
    for case in XLMR["cases"]:
        found = model.encode(case["texts"])
        rows = expected[case["first_row"] : case["first_row"] + case["rows"]]
        assert found.shape == rows.shape
        assert np.abs(found - rows).max() <= 1e-5, case["name"]


def test_safetensors_are_preferred_and_the_checkpoint_then_not_read(xlmr: Path) -> None:
    folder = encoder.snapshot(xlmr)
    expected = encoder.load(xlmr).encode(TEXTS)
    found, _ = torch_checkpoint.read(folder / "pytorch_model.bin", lambda name: True)
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    (folder / "model.safetensors").write_bytes(save({f"roberta.{name}": value for name, value in found.items()}))
    assert np.array_equal(encoder.load(xlmr).encode(TEXTS), expected)


def test_a_checkpoint_may_be_split_and_its_parts_stay_in_the_folder(xlmr: Path) -> None:
    folder = encoder.snapshot(xlmr)
    expected = encoder.load(xlmr).encode(TEXTS)
    (folder / "pytorch_model.bin").rename(folder / "part-1.bin")
    index = folder / "pytorch_model.bin.index.json"
    index.write_text('{"weight_map": {"a": "part-1.bin"}}', encoding="utf-8")
    assert np.array_equal(encoder.load(xlmr).encode(TEXTS), expected)
    index.write_text('{"weight_map": {"a": "../part-1.bin"}}', encoding="utf-8")
    with pytest.raises(OpsError, match="no file name"):
        encoder.load(xlmr)


def test_positions_that_the_weights_do_not_have_are_damage(xlmr: Path) -> None:
    folder = encoder.snapshot(xlmr)
    change_config(folder, max_position_embeddings=500)
    (folder / "sentence_bert_config.json").unlink()
    with pytest.raises(OpsError, match="66 rows for 498 tokens"):
        encoder.load(xlmr)


def test_a_checkpoint_that_wants_to_run_code_is_refused_with_its_wish(xlmr: Path) -> None:
    class Wish:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(xlmr / 'owned')!r}, 'w').close()",)

    with zipfile.ZipFile(encoder.snapshot(xlmr) / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Wish()}, 2))
    with pytest.raises(OpsError, match="exec") as caught:
        encoder.load(xlmr)
    assert "safetensors" in caught.value.remedy
    assert not (xlmr / "owned").exists()


def test_a_truncated_checkpoint_is_named(xlmr: Path) -> None:
    place = encoder.snapshot(xlmr) / "pytorch_model.bin"
    place.write_bytes(place.read_bytes()[:100_000])
    with pytest.raises(OpsError, match=r"pytorch_model\.bin .*truncated") as caught:
        encoder.load(xlmr)
    assert "invoke sync" in caught.value.remedy


# ----------------------------------------------------------------------------------- small models of our own making

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "red", "green", "blue"]
WIDTH = 8


def tensors(seed: int = 3) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)

    def make(*shape: int) -> np.ndarray[Any, Any]:
        return random.normal(0, 0.9, shape).astype(np.float32)

    found = {
        "embeddings.word_embeddings.weight": make(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": make(12, WIDTH),
        "embeddings.token_type_embeddings.weight": make(2, WIDTH),
        "embeddings.LayerNorm.weight": make(WIDTH),
        "embeddings.LayerNorm.bias": make(WIDTH),
    }
    for layer in range(2):
        place = f"encoder.layer.{layer}"
        for name, rows, columns in (
            ("attention.self.query", WIDTH, WIDTH), ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH), ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", 2 * WIDTH, WIDTH), ("output.dense", WIDTH, 2 * WIDTH),
        ):  # fmt: skip
            found |= {f"{place}.{name}.weight": make(rows, columns), f"{place}.{name}.bias": make(rows)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found |= {f"{place}.{name}.weight": make(WIDTH), f"{place}.{name}.bias": make(WIDTH)}
    return found


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A cache entry with a small BERT of two layers and a vocabulary of three words."""
    folder = tmp_path / "models--us--tiny" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("abc\n", encoding="ascii")
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": 2, "num_attention_heads": 2,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu", "max_position_embeddings": 12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(save(tensors()))
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer.enable_padding(length=10)  # as all-MiniLM's own file does; the encoder has to undo it
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def load(folder: Path) -> encoder.Encoder:
    return encoder.load(folder.parents[1])


def modules(folder: Path, *kinds: str, pooling: dict[str, Any] | None = None) -> None:
    listed = [{"idx": number, "path": kind, "type": f"x.y.{kind}"} for number, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    (folder / "Pooling").mkdir(exist_ok=True)
    (folder / "Pooling" / "config.json").write_text(json.dumps(pooling or {}), encoding="utf-8")


TEXTS = ["red", "green blue red", "blue " * 30]


def test_poolings_follow_their_configuration(tiny: Path) -> None:
    plain = load(tiny).encode(TEXTS)  # without modules.json: the mean, not normalised
    found = {}
    for key in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"):
        modules(tiny, "Transformer", "Pooling", pooling={f"pooling_mode_{key}": True})
        found[key] = load(tiny).encode(TEXTS)
    assert np.allclose(found["mean_tokens"], plain, atol=1e-6)
    lengths = np.array([[3], [5], [12]])  # with [CLS] and [SEP], cut at max_position_embeddings
    assert np.allclose(found["mean_sqrt_len_tokens"], plain * np.sqrt(lengths), atol=1e-5)
    assert (found["max_tokens"] >= plain - 1e-6).all()
    assert not np.allclose(found["cls_token"], plain, atol=1e-4)
    modules(tiny, "Transformer", "Pooling", pooling={"pooling_mode": ["cls", "mean"]})
    both = load(tiny)
    assert np.allclose(both.encode(TEXTS), np.concatenate([found["cls_token"], plain], axis=1), atol=1e-6)
    assert both.dimension == 2 * WIDTH


def test_normalisation_happens_only_when_a_module_says_so(tiny: Path) -> None:
    modules(tiny, "Transformer", "Pooling", pooling={"pooling_mode_mean_tokens": True})
    plain = load(tiny).encode(TEXTS)
    modules(tiny, "Transformer", "Pooling", "Normalize", pooling={"pooling_mode_mean_tokens": True})
    normal = load(tiny).encode(TEXTS)
    assert np.allclose(normal, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


def test_the_shorter_of_the_two_length_limits_counts(tiny: Path) -> None:
    long, short = "red green " * 20, "red green red"
    assert not np.allclose(load(tiny).encode([long]), load(tiny).encode([short]), atol=1e-4)
    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 5}', encoding="utf-8")
    assert np.allclose(load(tiny).encode([long]), load(tiny).encode([short]), atol=1e-6)


def test_lower_casing_is_the_configurations_choice(tiny: Path) -> None:
    assert not np.allclose(load(tiny).encode(["RED"]), load(tiny).encode(["red"]), atol=1e-4)
    (tiny / "sentence_bert_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    assert np.allclose(load(tiny).encode([" RED "]), load(tiny).encode(["red"]), atol=1e-6)


def as_half(found: dict[str, Any]) -> bytes:
    return bytes(save({name: value.astype(np.float16) for name, value in found.items()}))


def as_bfloat16(found: dict[str, Any]) -> bytes:
    """The library's numpy side cannot write BF16: the upper halves are stored as U16 and the type renamed after."""
    halves = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in found.items()}
    stored = bytes(save(halves))
    length = int.from_bytes(stored[:8], "little")
    header = stored[8 : 8 + length].replace(b'"U16"', b'"BF16"')
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + stored[8 + length :]


def as_old_names(found: dict[str, Any]) -> bytes:
    renamed = {f"bert.{name}": value for name, value in found.items()}
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): v for name, v in renamed.items()
    }
    return bytes(save(old | {"bert.embeddings.position_ids": np.arange(12).reshape(1, 12), "cls.extra": np.ones(3)}))


@pytest.mark.parametrize(
    ("stored", "tolerance"), [(as_half, 5e-3), (as_bfloat16, 5e-2), (as_old_names, 1e-7)], ids=["f16", "bf16", "names"]
)
def test_weights_may_be_stored_in_other_ways(tiny: Path, stored: Callable[..., bytes], tolerance: float) -> None:
    expected = load(tiny).encode(TEXTS)
    (tiny / "model.safetensors").write_bytes(stored(tensors()))
    assert np.abs(load(tiny).encode(TEXTS) - expected).max() <= tolerance


def test_weights_may_be_split_over_files(tiny: Path) -> None:
    expected = load(tiny).encode(TEXTS)
    whole = list(tensors().items())
    parts = {"model-1.safetensors": dict(whole[:9]), "model-2.safetensors": dict(whole[9:])}
    for name, part in parts.items():
        (tiny / name).write_bytes(save(part))
    (tiny / "model.safetensors").unlink()
    weight_map = {tensor: name for name, part in parts.items() for tensor in part}
    (tiny / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    assert np.array_equal(load(tiny).encode(TEXTS), expected)


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def as_old_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2))  # torch's old magic number


@pytest.mark.parametrize(
    ("prepare", "named"),
    [
        (lambda f: change_config(f, model_type="roberta", architectures=["RobertaModel"]), "RobertaModel"),
        (lambda f: change_config(f, model_type=None, architectures=None), "unknown architecture"),
        (lambda f: change_config(f, hidden_act="swish"), "swish"),
        (lambda f: change_config(f, position_embedding_type="relative_key"), "relative_key"),
        (lambda f: modules(f, "Transformer", "Pooling", "Dense"), "Dense"),
        (lambda f: modules(f, "Transformer", "Pooling", pooling={"pooling_mode_lasttoken": True}), "lasttoken"),
        (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
        (as_old_pickle, "before version 1.6"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
    ],
    ids=["roberta", "nothing", "activation", "positions", "dense", "pooling", "weights", "old", "tokenizer"],
)
def test_what_it_does_not_implement_is_named(tiny: Path, prepare: Callable[[Path], Any], named: str) -> None:
    prepare(tiny)
    with pytest.raises(encoder.Unsupported, match=named):
        load(tiny)


def lying_header(stored: bytes) -> bytes:
    length = int.from_bytes(stored[:8], "little")
    return (length + 10**9).to_bytes(8, "little") + stored[8:]


def without_a_tensor(stored: bytes) -> bytes:
    return bytes(
        save({name: value for name, value in tensors().items() if name != "encoder.layer.1.output.dense.bias"})
    )


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", lambda data: data[:-4]),
        ("model.safetensors", lambda data: b""),
        ("model.safetensors", lying_header),
        ("model.safetensors", lambda data: data[:8] + b"#" + data[9:]),
        ("model.safetensors", lambda data: data.replace(b'"F32"', b'"I32"', 1)),
        ("model.safetensors", without_a_tensor),
        ("config.json", lambda data: data[:-5]),
        ("config.json", lambda data: b"[]"),
        ("config.json", lambda data: data.replace(b"num_hidden_layers", b"num_bidden_layers")),
        ("config.json", lambda data: data.replace(b'"num_attention_heads": 2', b'"num_attention_heads": 0')),
        ("tokenizer.json", lambda data: data[:100]),
        ("tokenizer.json", lambda data: b"\xff\xfe"),
        ("modules.json", lambda data: b'{"a": 1}'),
        ("modules.json", lambda data: b'[{"type": "x.Pooling"}]'),
        ("../../refs/main", lambda data: b"def"),
        ("../../refs/main", lambda data: b"../../.."),
        ("../../refs/main", lambda data: b"\xc3\xbc"),
        ("../../refs/main", lambda data: b""),
    ],
)
def test_a_damaged_file_is_named_and_ends_in_no_other_error(
    tiny: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    place = tiny / name
    place.write_bytes(damage(place.read_bytes() if place.exists() else b""))
    with pytest.raises(OpsError) as caught:
        load(tiny)
    assert not isinstance(caught.value, encoder.Unsupported)
    assert str(tiny.parents[1]) in caught.value.message
    assert "invoke sync" in caught.value.remedy


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="refs/main"):
        encoder.load(tmp_path / "models--a--b")


def test_a_lone_surrogate_is_refused_by_position(tiny: Path) -> None:
    with pytest.raises(ValueError, match="character 1 is a lone surrogate"):
        load(tiny).encode(["a\ud800"])
