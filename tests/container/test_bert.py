from __future__ import annotations

import math

import numpy as np

from scripts.container import bert


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
