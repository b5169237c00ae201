"""DIN's activation unit and member against the formula (arXiv 1706.06978, equation 3) in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cetnet_keras import DataSpec
from cetnet_keras.members import DinMember
from cetnet_keras.members.din import LocalActivation

RNG = np.random.default_rng(0)
QUERY, TOKENS = RNG.normal(size=(3, 2)), RNG.normal(size=(3, 4, 2))
MASK = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
INPUTS = [array.astype(np.float32) for array in (QUERY, TOKENS, MASK)]


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def interest(
    query: np.ndarray, tokens: np.ndarray, mask: np.ndarray, weights: list[np.ndarray], softmax: bool = False
) -> np.ndarray:
    """Sum over the tokens k of a(q, k) k, token by token, row by row; padding is left out."""
    first, first_bias, last, *last_bias = (weight.astype(np.float64) for weight in weights)
    rows = []
    for q, row, counts in zip(query, tokens, mask, strict=True):
        real = [k for k, count in zip(row, counts, strict=True) if count]
        pairs = [np.concatenate([q, k, q - k, q * k]) for k in real]
        score = np.array([(sigmoid(pair @ first + first_bias) @ last + sum(last_bias))[0] for pair in pairs])
        if softmax and len(score):
            score = np.exp(score) / np.exp(score).sum()
        rows.append(sum((a * k for a, k in zip(score, real, strict=True)), np.zeros(len(q))))
    return np.stack(rows)


@pytest.mark.parametrize("softmax", [False, True])
def test_each_token_counts_by_what_the_candidate_calls_up(
    softmax: bool, randomise: Callable[..., None]
) -> None:
    attention = LocalActivation([3], softmax=softmax)
    attention(*INPUTS)
    randomise(attention)
    expected = interest(QUERY, TOKENS, MASK, attention.get_weights(), softmax)
    np.testing.assert_allclose(attention(*INPUTS), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("softmax", [False, True])
def test_padding_never_attends(softmax: bool) -> None:
    attention = LocalActivation([3], softmax=softmax)
    query, tokens, mask = INPUTS
    longer = np.concatenate([tokens, np.full((3, 5, 2), 9, np.float32)], axis=1)
    found = attention(query, longer, np.pad(mask, [(0, 0), (0, 5)]))
    np.testing.assert_allclose(found, attention(*INPUTS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("softmax", [False, True])
def test_no_tokens_at_all_call_up_nothing(softmax: bool) -> None:
    found = LocalActivation([3], softmax=softmax)(INPUTS[0], INPUTS[1][:, :0], INPUTS[2][:, :0])
    np.testing.assert_array_equal(found, np.zeros((3, 2)))


def test_contract_of_the_attention(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    assert_layer_contract(LocalActivation([3], softmax=True, name="attention"), INPUTS, tmp_path)


def test_member_reads_fields_numbers_attended_and_other_behaviours(
    make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "words": {"type": "sequence"},
            "items": {"type": "sequence", "vocabulary": "item"},
            "age": {"type": "numeric"},
        }
    )
    member = DinMember(spec, {"item": 4, "words": 3}, embedding_dim=2, hidden=[3], attention_hidden=[3])
    batch = {
        "item": np.array([1, 3]),
        "words": np.array([[1, 2], [3, 0]]),
        "items": np.array([[2, 1, 0], [0, 0, 0]]),
        "age": np.array([0.5, -2.0], np.float32),
        "age/missing": np.array([0.0, 1.0], np.float32),
    }
    member(batch)
    randomise(member)
    weights = [weight.astype(np.float64) for weight in member.get_weights()]
    table, attention, kernel, bias = (
        weights[0],
        weights[3:7],
        *weights[7:],
    )  # weights 1 and 2 are the projection's
    item, tokens = table[[1, 3]], table[batch["items"]]
    attended = interest(item, tokens, batch["items"] > 0, attention)
    words = np.stack([(table[5] + table[6]) / 2, table[7]])  # the words' rows lie behind those of the 4 items
    numbers = np.stack([batch["age"], batch["age/missing"]], axis=1)
    expected = np.maximum(np.concatenate([item, numbers, words, attended], axis=1) @ kernel + bias, 0)
    np.testing.assert_allclose(member(batch).embedding, expected, rtol=1e-4, atol=1e-5)
