"""InterFormer against its formulas (arXiv 2411.09852), one example at a time in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import DataSpec
from cetnet_keras.members import InterformerMember
from cetnet_keras.members.interformer import (
    Gating,
    MaskNet,
    PersonalisedAttention,
    SequenceSummary,
    last_tokens,
)

RNG = np.random.default_rng(0)
ROWS, TOKENS = RNG.normal(size=(3, 2, 4)), RNG.normal(size=(3, 5, 4))
MASK = np.array(
    [[1.0, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
)  # of two tokens of X_sum and up to three
SIGMA: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
}


Weights = dict[str, np.ndarray]


def single(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.float32) for array in arrays]


def named(layer: tf.keras.layers.Layer) -> Weights:
    """Weights by their names below the layer's own, such as "gate/mlp/kernel:0"."""
    return {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in layer.variables}


def below(weights: Weights, name: str) -> list[np.ndarray]:
    """The weights of one part, in its order."""
    return [value for key, value in weights.items() if key.startswith(f"{name}/")]


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    kernel, *bias = below(weights, name)
    return x @ kernel + sum(bias)


def swish(z: np.ndarray) -> np.ndarray:
    return z / (1 + np.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    weight = np.exp(z - z.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def gated(weights: Weights, name: str, x: np.ndarray, gate: str) -> np.ndarray:
    return SIGMA[gate](x * linear(weights, f"{name}/mlp", x))


def attended(weights: Weights, name: str, s: np.ndarray, heads: int) -> np.ndarray:
    """S(l+1) of tokens that PFFN has turned; positions turn pairs of queries and keys, as complex numbers."""
    parts = linear(weights, f"{name}/query_key_value", s).reshape(len(s), 3, heads, -1)
    query, key, value = np.moveaxis(parts, 1, 0)  # [t, h, k]
    half = query.shape[-1] // 2
    turn = np.exp(1j * np.arange(len(s))[:, None, None] * 10_000.0 ** (-np.arange(half) / half))
    query, key = ((z[..., :half] + 1j * z[..., half:]) * turn for z in (query, key))
    score = np.einsum("qhk,thk->hqt", query, key.conj()).real / np.sqrt(2 * half)
    found = np.einsum("hqt,thk->qhk", softmax(score), value)
    return linear(weights, f"{name}/out", found.reshape(len(s), -1))


def pooled(weights: Weights, name: str, s: np.ndarray) -> np.ndarray:
    queries, keys, values = (weights[f"{name}/{part}:0"] for part in ("queries", "key", "value"))
    heads, width, rows = queries.shape
    key, value = ((s @ kernel).reshape(len(s), heads, width) for kernel in (keys, values))
    weight = softmax(np.einsum("hkq,thk->hqt", queries, key) / np.sqrt(width))
    return linear(weights, f"{name}/out", np.einsum("hqt,thk->qhk", weight, value).reshape(rows, -1))


def dot(weights: Weights, name: str, x: np.ndarray, rows: int) -> np.ndarray:
    pairs = np.array([x[i] @ x[j] for i in range(len(x)) for j in range(i + 1, len(x))])
    return linear(weights, f"{name}/map", pairs).reshape(rows, -1)


def cross(weights: Weights, name: str, x: np.ndarray, rows: int) -> np.ndarray:
    u, v, bias = below(weights, f"{name}/cross")
    crossed = x.ravel() * (x.ravel() @ u @ v + bias) + x.ravel()
    return weights[f"{name}/mix/kernel:0"].T @ crossed.reshape(x.shape)


def dhen(weights: Weights, name: str, x: np.ndarray, rows: int) -> np.ndarray:
    kinds = [dot(weights, f"{name}/dot_0", x, rows), cross(weights, f"{name}/cross_1", x, rows)]
    y = weights[f"{name}/ensemble/kernel:0"].T @ np.concatenate(kinds)
    y += weights[f"{name}/shortcut/kernel:0"].T @ x
    gamma, beta = below(weights, f"{name}/norm")
    centred = y - y.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * gamma + beta


INTERACTION = {"dot": dot, "dcnv2": cross, "dhen": dhen}


def interformer(
    weights: Weights,
    x: np.ndarray,
    columns: list[np.ndarray],
    interaction: str,
    gate: str,
    recent: int,
    layers: int,
) -> np.ndarray:
    """docs/members.md, structure, for one example: rows x [n, d] and each behaviour's real tokens [t, k d]."""

    def x_sum(layer: int) -> np.ndarray:
        return gated(weights, f"gate_{layer}", weights[f"lce_{layer}/kernel:0"].T @ x, gate)

    def s_sum(layer: int, k: int) -> np.ndarray:
        s, name, cls_rows = states[k], f"summary_{layer}_{k}", len(first)
        last = s[cls_rows:][::-1][:recent]
        nothing = np.zeros((recent - len(last), s.shape[1]))
        together = np.concatenate([s[:cls_rows], pooled(weights, f"{name}/pma", s), last, nothing])
        return gated(weights, f"{name}/gate", together, gate)

    def first_state(k: int) -> np.ndarray:
        masked = columns[k] * linear(weights, f"unify_{k}/mask", columns[k])
        return np.concatenate([first, linear(weights, f"unify_{k}/lce", masked)])

    first, (rows, width), every = x_sum(0), x.shape, range(len(columns))
    states = [first_state(k) for k in every]
    for layer in range(layers):
        known, found = x_sum(layer), [s_sum(layer, k) for k in every]
        for k in every:
            matrix = linear(weights, f"attention_{layer}_{k}/matrix", known.ravel()).reshape(width, width)
            states[k] = attended(weights, f"attention_{layer}_{k}/attention", states[k] @ matrix, heads=2)
        mixed = INTERACTION[interaction](weights, f"interaction_{layer}", np.concatenate([x, *found]), rows)
        x = swish(linear(weights, f"row_mlp_{layer}", mixed))
    found = [s_sum(layers, k) for k in every]
    return swish(linear(weights, "mlp", np.concatenate([x_sum(layers), *found]).ravel()))


@pytest.mark.parametrize("gate", SIGMA)
def test_a_gate_lets_through_what_its_row_says(gate: str, randomise: Callable[..., None]) -> None:
    layer = Gating(gate)
    layer(*single(ROWS))
    randomise(layer)
    expected = gated({f"gate/{key}": value for key, value in named(layer).items()}, "gate", ROWS, gate)
    np.testing.assert_allclose(layer(*single(ROWS)), expected, rtol=1e-4, atol=1e-5)


def test_a_new_gate_lets_everything_through_but_for_its_kernel() -> None:
    layer = Gating()
    layer(*single(ROWS))
    layer.set_weights([np.zeros((4, 4)), layer.get_weights()[1]])
    np.testing.assert_array_equal(layer(*single(ROWS)), *single(ROWS))


def test_a_new_matrix_passes_tokens_as_they_are_but_for_its_kernel() -> None:
    layer = PersonalisedAttention(2)
    inputs = single(TOKENS, MASK, np.zeros((3, 2, 4)))
    found = layer(*inputs)
    np.testing.assert_allclose(found, layer._attention(*inputs[:2]), rtol=1e-5, atol=1e-6)


def test_last_tokens_are_real_ones() -> None:
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    found = last_tokens(mask, 2).numpy()
    assert found.argmax(axis=2)[0].tolist() == [2, 1] and found[1, 0].tolist() == [1, 0, 0, 0]
    assert found.sum(axis=2).tolist() == [[1, 1], [1, 0], [0, 0]]
    assert last_tokens(mask, 0).shape == (3, 0, 4)


@pytest.mark.parametrize(
    ("interaction", "gate", "recent", "aligned"),
    [
        ("dhen", "identity", 2, True),
        ("dcnv2", "tanh", 2, True),
        ("dot", "sigmoid", 2, True),
        ("dot", "identity", 0, True),
        ("dot", "identity", 2, False),
    ],
)
def test_member_follows_its_equations_for_short_and_long_and_no_sequences(
    make_spec: Callable[..., DataSpec],
    randomise: Callable[..., None],
    interaction: str,
    gate: str,
    recent: int,
    aligned: bool,
) -> None:
    """Sequences of one behaviour have one state, and two behaviours, which are not of one length, one each."""
    seen = {"type": "sequence", "align": "seen"} if aligned else {"type": "sequence"}
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "age": {"type": "numeric"},
            "items": seen | {"vocabulary": "item"},
            "words": seen,
        }
    )
    own = {"hidden": [3], "cls_rows": 2, "recent": recent, "interaction": interaction, "gate": gate}
    member = InterformerMember(spec, {"item": 4, "words": 3}, embedding_dim=8, **own)
    lengths, rng = np.array([26, 3, 0, 1]), np.random.default_rng(1)
    of_words = lengths if aligned else lengths[::-1]
    places = np.arange(26)
    batch: dict[str, np.ndarray] = {
        "item": rng.integers(1, 5, 4),
        "age": rng.normal(size=4).astype(np.float32),
        "age/missing": np.array([0, 1, 0, 1], np.float32),
        "items": rng.integers(1, 5, (4, 26)) * (places < lengths[:, np.newaxis]),
        "words": rng.integers(1, 4, (4, 26)) * (places < of_words[:, np.newaxis]),
    }
    member(batch)
    randomise(member)
    member.set_weights([weight / 1.5 for weight in member.get_weights()])  # no gate is wide open or shut
    weights = named(member)
    table = weights["features/embeddings:0"]  # the three words stand behind the four items
    numbers = np.stack([batch["age"], batch["age/missing"]], axis=1)
    expected = []
    for b in range(4):
        columns = [table[batch["items"][b, : lengths[b]]], table[batch["words"][b, : of_words[b]] + 4]]
        x = np.stack([table[batch["item"][b]], linear(weights, "rows/numbers", numbers[b])])
        behaviours = [np.concatenate(columns, axis=1)] if aligned else columns
        expected.append(interformer(weights, x, behaviours, interaction, gate, recent, layers=2))
    np.testing.assert_allclose(member(batch).embedding, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "must be 1 or more.* Received: layers=0"),
        ({"heads": 3}, "`heads` must divide the width 4 of what it attends to. Received: heads=3"),
        ({"recent": -1}, "`recent` 0 or more.* recent=-1"),
        ({"interaction": "fm"}, "one of dhen, dcnv2, dot. Received: interaction='fm'"),
        ({"gate": "relu"}, "one of identity, sigmoid, tanh. Received: gate='relu'"),
    ],
)
def test_wrong_options_are_refused(
    spec: DataSpec, sizes: dict[str, int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        InterformerMember(spec, sizes, 4, **options)


def test_a_spec_that_gives_it_nothing_to_exchange_is_refused(make_spec: Callable[..., DataSpec]) -> None:
    item, seen = {"type": "categorical"}, {"type": "sequence"}
    with pytest.raises(ValueError, match="the data spec has no sequence: add one, or name another member"):
        InterformerMember(make_spec({"item": item}), {"item": 4})
    with pytest.raises(ValueError, match="the data spec has no feature beside its sequences: add one"):
        InterformerMember(make_spec({"seen": seen}), {"seen": 4})


def test_contracts_of_its_layers(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    recent = np.zeros((3, 1, 5))
    for layer, inputs in (
        (Gating("tanh", name="gate"), single(ROWS)),
        (MaskNet(3, name="unify"), single(TOKENS)),
        (PersonalisedAttention(2, name="attention"), single(TOKENS, MASK, ROWS)),
        (SequenceSummary(2, 3, 2, "sigmoid", name="summary"), single(TOKENS, MASK, recent)),
    ):
        (tmp_path / layer.name).mkdir()
        assert_layer_contract(layer, inputs, tmp_path / layer.name)


def test_several_behaviours_have_states_of_their_own(make_spec: Callable[..., DataSpec]) -> None:
    item = {"type": "categorical", "role": "candidate"}
    spec = make_spec({"item": item, "clicks": {"type": "sequence"}, "buys": {"type": "sequence"}})
    member = InterformerMember(spec, {"item": 4, "clicks": 3, "buys": 3}, embedding_dim=4, hidden=[3])
    batch = {"item": np.array([1]), "clicks": np.array([[1, 2, 3]]), "buys": np.array([[2]])}
    one = member(batch).logit
    other = member(batch | {"buys": np.array([[1]])}).logit
    assert abs(float(one[0] - other[0])) > 0
