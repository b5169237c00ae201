"""What a training step leaves as it was where its loss is no number."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec, LazyAdam


@pytest.mark.parametrize("eager", [True, False])
def test_a_step_whose_loss_is_no_number_moves_the_statistics_of_a_batch_norm_alone(
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
        return {
            f"{place} {v.name}": v.numpy() for place, v in enumerate(variables) if "moving_" not in v.name
        }

    before = state()
    with pytest.raises(tf.errors.InvalidArgumentError, match=CETNet.LOSS_CHECK):
        model.train_on_batch(batch | {"age": np.full(3, np.nan, np.float32)}, label, reset_metrics=False)
    for name, value in state().items():
        np.testing.assert_array_equal(value, before[name], name)
