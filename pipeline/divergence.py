"""What to say, and what to keep, where the loss of a training step is no number."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from cetnet_keras.cetnet import CETNet
from cetnet_keras.embeddings import dense_names
from cetnet_keras.errors import WorkFailed
from cetnet_keras.input_signature import NUMBERS_CHECK

_LARGE = 1e18  # its square is beyond float32
LAST_GOOD = "last_good"  # folder beside the model runs': those of a failed run are removed


def diverged(
    model: CETNet, batch: Mapping[str, np.ndarray], best: list[np.ndarray] | None, run_dir: Path
) -> WorkFailed:
    """The error to raise. Writes the best weights so far as a model, where there are any.

    Args:
        model: as the last sound step left it.
        batch: the FeatureBatch of the step that failed.
        best: weights of the best evaluation, as `model.get_weights()` gives them.
        run_dir: of the training.
    """
    step = int(model.optimizer.iterations.numpy()) + 1
    found = f"the loss or its gradient in training step {step} is not a number"
    bad = bad_features(model, batch)
    cause = "no feature has such values: lower `learning_rate`, or set `gradient_clip_norm`"
    if bad:
        cause = f"its batch has {bad[0]}: mend the rows, or give the feature another `transform`"
    kept = "no evaluation came before, so nothing is kept"
    if best is not None:
        model.set_weights(best)
        path = run_dir.parent / LAST_GOOD / f"{run_dir.name}.keras"
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
        kept = f"the best weights before it are kept: {path}"
    logging.error("%s; %s", found, "; ".join(bad) or "all features are finite and below 1e18")
    return WorkFailed(f"{found}; {cause}; {kept}")


def bad_features(model: CETNet, batch: Mapping[str, np.ndarray]) -> list[str]:
    """The numbers and vectors of a batch that hold what no model can learn from, each with its worst value."""
    found = []
    for name in dense_names(model.spec):
        values = np.abs(np.asarray(batch[name], np.float64))
        worst = np.max(np.where(np.isfinite(values), values, np.inf), initial=0)
        if worst > _LARGE:
            found.append(
                f"{name!r} as large as {worst:.3g}" if np.isfinite(worst) else f"{name!r} not finite"
            )
    return found


def is_divergence(error: tf.errors.InvalidArgumentError) -> bool:
    """Whether it is what a training step of CETNet raises where its loss or gradient is no number, or would be none."""
    return any(check in error.message for check in (CETNet.LOSS_CHECK, CETNet.GRADIENT_CHECK, NUMBERS_CHECK))
