"""DHEN: each interaction and the layer against their formulas (arXiv 2203.11014) in float64."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from cetnet_keras import DataSpec
from cetnet_keras.members import DhenMember
from cetnet_keras.members.dhen import INTERACTIONS, DhenLayer, Interaction

X = np.random.default_rng(0).normal(size=(2, 4, 6))  # [B, n, d]
Weights = list[np.ndarray]


def pairs(x: np.ndarray) -> np.ndarray:
    return np.stack([[row[i] @ row[j] for i in range(len(row)) for j in range(i + 1, len(row))] for row in x])


def along_rows(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.einsum("bnd,nm->bmd", x, kernel)


def dot(x: np.ndarray, rows: int, weights: Weights) -> np.ndarray:
    kernel, bias = weights
    return (pairs(x) @ kernel + bias).reshape(len(x), rows, x.shape[2])


def cross(x: np.ndarray, rows: int, weights: Weights) -> np.ndarray:
    u, v, bias = weights[:3]
    flat = x.reshape(len(x), -1)
    return mixed((flat * (flat @ u @ v + bias) + flat).reshape(x.shape), weights[3:])


def attention(x: np.ndarray, rows: int, weights: Weights) -> np.ndarray:
    query, query_bias, key, key_bias, value, value_bias, out, out_bias = weights[:8]
    q = np.einsum("bnd,dhk->bhnk", x, query) + query_bias[:, np.newaxis]
    k = np.einsum("bnd,dhk->bhnk", x, key) + key_bias[:, np.newaxis]
    v = np.einsum("bnd,dhk->bhnk", x, value) + value_bias[:, np.newaxis]
    score = np.exp(np.einsum("bhnk,bhmk->bhnm", q, k) / np.sqrt(q.shape[-1]))
    attended = np.einsum("bhnm,bhmk->bnhk", score / score.sum(axis=-1, keepdims=True), v)
    return mixed(np.einsum("bnhk,hkd->bnd", attended, out) + out_bias, weights[8:])


def linear(x: np.ndarray, rows: int, weights: Weights) -> np.ndarray:
    return along_rows(x, *weights)


def convolution(x: np.ndarray, rows: int, weights: Weights) -> np.ndarray:
    kernel, bias = weights[:2]  # kernel [3, d, d]
    padded = np.pad(x, [(0, 0), (1, 1), (0, 0)])
    out = [sum(padded[:, i + k] @ kernel[k] for k in range(3)) + bias for i in range(x.shape[1])]
    return mixed(np.stack(out, axis=1), weights[2:])


def mixed(x: np.ndarray, weights: Weights) -> np.ndarray:
    return along_rows(x, *weights) if weights else x


REFERENCE = {"dot": dot, "cross": cross, "attention": attention, "linear": linear, "convolution": convolution}


def weights_of(layer: Interaction | DhenLayer) -> Weights:
    return [weight.astype(np.float64) for weight in layer.get_weights()]


@pytest.mark.parametrize("rows", [4, 3])
@pytest.mark.parametrize("kind", INTERACTIONS)
def test_interaction_follows_its_formula(kind: str, rows: int, randomise: Callable[..., None]) -> None:
    interaction = Interaction(kind, rows, rank=2)
    interaction(X)
    randomise(interaction)
    expected = REFERENCE[kind](X, rows, weights_of(interaction))
    assert expected.shape == (2, rows, 6)
    np.testing.assert_allclose(interaction(X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", INTERACTIONS)
def test_one_narrow_row_is_enough(kind: str) -> None:
    assert np.isfinite(Interaction(kind, 2)(np.ones((3, 1, 1), np.float32))).all()


def normalised(x: np.ndarray) -> np.ndarray:
    """Layer normalisation of each row, before its scale and shift."""
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def layered(
    x: np.ndarray, rows: int, kinds: Sequence[str], ensemble: str, weights: dict[str, np.ndarray]
) -> np.ndarray:
    """X(l+1) of X(l), by the weights of the layer, which are named as below it."""
    outputs = [
        REFERENCE[kind](x, rows, [w for name, w in weights.items() if name.startswith(f"{kind}_{i}/")])
        for i, kind in enumerate(kinds)
    ]
    if ensemble == "sum" or len(kinds) == 1:
        together = np.sum(outputs, axis=0)
    else:
        together = along_rows(np.concatenate(outputs, axis=1), weights["ensemble/kernel:0"])
    shortcut = x if rows == x.shape[1] else along_rows(x, weights["shortcut/kernel:0"])
    return normalised(together + shortcut) * weights["norm/gamma:0"] + weights["norm/beta:0"]


@pytest.mark.parametrize("ensemble", ["concat", "sum"])
@pytest.mark.parametrize("rows", [4, 3])
def test_layer_normalises_ensemble_plus_shortcut(
    ensemble: str, rows: int, randomise: Callable[..., None]
) -> None:
    layer = DhenLayer(["dot", "linear"], rows, ensemble=ensemble)
    layer(X)
    randomise(layer)
    weights = {
        variable.name.split("/", 1)[1]: variable.numpy().astype(np.float64) for variable in layer.variables
    }
    expected = layered(X, rows, ["dot", "linear"], ensemble, weights)
    np.testing.assert_allclose(layer(X), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "kinds", "rows", "ensemble"),
    [
        (1, ["linear"], None, "concat"),
        (2, ["dot", "cross"], None, "concat"),
        (2, ["dot", "cross"], None, "sum"),
        (2, ["dot", "cross"], 4, "concat"),
    ],
)
def test_member_stacks_fields_one_row_of_numbers_and_sequence_means(
    layers: int,
    kinds: Sequence[str],
    rows: int | None,
    ensemble: str,
    make_spec: Callable[..., DataSpec],
    randomise: Callable[..., None],
) -> None:
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "items": {"type": "sequence", "vocabulary": "item"},
            "age": {"type": "numeric"},
            "price": {"type": "numeric"},
        }
    )
    batch = {
        "item": np.array([1, 3]),
        "items": np.array([[2, 1, 0], [0, 0, 0]]),
        "age": np.array([0.5, -2.0], np.float32),
        "age/missing": np.array([0.0, 1.0], np.float32),
        "price": np.array([1.5, 0.0], np.float32),
        "price/missing": np.array([0.0, 1.0], np.float32),
    }
    options = {"layers": layers, "interactions": kinds, "rows": rows, "ensemble": ensemble}
    member = DhenMember(spec, {"item": 4}, embedding_dim=2, hidden=[3], **options)
    member(batch)
    randomise(member)
    weights = {
        variable.name.split("/", 1)[1]: variable.numpy().astype(np.float64) for variable in member.variables
    }
    table = weights["features/embeddings:0"]
    numbers = np.stack([batch[key] for key in ("age", "age/missing", "price", "price/missing")], axis=1)
    dense = numbers @ weights["rows/numbers/kernel:0"] + weights["rows/numbers/bias:0"]
    mean = np.stack([(table[2] + table[1]) / 2, np.zeros(2)])
    x = np.stack([table[[1, 3]], dense, mean], axis=1)  # [B, 3, 2]
    for name in (f"layer_{layer}/" for layer in range(layers)):
        own = {key.removeprefix(name): weight for key, weight in weights.items() if key.startswith(name)}
        x = layered(x, rows or 3, kinds, ensemble, own)
    kernel, bias = (weight for name, weight in weights.items() if name.startswith("mlp/"))
    expected = np.maximum(x.reshape(2, -1) @ kernel + bias, 0)
    np.testing.assert_allclose(member(batch).embedding, expected, rtol=1e-3, atol=1e-3)


def test_contract_of_an_interaction(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    assert_layer_contract(Interaction("cross", 3, rank=2, name="cross"), [X.astype(np.float32)], tmp_path)


def test_contract_of_a_layer_of_all_interactions(
    assert_layer_contract: Callable[..., None], tmp_path: Path
) -> None:
    layer = DhenLayer(INTERACTIONS, 3, rank=2, dropout=0.1, name="layer")
    assert_layer_contract(layer, [X.astype(np.float32)], tmp_path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"layers": 0}, r"`layers` must be 1 or more\. Received: layers=0"),
        ({"rows": 0}, r"`rows` and `rank` must be 1 or more\. Received: rows=0, rank=32"),
        ({"rank": 0}, r"`rows` and `rank` must be 1 or more\. Received: rows=\d+, rank=0"),
        (
            {"interactions": ["dots"]},
            r"one of dot, cross, attention, linear, convolution\. Received: kind='dots'",
        ),
        ({"interactions": []}, r"`interactions` must not be empty .* Received: interactions=\(\)"),
        ({"ensemble": "mean"}, r"`ensemble` must be concat or sum\. Received: .*ensemble='mean'"),
    ],
)
def test_options_outside_their_range_are_refused(
    option: dict, message: str, spec: DataSpec, sizes: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=message):
        DhenMember(spec, sizes, **option)
