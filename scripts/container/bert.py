"""The BERT encoder's forward pass in numpy, float32, for the reference service; XLM-RoBERTa differs in its positions.

Devlin et al. 2018 (arXiv:1810.04805) as implemented by Hugging Face's BertModel: post-norm Transformer layers, learned
absolute positions. Conneau et al. 2019 (arXiv:1911.02116) as implemented by XLMRobertaModel: the same layers, positions
counted from the padding's id on. Shapes: B texts, T tokens (padded), D hidden size, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.container.weights import Floats

# erf(x) ~ x * P(x^2) / Q(x^2) on [-4, 4], 1 beyond: the single-precision rational minimax approximation that Eigen and
# XLA use (Eigen/src/SpecialFunctions, generic_fast_erf_float); coefficients from the highest power down.
# Largest absolute error against math.erf, measured over [-6, 6]: 4.2e-7 (tests/container/test_bert.py).
_P = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
      -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02)
_BLOCK = 1 << 15  # elements: the temporaries of one block stay in a core's cache
_MASKED = np.float32(-3.0e38)
_SCORES = 1 << 24  # attention scores held at once, 64 MB; 8192 tokens in 16 heads would be 4.3 GB


def erf(x: Floats) -> Floats:
    """The error function, element by element, in single precision."""
    clipped = np.clip(x, -4.0, 4.0, dtype=np.float32)
    square = clipped * clipped
    ratio: Floats = clipped * _horner(_P, square) / _horner(_Q, square)
    return ratio


def _horner(coefficients: tuple[float, ...], x: Floats) -> Floats:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += np.float32(coefficient)
    return total


def gelu(x: Floats) -> Floats:
    """x * Phi(x) with the exact Phi (Hendrycks and Gimpel 2016, arXiv:1606.08415); works in place, returns x."""
    flat = x.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        block *= 0.5 * (1.0 + erf(block * np.float32(math.sqrt(0.5))))
    return flat.reshape(x.shape)


def gelu_tanh(x: Floats) -> Floats:
    """The tanh approximation of GELU that some models were trained with ("gelu_new", "gelu_pytorch_tanh")."""
    inner = np.float32(math.sqrt(2.0 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (1.0 + np.tanh(inner)), dtype=np.float32)


def relu(x: Floats) -> Floats:
    """max(x, 0)."""
    return np.maximum(x, np.float32(0.0))


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": relu,
}


@dataclass(frozen=True)
class Dense:
    """A linear layer: weight [out, in], bias [out]."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        product: Floats = x @ self.weight.T
        product += self.bias
        return product


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450)."""

    weight: Floats
    bias: Floats
    epsilon: float

    def __call__(self, x: Floats) -> Floats:
        centred: Floats = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        centred /= np.sqrt(variance + np.float32(self.epsilon))
        centred *= self.weight
        centred += self.bias
        return centred


@dataclass(frozen=True)
class Layer:
    """One Transformer layer; query, key and value share one matrix product."""

    qkv: Dense
    projection: Dense
    attention_norm: Norm
    up: Dense
    down: Dense
    output_norm: Norm
    heads: int
    activation: Callable[[Floats], Floats]

    def __call__(self, x: Floats, mask: Floats | None) -> Floats:
        x = self.attention_norm(x + self.projection(self._attend(x, mask)))
        return self.output_norm(x + self.down(self.activation(self.up(x))))

    def _attend(self, x: Floats, mask: Floats | None) -> Floats:
        texts, tokens, hidden = x.shape
        split = self.qkv(x).reshape(texts, tokens, 3, self.heads, hidden // self.heads).transpose(2, 0, 3, 1, 4)
        query, key, value = split
        mixed = np.empty((texts, tokens, self.heads, hidden // self.heads), dtype=np.float32)
        rows = max(1, _SCORES // (texts * self.heads * tokens))
        for start in range(
            0, tokens, rows
        ):  # each row of scores is complete, so the split changes nothing but rounding
            some = _mix(query[:, :, start : start + rows], key, value, mask)
            mixed[:, start : start + rows] = some.transpose(0, 2, 1, 3)
        return mixed.reshape(texts, tokens, hidden)


def _mix(query: Floats, key: Floats, value: Floats, mask: Floats | None) -> Floats:
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762) of some queries over all keys."""
    scores: Floats = query @ key.swapaxes(-1, -2)
    scores *= np.float32(1.0 / math.sqrt(query.shape[-1]))
    if mask is not None:
        scores += mask
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed: Floats = scores @ value
    return mixed


@dataclass(frozen=True)
class Bert:
    """The whole encoder: token ids [B, T] and their mask [B, T] in, hidden states [B, T, D] out.

    padding: XLM-RoBERTa's padding id, whose tokens get that position, the others the next ones in turn; None for BERT.
    """

    words: Floats
    positions: Floats
    token_type: Floats
    norm: Norm
    layers: tuple[Layer, ...]
    padding: int | None = None

    def __call__(self, ids: NDArray[np.int64], real: NDArray[np.bool_]) -> Floats:
        x = self.norm(self.words[ids] + (self._placed(ids) + self.token_type))
        mask = None if real.all() else np.where(real, np.float32(0.0), _MASKED)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def _placed(self, ids: NDArray[np.int64]) -> Floats:
        if self.padding is None:
            return self.positions[: ids.shape[1]]
        # by id, as transformers does: a padding token within a text has attention, but the padding's position
        counted = ids != self.padding
        placed: Floats = self.positions[np.cumsum(counted, axis=1) * counted + self.padding]
        return placed


def build(
    tensors: dict[str, Floats], *, layers: int, heads: int, epsilon: float, activation: str, padding: int | None = None
) -> Bert:
    """Put a checkpoint's tensors (Hugging Face names) in their places; KeyError names the first one that is missing.

    Takes the weights of the layers out of `tensors`: those that are joined would otherwise be in memory twice.
    """

    def dense(name: str) -> Dense:
        return Dense(tensors.pop(f"{name}.weight"), tensors.pop(f"{name}.bias"))

    def norm(name: str) -> Norm:
        weight, bias = f"{name}.weight", f"{name}.bias"
        if weight not in tensors:  # the names of checkpoints converted from TensorFlow
            weight, bias = f"{name}.gamma", f"{name}.beta"
        return Norm(tensors[weight], tensors[bias], epsilon)

    def layer(place: str) -> Layer:
        parts = [dense(f"{place}.attention.self.{part}") for part in ("query", "key", "value")]
        joined = Dense(np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts]))
        return Layer(
            qkv=joined,
            projection=dense(f"{place}.attention.output.dense"),
            attention_norm=norm(f"{place}.attention.output.LayerNorm"),
            up=dense(f"{place}.intermediate.dense"),
            down=dense(f"{place}.output.dense"),
            output_norm=norm(f"{place}.output.LayerNorm"),
            heads=heads,
            activation=ACTIVATIONS[activation],
        )

    return Bert(
        words=tensors["embeddings.word_embeddings.weight"],
        positions=tensors["embeddings.position_embeddings.weight"],
        token_type=tensors["embeddings.token_type_embeddings.weight"][0],
        norm=norm("embeddings.LayerNorm"),
        layers=tuple(layer(f"encoder.layer.{number}") for number in range(layers)),
        padding=padding,
    )
