"""DMIN against its formulas (Xiao et al., CIKM 2020), token by token in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import DataSpec
from cetnet_keras.members import DminMember
from cetnet_keras.members.dmin import CausalAttention, MultiInterest, Refined

RNG = np.random.default_rng(0)
QUERY, TOKENS = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 5, 4))
MASK = np.array([[1.0, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
INPUTS = [array.astype(np.float32) for array in (QUERY, TOKENS, MASK)]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def attention(tokens: np.ndarray, heads: int, kernel: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
    """[T, heads, k] of one history [T, n] without padding."""
    width = tokens.shape[1]
    query, key, value = np.split(tokens @ kernel + bias, 3, axis=1)
    rows = []
    for t in range(len(tokens)):
        for h in range(heads):
            own = slice(h * width // heads, (h + 1) * width // heads)
            scores = [query[t, own] @ key[j, own] / np.sqrt(width / heads) for j in range(t + 1)]
            rows.append(softmax(np.array(scores)) @ value[: t + 1, own])
    return np.array(rows).reshape(len(tokens), heads, width // heads)


def refined(x: np.ndarray, attended: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    s = x + attended @ w["out/kernel"] + w.get("out/bias", 0)
    s = (s - s.mean(axis=1, keepdims=True)) / np.sqrt(s.var(axis=1, keepdims=True) + 1e-5)
    s = s * w["norm/gamma"] + w["norm/beta"]
    wide = relu(s @ w["wide/kernel"] + w["wide/bias"])
    return s + wide @ w["narrow/kernel"] + w["narrow/bias"]


def interests(layer: MultiInterest, query: np.ndarray, history: np.ndarray) -> np.ndarray:
    """All heads' interests of one history [T, n] without padding."""
    every = {
        v.name.split(f"{layer.name}/", 1)[1].split(":")[0]: v.numpy().astype(np.float64)
        for v in layer.variables
    }

    def part(name: str) -> dict[str, np.ndarray]:
        return {
            key.removeprefix(f"{name}/"): value for key, value in every.items() if key.startswith(f"{name}/")
        }

    first, second = part("refine"), part("extract")
    flat = attention(history, layer.heads, first["query_key_value/kernel"], first["query_key_value/bias"])
    x = refined(history, flat.reshape(len(history), -1), part("refined"))
    heads, found = attention(x, layer.heads, second["query_key_value/kernel"], 0.0), []
    positions = next((value for key, value in every.items() if "positions" in key), None)
    for h in range(layer.heads):
        tokens, unit, scores = (
            refined(x, heads[:, h], part(f"head_{h}")),
            list(part(f"unit_{h}").values()),
            [],
        )
        for t, token in enumerate(tokens):
            asked = query
            if positions is not None:
                ask, ago = part(f"ask_{h}"), len(tokens) - 1 - t
                asked = np.concatenate([query, positions[h, ago]]) @ ask["kernel"] + ask["bias"]
            pair = np.concatenate([asked, token, asked - token, asked * token])
            scores.append((relu(pair @ unit[0] + unit[1]) @ unit[2])[0])
        found.append(softmax(np.array(scores)) @ tokens)
    return np.concatenate(found)


@pytest.mark.parametrize("position_dim", [0, 2])
def test_each_head_calls_up_an_interest_of_its_own(position_dim: int, randomise: Callable[..., None]) -> None:
    layer = MultiInterest(2, [3], position_dim, max_length=5, name="interests")
    layer(*INPUTS)
    randomise(layer)
    found = layer(*INPUTS).numpy()
    for row, length in enumerate([5, 2]):
        expected = interests(layer, QUERY[row], TOKENS[row, :length])
        np.testing.assert_allclose(found[row], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found[2], np.zeros(8))


