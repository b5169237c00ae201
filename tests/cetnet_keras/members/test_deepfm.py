"""DeepFM against its formulas (arXiv 1703.04247) in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras import DataSpec
from cetnet_keras.members import DeepFmMember
from cetnet_keras.members.deepfm import FactorisationMachine


def pairs(rows: np.ndarray) -> np.ndarray:
    """Sum of v_i * v_j over all pairs i < j, one after another."""
    n = rows.shape[1]
    return sum(
        (rows[:, i] * rows[:, j] for i in range(n) for j in range(i + 1, n)), np.zeros_like(rows[:, 0])
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_machine_is_the_sum_over_all_pairs(examples: int, rows: int, width: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(examples, rows, width))
    found = FactorisationMachine()(x.astype(np.float32))
    np.testing.assert_allclose(found, pairs(x), rtol=1e-4, atol=1e-5)


def test_member_lays_first_order_pairs_and_mlp_side_by_side(
    make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(
        {
            "user": {"type": "categorical"},
            "item": {"type": "categorical", "role": "candidate"},
            "items": {"type": "sequence", "vocabulary": "item"},
            "age": {"type": "numeric"},
        }
    )
    member = DeepFmMember(spec, {"user": 2, "item": 4}, embedding_dim=3, hidden=[5])
    batch = {
        "user": np.array([1, 2]),
        "item": np.array([1, 3]),
        "items": np.array([[2, 1, 0], [0, 0, 0]]),
        "age": np.array([0.5, -2.0], np.float32),
        "age/missing": np.array([0.0, 1.0], np.float32),
    }
    member(batch)
    randomise(member)
    weights = {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in member.variables}
    table = weights["features/embeddings:0"]  # rows of the two users stand before those of the four items
    numbers = np.stack([batch["age"], batch["age/missing"]], axis=1)
    own = weights["numbers/vectors:0"]
    seen = np.stack([(table[4] + table[3]) / 2, np.zeros(3)])
    user, item = table[[1, 2]], table[[3, 5]]
    rows = np.stack([user, item, *(numbers[:, [k]] * own[k] for k in range(2)), seen], axis=1)
    first_order = rows @ weights["first_order/kernel:0"][:, 0]
    kernel, bias = (value for key, value in weights.items() if key.startswith("deep/"))
    deep = np.maximum(np.concatenate([user, item, numbers, seen], axis=1) @ kernel + bias, 0)
    expected = np.concatenate([first_order, pairs(rows), deep], axis=1)
    output = member(batch)
    np.testing.assert_allclose(output.embedding, expected, rtol=1e-4, atol=1e-5)
    logit = expected @ weights["logit/kernel:0"][:, 0] + weights["logit/bias:0"]
    np.testing.assert_allclose(output.logit, logit, rtol=1e-4, atol=1e-5)


def test_with_equal_weights_the_logit_is_that_of_a_factorisation_machine(
    spec: DataSpec, sizes: dict[str, int], batch: dict[str, np.ndarray]
) -> None:
    """The paper's sum of terms is one of the values that the projection can take."""
    member = DeepFmMember(spec, sizes, 4, hidden=[3])
    output = member(batch)
    kernel, bias = member._logit.get_weights()
    member._logit.set_weights([np.ones_like(kernel), np.zeros_like(bias)])
    np.testing.assert_allclose(
        member(batch).logit, output.embedding.numpy().sum(axis=1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("rows", [1, 3])
def test_contract_of_the_machine(
    rows: int, assert_layer_contract: Callable[..., None], tmp_path: Path
) -> None:
    x = np.random.default_rng(0).normal(size=(3, rows, 4)).astype(np.float32)
    assert_layer_contract(FactorisationMachine(name="pairs"), [x], tmp_path)
