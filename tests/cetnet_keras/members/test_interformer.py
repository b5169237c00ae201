"""InterFormer against its formulas (arXiv 2411.09852) in float64; attention itself is tested by itself."""

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


def single(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.float32) for array in arrays]


def double(layer: tf.keras.layers.Layer) -> list[np.ndarray]:
    return [weight.astype(np.float64) for weight in layer.get_weights()]


def named(layer: tf.keras.layers.Layer) -> dict[str, np.ndarray]:
    """Weights by their names below the layer's own, such as "gate/mlp/kernel:0"."""
    return {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in layer.variables}


@pytest.mark.parametrize("gate", SIGMA)
def test_a_gate_lets_through_what_its_row_says(gate: str, randomise: Callable[..., None]) -> None:
    layer = Gating(gate)
    layer(*single(ROWS))
    randomise(layer)
    kernel, bias = double(layer)
    expected = SIGMA[gate](ROWS * (ROWS @ kernel + bias))
    np.testing.assert_allclose(layer(*single(ROWS)), expected, rtol=1e-4, atol=1e-5)


def test_a_new_gate_lets_everything_through_but_for_its_kernel() -> None:
    layer = Gating()
    layer(*single(ROWS))
    layer.set_weights([np.zeros((4, 4)), layer.get_weights()[1]])
    np.testing.assert_array_equal(layer(*single(ROWS)), *single(ROWS))


def test_columns_of_a_behaviour_become_one_sequence(randomise: Callable[..., None]) -> None:
    columns, layer = RNG.normal(size=(2, 3, 8)), MaskNet(4)
    layer(*single(columns))
    randomise(layer)
    mask, mask_bias, lce, lce_bias = double(layer)
    expected = (columns * (columns @ mask + mask_bias)) @ lce + lce_bias
    np.testing.assert_allclose(layer(*single(columns)), expected, rtol=1e-4, atol=1e-5)


def test_tokens_are_turned_by_a_matrix_of_their_example(randomise: Callable[..., None]) -> None:
    layer, inputs = PersonalisedAttention(2), single(TOKENS, MASK, ROWS)
    layer(*inputs)
    randomise(layer)
    weights = named(layer)
    flat = ROWS.reshape(3, 8) @ weights["matrix/kernel:0"] + weights["matrix/bias:0"]
    passed = np.stack([row @ matrix.reshape(4, 4) for row, matrix in zip(TOKENS, flat, strict=True)])
    expected = layer._attention(*single(passed, MASK))
    np.testing.assert_allclose(layer(*inputs), expected, rtol=1e-3, atol=1e-4)


def test_a_new_matrix_passes_tokens_as_they_are_but_for_its_kernel() -> None:
    layer = PersonalisedAttention(2)
    inputs = single(TOKENS, MASK, np.zeros((3, 2, 4)))
    found = layer(*inputs)
    np.testing.assert_allclose(found, layer._attention(*inputs[:2]), rtol=1e-5, atol=1e-6)


def test_a_sequence_is_its_first_rows_its_pools_and_its_last_tokens(randomise: Callable[..., None]) -> None:
    layer, recent = SequenceSummary(2, 3, 2, "tanh"), np.zeros((3, 2, 5))
    for example, places in enumerate([[4, 3], [2], []]):
        for place, position in enumerate(places):
            recent[example, place, position] = 1
    inputs = single(TOKENS, MASK, recent)
    layer(*inputs)
    randomise(layer)
    last = np.zeros((3, 2, 4))
    last[0], last[1, 0] = TOKENS[0, [4, 3]], TOKENS[1, 2]
    rows = np.concatenate([TOKENS[:, :2], layer._pooling(*inputs[:2]), last], axis=1)
    np.testing.assert_allclose(layer(*inputs), layer._gate(*single(rows)), rtol=1e-4, atol=1e-5)


def test_last_tokens_are_real_ones() -> None:
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    found = last_tokens(mask, 2).numpy()
    assert found.argmax(axis=2)[0].tolist() == [2, 1] and found[1, 0].tolist() == [1, 0, 0, 0]
    assert found.sum(axis=2).tolist() == [[1, 1], [1, 0], [0, 0]]
    assert last_tokens(mask, 0).shape == (3, 0, 4)


