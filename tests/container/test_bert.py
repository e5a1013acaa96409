from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from scripts.container import bert
from scripts.container.weights import Floats


def test_erf_is_accurate_to_single_precision_everywhere() -> None:
    x = np.concatenate([np.linspace(-6, 6, 240_001), [-1e30, 1e30, 0.0, 1e-30, -np.inf, np.inf]]).astype(np.float32)
    exact = np.array([math.erf(float(value)) for value in x])
    assert np.abs(bert.erf(x) - exact).max() <= 5e-7


def test_erf_is_odd_and_keeps_small_arguments() -> None:
    x = np.linspace(0, 5, 10_001, dtype=np.float32)
    assert np.array_equal(bert.erf(-x), -bert.erf(x))
    assert abs(float(bert.erf(np.float32([1e-6]))[0]) / (2e-6 / math.sqrt(math.pi)) - 1) < 1e-6


def test_gelu_is_the_exact_one_and_not_the_tanh_approximation() -> None:
    x = np.linspace(-5, 5, 70_001, dtype=np.float32).reshape(-1, 1)  # more than two blocks
    exact = np.array([[value * 0.5 * (1 + math.erf(value / math.sqrt(2)))] for value in x[:, 0].astype(float)])
    assert np.abs(bert.gelu(x.copy()) - exact).max() < 2e-6
    assert np.abs(bert.gelu_tanh(x) - exact).max() > 1e-4


def test_layer_norm_follows_its_definition_in_double_precision() -> None:
    random = np.random.default_rng(7)
    x, weight, bias = (random.normal(3, 2, size).astype(np.float32) for size in ((4, 5, 48), 48, 48))
    wide = x.astype(np.float64)
    variance = wide.var(axis=-1, keepdims=True)
    expected = (wide - wide.mean(axis=-1, keepdims=True)) / np.sqrt(variance + 1e-5) * weight + bias
    assert np.abs(bert.Norm(weight, bias, 1e-5)(x) - expected).max() < 1e-5


def test_attention_over_many_tokens_is_split_and_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    layer, texts, tokens, width = attention(random, width=32, heads=16), 2, 300, 32
    x = random.normal(0, 1, (texts, tokens, width)).astype(np.float32)
    mask = np.zeros((texts, 1, 1, tokens), dtype=np.float32)
    mask[1, :, :, 100:] = -3.0e38
    whole, whole_bytes = peak(layer, x, mask)
    monkeypatch.setattr(bert, "_SCORES", 1 << 16)
    split, split_bytes = peak(layer, x, mask)
    scores_bytes = texts * 16 * tokens * tokens * 4
    assert whole_bytes > scores_bytes > 8 * split_bytes
    assert np.abs(split - whole).max() <= 1e-5
    monkeypatch.setattr(bert, "_SCORES", 1)  # a row at a time is the least
    assert np.abs(peak(layer, x, mask)[0] - whole).max() <= 1e-5


def attention(random: np.random.Generator, *, width: int, heads: int) -> bert.Layer:
    def dense(rows: int, columns: int) -> bert.Dense:
        weight = random.normal(0, 0.3, (rows, columns)).astype(np.float32)
        return bert.Dense(weight, random.normal(0, 0.3, rows).astype(np.float32))

    norm = bert.Norm(np.ones(width, dtype=np.float32), np.zeros(width, dtype=np.float32), 1e-5)
    return bert.Layer(
        dense(3 * width, width), dense(width, width), norm, dense(width, width), dense(width, width), norm,
        heads=heads, activation=bert.relu,
    )  # fmt: skip


def peak(layer: bert.Layer, x: Floats, mask: Floats) -> tuple[Floats, int]:
    """The layer's result and the most memory it held meanwhile."""
    tracemalloc.start()
    try:
        return layer(x, mask), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
