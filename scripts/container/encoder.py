"""Turns texts into embeddings from the mounted files, as sentence-transformers would, without PyTorch.

Reads a Hugging Face cache (refs/main -> snapshots/<commit>) and follows the files that sentence-transformers follows:
modules.json, sentence_bert_config.json, 1_Pooling/config.json, config.json, tokenizer.json, and model.safetensors or
else pytorch_model.bin. Serves BERT (MiniLM) and XLM-RoBERTa (bge-m3). Anything else raises Unsupported: the service
then still starts, /ready stays 503 and /embed answers 501, both naming what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from scripts.container import bert
from scripts.container.torch_checkpoint import OldFormat
from scripts.container.weights import Floats, Reader
from scripts.errors import OpsError

_TOKENS_PER_BATCH = 2048  # padded; bounds the attention scores to 25 MB for a MiniLM
_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens")
_PREFIXES = {"bert": "bert.", "xlm-roberta": "roberta."}  # model_type: what some checkpoints put before every name
_SAFE, _TORCH = "model.safetensors", "pytorch_model.bin"
_ELSEWHERE = (
    "Serve this model with sentence-transformers in the image; the reference service encodes BERT and XLM-RoBERTa."
)
_DAMAGED = "The published version is damaged. Publish it again: invoke sync --env ENVIRONMENT"


class Unsupported(OpsError):
    """The model is intact, but the reference encoder does not implement it; `what` names what is missing."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the reference encoder does not serve {what}", _ELSEWHERE)
        self.what = what


@dataclass(frozen=True)
class Shape:
    """What the configuration files say about a model."""

    layers: int
    heads: int
    epsilon: float
    activation: str
    max_tokens: int
    poolings: tuple[str, ...]
    normalize: bool
    lower_case: bool
    prefix: str
    padding: int | None


class Encoder:
    """A loaded model. encode is safe to call from several threads at once."""

    def __init__(self, network: bert.Bert, tokenizer: Tokenizer, shape: Shape, reader: Reader, seconds: float) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._shape = shape
        self.served_bytes = reader.served_bytes
        self.load_s = seconds
        self.dimension = network.words.shape[1] * len(shape.poolings)

    def encode(self, texts: Sequence[str], going: Callable[[], bool] = lambda: True) -> Floats:
        """Embeddings [len(texts), dimension] in the order of the texts.

        `going` is asked between batches; once it says False, Interrupted ends the work (used at shutdown).
        Raises ValueError for text that is not encodable as UTF-8 (a lone surrogate).
        """
        rows = np.empty((len(texts), self.dimension), dtype=np.float32)
        tokens = [_ids(self._tokenizer, self._prepare(text)) for text in texts]
        for batch in _batches([len(ids) for ids in tokens]):
            if not going():
                raise InterruptedError("the service is shutting down")
            rows[batch] = self._embed([tokens[index] for index in batch])
        return rows

    def _prepare(self, text: str) -> str:
        stripped = text.strip()
        return stripped.lower() if self._shape.lower_case else stripped

    def _embed(self, batch: Sequence[Sequence[int]]) -> Floats:
        longest = max(len(ids) for ids in batch)
        ids = np.zeros((len(batch), longest), dtype=np.int64)
        real = np.zeros((len(batch), longest), dtype=np.bool_)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            real[row, : len(tokens)] = True
        hidden = self._network(ids, real)
        pooled = np.concatenate([_pool(name, hidden, real) for name in self._shape.poolings], axis=1)
        if self._shape.normalize:
            # torch.nn.functional.normalize divides by at least 1e-12
            pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), np.float32(1e-12))
        return pooled


def snapshot(store: Path) -> Path:
    """The folder that refs/main of a cache entry (models--ORG--NAME) points at; OpsError names what is missing."""
    pointer = store / "refs" / "main"
    try:
        commit = pointer.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OpsError(f"cannot read {pointer}: {error}", _DAMAGED) from error
    folder = store / "snapshots" / commit
    if not commit.isalnum() or not folder.is_dir():
        raise OpsError(f"{pointer} names {commit!r}, but {folder} is not a folder", _DAMAGED)
    return folder