def test_member_reads_fields_numbers_interests_and_other_behaviours(
    make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "words": {"type": "sequence"},
            "items": {"type": "sequence", "vocabulary": "item", "max_length": 30},
            "bought": {"type": "sequence", "vocabulary": "item", "max_length": 3},
            "rated": {"type": "sequence", "vocabulary": "item", "max_length": 3, "align": "rated"},
            "stars": {"type": "sequence", "max_length": 3, "align": "rated"},  # no candidate is about them
            "age": {"type": "numeric"},
        }
    )
    options = {"hidden": [8], "heads": 2, "attention_hidden": [8], "position_dim": 2}
    member = DminMember(spec, {"item": 4, "words": 3, "stars": 3}, embedding_dim=4, **options)
    lengths, rng = {"items": [22, 3, 0], "bought": [0, 1, 3], "words": [2, 0, 1]}, np.random.default_rng(1)
    lengths |= {"rated": [2, 3, 0], "stars": [2, 3, 0]}
    batch = {
        name: rng.integers(1, 4, (3, max(own))) * (np.arange(max(own)) < np.array(own)[:, np.newaxis])
        for name, own in lengths.items()
    }
    batch |= {
        "item": np.array([1, 3, 4]),
        "age": np.array([0.5, -2.0, 1.0], np.float32),
        "age/missing": np.array([0.0, 1.0, 0.0], np.float32),
    }
    member(batch)
    randomise(member)
    weights = {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in member.variables}
    table, expected = weights["features/embeddings:0"], []
    kernel, bias = (value for key, value in weights.items() if key.startswith("mlp/"))
    for b, item in enumerate(table[batch["item"]]):
        parts = [item, [batch["age"][b], batch["age/missing"][b]]]
        words = table[batch["words"][b, : lengths["words"][b]] + 4]  # behind the rows of the 4 items
        parts.append(words.mean(axis=0) if len(words) else np.zeros(4))
        histories = {
            name: table[batch[name][b, : own[b]]] for name, own in lengths.items() if name != "stars"
        }
        stars = table[batch["stars"][b, : lengths["stars"][b]] + 7]
        histories["rated"] = np.concatenate([histories["rated"], stars], axis=1)
        for name, layer in zip(("items", "bought", "rated"), member._interests, strict=True):
            query = np.pad(item, (0, histories[name].shape[1] - 4))
            found = interests(layer, query, histories[name]) if lengths[name][b] else np.zeros(2 * len(query))
            parts.append(found)
        expected.append(relu(np.concatenate(parts) @ kernel + bias))
    np.testing.assert_allclose(member(batch).embedding, expected, rtol=1e-3, atol=1e-4)


def test_a_token_sees_none_after_it(randomise: Callable[..., None]) -> None:
    layer, mask = CausalAttention(2), np.ones((3, 5), np.float32)
    layer(INPUTS[1], mask)
    randomise(layer)
    changed = INPUTS[1].copy()
    changed[:, 3:] += 1
    before, after = layer(INPUTS[1], mask).numpy(), layer(changed, mask).numpy()
    np.testing.assert_allclose(after[:, :3], before[:, :3], rtol=1e-5, atol=1e-6)
    assert np.abs(after[:, 3:] - before[:, 3:]).max() > 0.1


def test_positions_count_from_the_last_token(randomise: Callable[..., None]) -> None:
    """So that it does not matter how far a history is padded, and histories longer than `max_length` are read."""
    layer = MultiInterest(2, [3], 2, max_length=3, name="interests")
    layer(*INPUTS)
    randomise(layer)
    padded = np.pad(INPUTS[1], [(0, 0), (0, 4), (0, 0)], constant_values=7)
    found = layer(INPUTS[0], padded, np.pad(INPUTS[2], [(0, 0), (0, 4)]))
    np.testing.assert_allclose(found, layer(*INPUTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_do_not_divide_the_width_are_refused(
    heads: int, spec: DataSpec, sizes: dict[str, int]
) -> None:
    with pytest.raises(
        ValueError, match=f"`heads` must divide the width 8 of what it attends to. Received: heads={heads}"
    ):
        DminMember(spec, sizes, 4, heads=heads)


def test_a_width_of_positions_below_0_is_refused(spec: DataSpec, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"`position_dim` must be 0 or more\. Received: position_dim=-1"):
        DminMember(spec, sizes, 4, position_dim=-1)


def test_heads_need_not_divide_the_width_of_what_is_only_averaged(
    make_spec: Callable[..., DataSpec],
) -> None:
    items = {"type": "sequence", "vocabulary": "item", "align": "seen"}
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "category": {"type": "categorical", "role": "candidate"},
            "items": items,
            "categories": items | {"vocabulary": "category"},
            "words": {"type": "sequence"},
        }
    )
    sizes = {"item": 4, "category": 3, "words": 5}
    DminMember(spec, sizes, 6, heads=4)  # 12 of both columns, 6 of the words
    with pytest.raises(ValueError, match="`heads` must divide the width 12 of what it attends to"):
        DminMember(spec, sizes, 6, heads=5)


def test_positions_of_a_long_history_are_exact_in_bfloat16(randomise: Callable[..., None]) -> None:
    """bfloat16 knows no 257: each of 300 positions is gathered, and has a gradient, all the same."""
    layer = MultiInterest(2, [3], 2, max_length=300, dtype="mixed_bfloat16", name="interests")
    rows = RNG.normal(size=(1, 4)), RNG.normal(size=(1, 300, 4)), np.ones((1, 300))
    inputs = [array.astype(np.float32) for array in rows]
    layer(*inputs)
    randomise(layer)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(tf.cast(layer(*inputs), tf.float32)))
    moved = tf.convert_to_tensor(tape.gradient(loss, layer._positions))
    assert np.abs(moved).max(axis=(0, 2)).min() > 0


def test_contract_of_the_layers(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    _, tokens, mask = INPUTS
    for name in ("interests", "attention", "refined"):
        (tmp_path / name).mkdir()
    assert_layer_contract(MultiInterest(2, [3], 2, 5, name="interests"), INPUTS, tmp_path / "interests")
    assert_layer_contract(CausalAttention(2, name="attention"), [tokens, mask], tmp_path / "attention")
    assert_layer_contract(Refined(name="refined"), [tokens, tokens], tmp_path / "refined")