def swish(z: np.ndarray) -> np.ndarray:
    return z / (1 + np.exp(-z))


@pytest.mark.parametrize("interaction", ["dcnv2", "dot", "dhen"])
def test_member_exchanges_rows_and_sequence_layer_by_layer(
    make_spec: Callable[..., DataSpec], randomise: Callable[..., None], interaction: str
) -> None:
    """Its layers, by themselves right, are put together as the equations have it."""
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "age": {"type": "numeric"},
            "items": {"type": "sequence", "vocabulary": "item", "align": "seen"},
            "words": {"type": "sequence", "align": "seen"},
        }
    )
    member = InterformerMember(
        spec,
        {"item": 4, "words": 3},
        embedding_dim=4,
        hidden=[3],
        cls_rows=2,
        recent=1,
        interaction=interaction,
    )
    batch = {
        "item": np.array([1, 3]),
        "age": np.array([0.5, -2.0], np.float32),
        "age/missing": np.array([0.0, 1.0], np.float32),
        "items": np.array([[2, 1, 4], [3, 0, 0]]),
        "words": np.array([[1, 2, 3], [2, 0, 0]]),
    }
    member(batch)
    randomise(member)
    weights = named(member)
    table = weights["features/embeddings:0"]
    numbers = np.stack([batch["age"], batch["age/missing"]], axis=1)
    row = numbers @ weights["rows/numbers/kernel:0"] + weights["rows/numbers/bias:0"]
    x = np.stack([table[batch["item"]], row], axis=1)
    tokens = np.concatenate(
        [table[batch["items"]], table[np.where(batch["words"], batch["words"] + 4, 0)]], axis=-1
    )
    mask = np.concatenate([np.ones((2, 2)), batch["items"] > 0], axis=1)
    recent = np.zeros((2, 1, 5))
    recent[0, 0, 4] = recent[1, 0, 2] = 1

    def x_sum(layer: int) -> np.ndarray:
        mixed = np.einsum("bnd,nm->bmd", x, weights[f"lce_{layer}/kernel:0"])
        return mixed * (mixed @ weights[f"gate_{layer}/mlp/kernel:0"] + weights[f"gate_{layer}/mlp/bias:0"])

    def s_sum(layer: int) -> np.ndarray:
        return np.asarray(member._summaries[layer](*single(s, mask, recent)), np.float64)

    s = np.concatenate([x_sum(0), member._unify[0](*single(tokens))], axis=1)
    for layer in range(2):
        known, found = x_sum(layer), s_sum(layer)
        s = np.asarray(member._attention[layer](*single(s, mask, known)), np.float64)
        together = np.asarray(
            member._interactions[layer](*single(np.concatenate([x, found], axis=1))), np.float64
        )
        name = f"row_mlp_{layer}/dense"
        kernels = [value for key, value in weights.items() if key.startswith(name)]
        x = swish(together @ kernels[0] + kernels[1])
    flat = np.concatenate([x_sum(2), s_sum(2)], axis=1).reshape(2, -1)
    kernel, bias = (value for key, value in weights.items() if key.startswith("mlp/"))
    np.testing.assert_allclose(member(batch).embedding, swish(flat @ kernel + bias), rtol=2e-3, atol=2e-3)


def test_several_behaviours_have_states_of_their_own(make_spec: Callable[..., DataSpec]) -> None:
    item = {"type": "categorical", "role": "candidate"}
    spec = make_spec({"item": item, "clicks": {"type": "sequence"}, "buys": {"type": "sequence"}})
    member = InterformerMember(spec, {"item": 4, "clicks": 3, "buys": 3}, embedding_dim=4, hidden=[3])
    batch = {"item": np.array([1]), "clicks": np.array([[1, 2, 3]]), "buys": np.array([[2]])}
    one = member(batch).logit
    other = member(batch | {"buys": np.array([[1]])}).logit
    assert abs(float(one[0] - other[0])) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "must be 1 or more.* Received: layers=0"),
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