def load(store: Path) -> Encoder:
    """Load the model of a cache entry. Raises Unsupported for other architectures, OpsError for damaged files."""
    began = time.monotonic()
    reader = Reader(snapshot(store))
    try:
        shape = _shape(reader, reader.json("config.json"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"the configuration in {reader.folder} lacks or misspells something: {type(error).__name__} {error}"
        raise OpsError(problem, _DAMAGED) from error
    tokenizer = _tokenizer(reader, shape.max_tokens)
    tensors = _tensors(reader, shape.prefix)
    try:
        network = bert.build(
            tensors, layers=shape.layers, heads=shape.heads, epsilon=shape.epsilon, activation=shape.activation,
            padding=shape.padding,
        )  # fmt: skip
        if len(network.positions) < shape.max_tokens + _unused(shape.padding):
            raise ValueError(f"position_embeddings: {len(network.positions)} rows for {shape.max_tokens} tokens")
    except (KeyError, ValueError) as error:
        raise OpsError(f"the weights in {reader.folder} lack or bend the tensor {error}", _DAMAGED) from error
    return Encoder(network, tokenizer, shape, reader, time.monotonic() - began)


def _shape(reader: Reader, config: Any) -> Shape:
    kind = config.get("model_type")
    if kind not in _PREFIXES:
        named = ", ".join(config.get("architectures") or ["unknown architecture"])
        raise Unsupported(f"{named} (model_type {kind!r})")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise Unsupported(f"position embeddings of type {config['position_embedding_type']!r}")
    activation = config.get("hidden_act", "gelu")
    if activation not in bert.ACTIVATIONS:
        raise Unsupported(f"the activation {activation!r}")
    poolings, normalize = _modules(reader)
    limits = reader.json("sentence_bert_config.json") if reader.has("sentence_bert_config.json") else {}
    positions, heads = int(config["max_position_embeddings"]), int(config["num_attention_heads"])
    if heads < 1:
        raise ValueError(f"num_attention_heads is {heads}")
    padding = int(config.get("pad_token_id", 1)) if kind == "xlm-roberta" else None
    if padding is not None and not 0 <= padding < positions - 1:
        raise ValueError(f"pad_token_id is {padding}")
    usable = positions - _unused(padding)
    return Shape(
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        epsilon=float(config["layer_norm_eps"]),
        activation=activation,
        max_tokens=min(int(limits.get("max_seq_length") or usable), usable),
        poolings=poolings,
        normalize=normalize,
        lower_case=bool(limits.get("do_lower_case")),
        prefix=_PREFIXES[kind],
        padding=padding,
    )


def _unused(padding: int | None) -> int:
    """How many rows of the position embeddings come before the first token's."""
    return 0 if padding is None else padding + 1


def _modules(reader: Reader) -> tuple[tuple[str, ...], bool]:
    """The poolings and whether the result is normalised; without modules.json: mean pooling, as the library does."""
    if not reader.has("modules.json"):
        return ("mean",), False
    poolings: tuple[str, ...] = ()
    normalize = False
    for module in reader.json("modules.json"):
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Pooling":
            poolings = _poolings(reader.json(f"{module['path']}/config.json"))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise Unsupported(f"the module {module['type']}")
    return poolings or ("mean",), normalize


def _poolings(config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode") or [mode for key, mode in _POOLING_KEYS.items() if config.get(key)] or ["mean"]
    modes = (named,) if isinstance(named, str) else tuple(named)
    for mode in modes:
        if mode not in _POOLINGS:
            raise Unsupported(f"the pooling {mode!r}")
    return modes


def _tokenizer(reader: Reader, max_tokens: int) -> Tokenizer:
    if not reader.has("tokenizer.json"):
        raise Unsupported("a model without tokenizer.json")
    try:
        tokenizer = Tokenizer.from_str(reader.data("tokenizer.json").decode())
    except Exception as error:  # the library raises bare Exception
        raise OpsError(f"{reader.folder / 'tokenizer.json'} is not a tokenizer: {error}", _DAMAGED) from error
    tokenizer.no_padding()  # the file may ask for a fixed length: batches are padded to their own longest text
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer


def _tensors(reader: Reader, prefix: str) -> dict[str, Floats]:
    """The weights by their names without prefix, from the first form that is there, in the order of transformers."""

    def wanted(name: str) -> bool:  # a pooler or a language model's head can be half of a checkpoint
        return name.removeprefix(prefix).startswith(("embeddings.", "encoder."))

    found: dict[str, Floats] = {}
    for whole in (_SAFE, _TORCH):
        for part in _parts(reader, whole):
            try:
                found |= reader.tensors(part) if whole == _SAFE else reader.checkpoint(part, wanted)
            except OldFormat as error:
                raise Unsupported(f"weights in {error}") from error
        if found:
            return {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    raise Unsupported(f"a model with neither {_SAFE} nor {_TORCH}")


def _parts(reader: Reader, whole: str) -> list[str]:
    """The file itself, or those that its index names, or none."""
    if reader.has(whole):
        return [whole]
    index = f"{whole}.index.json"
    if not reader.has(index):
        return []
    try:
        parts = sorted(set(reader.json(index)["weight_map"].values()))
        if any(Path(part).name != part for part in parts):
            raise ValueError("a part that is no file name")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OpsError(f"{reader.folder / index} is not an index of weights: {error}", _DAMAGED) from error
    return parts


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} is a lone surrogate, which no encoding can carry") from error
    ids: list[int] = tokenizer.encode(text).ids
    return ids


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indexes of texts in batches of similar length, longest first, each within _TOKENS_PER_BATCH padded tokens."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        if batch and (len(batch) + 1) * max(lengths[batch[0]], 1) > _TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _pool(name: str, hidden: Floats, real: NDArray[np.bool_]) -> Floats:
    if name == "cls":
        first: Floats = hidden[:, 0]
        return first
    weights = real[:, :, None]
    if name == "max":
        largest: Floats = np.where(weights, hidden, np.float32(-1e9)).max(axis=1)
        return largest
    total = np.einsum("btd,bt->bd", hidden, real.astype(np.float32))
    count = np.maximum(real.sum(axis=1, keepdims=True), 1).astype(np.float32)
    pooled: Floats = total / (np.sqrt(count) if name == "mean_sqrt_len_tokens" else count)
    return pooled
