"""What a training step leaves as it was where its loss is no number, or would be none."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec, LazyAdam
from cetnet_keras.input_signature import NUMBERS_CHECK


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize(
    ("age", "said", "statistics_move"),
    [
        (np.nan, rf"{NUMBERS_CHECK}(?s:.*)not finite:(?s:.*)\bage\b", False),
        (np.inf, rf"{NUMBERS_CHECK}(?s:.*)not finite:(?s:.*)\bage\b", False),
        (3e38, CETNet.LOSS_CHECK, True),
    ],
)
def test_an_unsound_step_moves_the_statistics_of_a_batch_norm_at_most(
    age: float,
    said: str,
    statistics_move: bool,
    eager: bool,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: dict[str, Any],
    label: np.ndarray,
    tiny_members: list[dict[str, Any]],
) -> None:
    model = CETNet(spec, sizes, [tiny_members[2] | {"batch_norm": True}], fusion={"confidence": "base_rate"})
    auc = tf.keras.metrics.AUC(name="auc")
    model.compile(LazyAdam(0.1), metrics=[auc], run_eagerly=eager)
    model.train_on_batch(batch, label)

    def state() -> dict[str, np.ndarray]:
        variables = [*model.variables, *auc.variables, *model.optimizer.variables]
        return {f"{place} {v.name}": v.numpy() for place, v in enumerate(variables)}

    before = state()
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        model.train_on_batch(batch | {"age": np.full(3, age, np.float32)}, label, reset_metrics=False)
    moved = {name for name, value in state().items() if not np.array_equal(value, before[name])}
    assert all("moving_" in name for name in moved) and bool(moved) == statistics_move


def test_a_number_that_half_precision_does_not_have_is_named(
    spec: DataSpec, sizes: dict[str, int], batch: dict[str, Any], tiny_members: list[dict[str, Any]]
) -> None:
    large = batch | {"age": np.full(3, 1e5, np.float32)}
    said = r"scale what is above 65504, the largest of float16; not finite:(?s:.*)\bage\b"
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        CETNet(spec, sizes, [tiny_members[2]], dtype="mixed_float16").predict(large, verbose=0)
    assert np.isfinite(CETNet(spec, sizes, [tiny_members[2]]).predict(large, verbose=0)["ctr"]).all()


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("member", [0, 1, 2])
@pytest.mark.parametrize("fusion", [{"type": "paper"}, {"type": "logit_mixture", "detach_members": True}])
def test_a_number_that_overflows_within_a_member_ruins_no_weight(
    fusion: dict[str, Any],
    member: int,
    eager: bool,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: dict[str, Any],
    label: np.ndarray,
    tiny_members: list[dict[str, Any]],
) -> None:
    # an MLP that ends in a ReLU can make 0 of NaN, so that the loss alone shows nothing
    tf.keras.utils.set_random_seed(3)  # where all its units are off, nothing overflows
    model = CETNet(spec, sizes, [tiny_members[member]], fusion=fusion)
    model.compile(LazyAdam(0.1), run_eagerly=eager)
    model.train_on_batch(batch, label)
    before = [variable.numpy() for variable in model.trainable_variables]
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.train_on_batch(batch | {"age": np.full(3, 3e38, np.float32)}, label)
    np.testing.assert_equal([variable.numpy() for variable in model.trainable_variables], before)
