"""Attention over tokens against its formulas (arXiv 1706.03762, 2104.09864, 1810.00825), token by token in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras.attention import AttentionPooling, RotaryAttention, attend, head_width, rotate

RNG = np.random.default_rng(0)
TOKENS = RNG.normal(size=(3, 4, 6))
MASK = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
INPUTS = [TOKENS.astype(np.float32), MASK.astype(np.float32)]


def attended(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What one query [k] finds in the real tokens [T, k] alone."""
    if not len(keys):
        return np.zeros(values.shape[-1])
    score = np.exp(keys @ query / np.sqrt(len(query)))
    return score / score.sum() @ values


def turned(x: np.ndarray, position: int) -> np.ndarray:
    """A vector [k] at a position, as the complex numbers x_i + i x_(i + k/2) times e^(i m theta)."""
    half = len(x) // 2
    theta = 10_000.0 ** (-np.arange(half) / half)
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * position * theta)
    return np.concatenate([z.real, z.imag])


def self_attention(tokens: np.ndarray, mask: np.ndarray, heads: int, weights: list[np.ndarray]) -> np.ndarray:
    """RotaryAttention; what stands at the place of padding is whatever its query finds."""
    kernel, bias, out, out_bias = (weight.astype(np.float64) for weight in weights)
    width = kernel.shape[1] // (3 * heads)
    rows = []
    for row, counts in zip(tokens, mask, strict=True):
        parts = (row @ kernel + bias).reshape(len(row), 3, heads, width)
        real = [m for m in range(len(row)) if counts[m]]
        found = [
            np.concatenate(
                [
                    attended(
                        turned(parts[m, 0, h], m),
                        np.array([turned(parts[r, 1, h], r) for r in real]).reshape(-1, width),
                        parts[real, 2, h],
                    )
                    for h in range(heads)
                ]
            )
            for m in range(len(row))
        ]
        rows.append(np.array(found) @ out + out_bias)
    return np.stack(rows)


def pooled(tokens: np.ndarray, mask: np.ndarray, heads: int, weights: list[np.ndarray]) -> np.ndarray:
    """AttentionPooling: keys and values of every token are made, as the paper has it."""
    queries, keys, values, out, out_bias = (weight.astype(np.float64) for weight in weights)
    rows = []
    for row, counts in zip(tokens, mask, strict=True):
        real = row[counts > 0]
        key, value = (
            (real @ kernel).reshape(len(real), heads, out.shape[0] // heads) for kernel in (keys, values)
        )
        found = [
            np.concatenate([attended(queries[h, :, q], key[:, h], value[:, h]) for h in range(heads)])
            for q in range(queries.shape[2])
        ]
        rows.append(np.array(found) @ out + out_bias)
    return np.stack(rows)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_self_attention_is_that_of_the_real_tokens(heads: int, randomise: Callable[..., None]) -> None:
    layer = RotaryAttention(heads)
    layer(*INPUTS)
    randomise(layer)
    expected = self_attention(TOKENS, MASK, heads, layer.get_weights())
    np.testing.assert_allclose(layer(*INPUTS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "heads"), [(1, 1), (3, 2)])
def test_learned_queries_find_what_the_real_tokens_hold(
    rows: int, heads: int, randomise: Callable[..., None]
) -> None:
    layer = AttentionPooling(rows, heads)
    layer(*INPUTS)
    randomise(layer)
    expected = pooled(TOKENS, MASK, heads, layer.get_weights())
    np.testing.assert_allclose(layer(*INPUTS), expected, rtol=1e-4, atol=1e-5)


def test_padding_is_never_attended_to(randomise: Callable[..., None]) -> None:
    tokens, mask = INPUTS
    longer = (
        np.concatenate([tokens, np.full((3, 5, 6), 1e4, np.float32)], axis=1),
        np.pad(mask, [(0, 0), (0, 5)]),
    )
    for layer in (RotaryAttention(2), AttentionPooling(2, 2)):
        expected = layer(*INPUTS)
        randomise(layer)
        expected = layer(*INPUTS).numpy()
        found = layer(*longer).numpy()
        if isinstance(layer, RotaryAttention):
            expected, found = expected[mask > 0], found[:, :4][mask > 0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 700))
def test_what_two_tokens_say_to_each_other_depends_on_their_distance(
    first: int, second: int, shift: int
) -> None:
    query, key = RNG.normal(size=(2, 1, 8)).astype(np.float32)
    length = max(first, second) + shift + 1

    def product(at_query: int, at_key: int) -> float:
        places = np.zeros((2, length, 8), np.float32)
        places[0, at_query], places[1, at_key] = query[0], key[0]
        places = rotate(places).numpy()
        return float(places[0, at_query] @ places[1, at_key])

    assert product(first + shift, second + shift) == pytest.approx(product(first, second), abs=2e-3)


def test_large_scores_stay_in_the_range_of_half_precision() -> None:
    query = np.full((1, 1, 1, 64), 60, np.float16)
    key = np.stack([np.full((1, 1, 64), 60), np.full((1, 1, 64), -60)], axis=2).astype(np.float16)
    found = attend(query, key, key, np.ones((1, 2), np.float16))
    np.testing.assert_array_equal(found, key[:, :, :1])


def test_a_head_has_an_even_width() -> None:
    assert [head_width(*sizes) for sizes in ((16, 2), (6, 4), (5, 1), (16, 8))] == [8, 2, 6, 2]


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`heads` must be 1 or more\. Received: heads=0"):
        RotaryAttention(0)
    with pytest.raises(ValueError, match=r"`rows` and `heads` must be 1 or more\. Received: rows=0, heads=2"):
        AttentionPooling(0, 2)


def test_contracts(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    for layer in (RotaryAttention(2, name="rotary"), AttentionPooling(2, 2, name="pooling")):
        (tmp_path / layer.name).mkdir()
        assert_layer_contract(layer, INPUTS, tmp_path / layer.name)
