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


@pytest.mark.parametrize("softmax", [False, True])
def test_member_reads_fields_numbers_attended_and_other_behaviours(
    softmax: bool, make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "words": {"type": "sequence"},
            "items": {"type": "sequence", "vocabulary": "item", "align": "seen"},
            "shops": {"type": "sequence", "vocabulary": "shop", "align": "seen"},
            "bought": {"type": "sequence", "vocabulary": "item"},
            "shop": {"type": "categorical", "role": "candidate"},
            "age": {"type": "numeric"},
        }
    )
    options = {"hidden": [8], "attention_hidden": [3], "attention_softmax": softmax}
    member = DinMember(spec, {"item": 4, "words": 3, "shop": 5}, embedding_dim=2, **options)
    places, rng = np.arange(22), np.random.default_rng(1)
    seen = places < np.array([[22], [3], [0]])
    named = seen & (places != 1)  # of the second token the shop alone is known
    batch = {
        "item": np.array([1, 3, 2]),
        "shop": np.array([5, 2, 1]),
        "words": np.array([[1, 2], [3, 0], [0, 0]]),
        "items": rng.integers(1, 5, (3, 22)) * named,
        "shops": rng.integers(1, 6, (3, 22)) * seen,
        "bought": np.array([[2, 1, 0], [0, 0, 0], [4, 4, 1]]),
        "age": np.array([0.5, -2.0, 1.0], np.float32),
        "age/missing": np.array([0.0, 1.0, 0.0], np.float32),
    }
    member(batch)
    randomise(member)
    weights = {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in member.variables}

    def part(name: str) -> list[np.ndarray]:
        return [value for key, value in weights.items() if key.startswith(f"{name}/")]

    def rows(name: str, before: int) -> np.ndarray:
        return padded[np.where(batch[name] > 0, batch[name] + before, 0)]

    padded = weights["features/embeddings:0"] * (np.arange(13) > 0)[:, np.newaxis]
    words, item, shop = rows("words", 4), rows("item", 0), rows("shop", 7)  # the order of the vocabularies
    mean = words.sum(axis=1) / np.maximum((batch["words"] > 0).sum(axis=1, keepdims=True), 1)
    numbers = np.stack([batch["age"], batch["age/missing"]], axis=1)
    both, columns = np.concatenate([item, shop], axis=1), [rows("items", 0), rows("shops", 7)]
    attended = interest(both, np.concatenate(columns, axis=2), seen, part("attention_1"), softmax)
    bought = interest(item, rows("bought", 0), batch["bought"] > 0, part("attention_2"), softmax)
    kernel, bias = part("mlp")
    together = np.concatenate([item, shop, numbers, mean, attended, bought], axis=1)
    expected = np.maximum(together @ kernel + bias, 0)
    np.testing.assert_allclose(member(batch).embedding, expected, rtol=1e-4, atol=1e-5)


def test_what_was_thought_of_each_item_is_summed_by_what_the_candidate_calls_up(
    make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "items": {"type": "sequence", "vocabulary": "item", "align": "rated"},
            "stars": {"type": "sequence", "align": "rated"},
        }
    )
    member = DinMember(spec, {"item": 4, "stars": 2}, embedding_dim=2, hidden=[8], attention_hidden=[3])
    batch = {
        "item": np.array([1, 3, 2]),
        "items": np.array([[4, 2], [3, 0], [0, 0]]),
        "stars": np.array([[1, 2], [2, 0], [0, 0]]),
    }
    member(batch)
    randomise(member)
    weights = {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in member.variables}
    table, unit, (kernel, bias) = (
        weights["features/embeddings:0"],
        [value for key, value in weights.items() if key.startswith("attention_0/")],
        [value for key, value in weights.items() if key.startswith("mlp/")],
    )
    item = table[batch["item"]]
    tokens = np.concatenate([table[batch["items"]], table[batch["stars"] + 4]], axis=2)  # padding is masked
    query = np.concatenate([item, np.zeros((3, 2))], axis=1)  # no candidate is about the stars
    attended = interest(query, tokens, batch["items"] > 0, unit)
    expected = np.maximum(np.concatenate([item, attended], axis=1) @ kernel + bias, 0)
    np.testing.assert_allclose(member(batch).embedding, expected, rtol=1e-4, atol=1e-5)
