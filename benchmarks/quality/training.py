"""One training: a model and a seed on a data set's rows, measured on the validation and the test split."""

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.transformed_rows import Rows
from cetnet_keras.metrics import calibration, normalised_entropy
from cetnet_keras.spec import ModelSpec
from pipeline.evaluate_split import EvalSplit
from pipeline.trainer import make_model, train
from pipeline.transform import vocabulary_sizes


def train_once(
    rows: Rows, model_spec: ModelSpec, seed: int, folder: Path
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Trains and measures, and leaves the weights in `folder`, as `weights_path` names them.

    Returns:
        what a run's JSON file holds, and by split and output ("test/ctr", "test/member_ctr", "test/label", "test/group")
        what paired tests and naive ensembles are made from.
    """
    training = model_spec.training.model_copy(update={"seed": seed})
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    sizes = vocabulary_sizes(rows.spec, rows.transformed)
    model = make_model(rows.spec, sizes, model_spec)
    splits = {name: rows.split(name) for name in ("eval", "test")}
    began = time.perf_counter()
    fit = train(model, training, rows.files["train"], rows.transformed, splits["eval"], folder / "training")
    seconds = time.perf_counter() - began
    found: dict[str, Any] = {
        "seed": seed,
        "model": model_spec.model_dump(mode="json", exclude_unset=True),
        "members": list(model.member_names),
        "parameters": int(model.count_params()),
        "embedding_parameters": int(
            sum(v.shape.num_elements() for v in model.trainable_variables if "embeddings" in v.name)
        ),
        "train_seconds": round(seconds, 1),
        "train_rows": fit.rows,
        "best_evaluation": fit.best + 1,
        "evaluations": len(fit.history["loss"]),
        "history": {key: [round(float(v), 5) for v in values] for key, values in fit.history.items()},
        "versions": {"tensorflow": tf.__version__, "python": platform.python_version()},
    }
    model.save_weights(weights_path(folder, seed))
    arrays: dict[str, np.ndarray] = {}
    for name, split in splits.items():
        output = model.predict(split.inputs, verbose=0)
        arrays |= {
            f"{name}/{key}": output[key].astype(np.float32) for key in ("ctr", "member_ctr", "fusion_weight")
        }
        arrays |= {f"{name}/label": split.label.astype(np.int8)}
        if split.group is not None:
            arrays[f"{name}/group"] = split.group
        found[name] = {"fused": measured(split, output["ctr"])} | {
            member: measured(split, output["member_ctr"][:, m]) for m, member in enumerate(model.member_names)
        }
    return found, arrays


def weights_path(folder: Path, seed: int) -> Path:
    """Where a run's weights are, beside its JSON file."""
    return folder / f"{seed}.weights.h5"


def measured(split: EvalSplit, ctr: np.ndarray) -> dict[str, float]:
    """auc, gauc, gauc_mean, log_loss, calibration and normalised_entropy of predictions [N]."""
    figures = split.measure(ctr)
    figures["calibration"] = calibration(split.label, ctr)
    figures["normalised_entropy"] = normalised_entropy(split.label, ctr)
    return {key: round(value, 6) for key, value in figures.items()}
