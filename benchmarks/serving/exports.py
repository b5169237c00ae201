"""Cheaper models of one training: tables of smaller numbers, and each member by itself with what it learned."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks.transformed_rows import Rows
from cetnet_keras.cetnet import CETNet
from cetnet_keras.single_member import one_member
from cetnet_keras.spec import ModelSpec
from pipeline.evaluate_split import EvalSplit
from pipeline.trainer import ServingTransform, make_model, train
from pipeline.transform import vocabulary_sizes
from pipeline.warmup_rows import warmup_requests
from serving.signatures import ServableModel
from serving.warmup import write_warmup

WARMUP = [1, 100, 500, 1000]
Columns = dict[str, np.ndarray]


class Export(NamedTuple):
    """A pushed model, as far as serving is concerned."""

    name: str
    folder: Path  # of the version
    test: dict[str, float]  # AUC, gAUC and log loss of the calibrated predictions on the test split
    megabytes: float  # variables and graph


def exports(
    rows: Rows, model_spec: ModelSpec, folder: Path, quick: bool, weights: Path | None
) -> Iterator[Export]:
    """Trains once, and exports the ensemble, the same with smaller tables, and each member alone.

    Args:
        rows: to train and measure on.
        model_spec: of the ensemble.
        folder: for the models.
        quick: one epoch: figures of quality mean nothing.
        weights: of a training of this ensemble on these rows, which is not repeated.
    """
    training = model_spec.training
    if quick:
        training = training.model_copy(update={"epochs": 1})
    tf.keras.utils.set_random_seed(training.seed)
    model = make_model(rows.spec, vocabulary_sizes(rows.spec, rows.transformed), model_spec)
    held_out, test = rows.split("eval"), rows.split("test")
    if weights is None:
        train(model, training, rows.files["train"], rows.transformed, held_out, folder / "training")
    else:
        model.load_weights(weights)
    members = model.member_names if len(model.member_names) > 1 else ()
    alone = {name: one_member(model, name) for name in members}
    transform = ServingTransform(rows.spec, rows.transformed)
    yield _export(rows, "cetnet", model, transform, (held_out, test), folder)
    for name, member in alone.items():
        yield _export(rows, name, member, transform, (held_out, test), folder)
    trained = model.get_weights()
    for dtype in ("float16", "int8"):
        smaller = make_model(rows.spec, model.vocabulary_sizes, model_spec)
        smaller.set_weights(trained)
        smaller.compress_tables(dtype)
        yield _export(rows, f"cetnet, {dtype} tables", smaller, transform, (held_out, test), folder)


def _export(
    rows: Rows,
    name: str,
    model: CETNet,
    transform: ServingTransform,
    splits: tuple[EvalSplit, EvalSplit],
    folder: Path,
) -> Export:
    held_out, test = splits
    model.calibrate(held_out.inputs, held_out.label, held_out.weight)
    version = folder / name.replace(", ", "_").replace(" ", "_") / "1"
    ServableModel(model, transform, {}).save(str(version))
    size = sum(os.path.getsize(path) for path in version.rglob("*") if path.is_file()) / 1e6
    write_warmup(version, warmup_requests(rows.spec, rows.transformed, WARMUP))
    measured = test.measure(model.predict(test.inputs, verbose=0)["ctr"])
    return Export(name, version, measured, round(size, 3))
