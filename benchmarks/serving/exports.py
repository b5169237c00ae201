"""Cheaper models of one training: tables of smaller numbers, and each member by itself with what it learned."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from cetnet_keras.cetnet import CETNet
from cetnet_keras.single_member import one_member
from cetnet_keras.spec import DataSpec, ModelSpec
from pipeline.artifacts import required_outputs
from pipeline.dataset import transformed_batches
from pipeline.evaluate_split import EvalSplit
from pipeline.trainer import EVAL_BATCH, ServingTransform, make_model, optimizer_of, train
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


class Run(NamedTuple):
    """What a run of the pipeline left: its specs and its transformed rows."""

    spec: DataSpec
    model_spec: ModelSpec
    transformed: tft.TFTransformOutput
    files: dict[str, list[str]]

    @classmethod
    def of(cls, spec: DataSpec, model_spec: ModelSpec, output: Path) -> "Run":
        """Of the folder that `cetnet run` wrote to."""
        outputs = required_outputs(output / "tfx" / "metadata.sqlite", spec.name, "Transform")
        examples = outputs.folder("transformed_examples")
        files = {split: [str(examples / f"Split-{split}" / "*")] for split in ("train", "eval", "test")}
        transformed = tft.TFTransformOutput(str(outputs.folder("transform_graph")))
        return cls(spec, model_spec, transformed, files)

    def split(self, name: str) -> EvalSplit:
        """The rows of a split."""
        return EvalSplit.read(self.spec, transformed_batches(self.files[name], self.transformed, EVAL_BATCH))

    def requests(self, sizes: list[int]) -> list[tuple[str, Columns]]:
        """The warm-up requests of these sizes."""
        return list(warmup_requests(self.spec, self.transformed, sizes))


def exports(run: Run, folder: Path, quick: bool) -> Iterator[Export]:
    """Trains once, and exports the ensemble, the same with smaller tables, and each member alone.

    Args:
        run: rows and specs.
        folder: for the models.
        quick: one epoch: figures of quality mean nothing.
    """
    training = run.model_spec.training
    if quick:
        training = training.model_copy(update={"epochs": 1})
    tf.keras.utils.set_random_seed(training.seed)
    model = make_model(run.spec, vocabulary_sizes(run.spec, run.transformed), run.model_spec)
    model.compile(optimizer=optimizer_of(training))
    held_out, test = run.split("eval"), run.split("test")
    train(model, training, run.files["train"], run.transformed, held_out, folder / "training")
    members = model.member_names if len(model.member_names) > 1 else ()
    alone = {name: one_member(model, name) for name in members}
    transform = ServingTransform(run.spec, run.transformed)
    yield _export(run, "cetnet", model, transform, (held_out, test), folder)
    for name, member in alone.items():
        yield _export(run, name, member, transform, (held_out, test), folder)
    weights = model.get_weights()
    for dtype in ("float16", "int8"):
        smaller = make_model(run.spec, model.vocabulary_sizes, run.model_spec)
        smaller.set_weights(weights)
        smaller.compress_tables(dtype)
        yield _export(run, f"cetnet, {dtype} tables", smaller, transform, (held_out, test), folder)


def _export(
    run: Run,
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
    write_warmup(version, run.requests(WARMUP))
    measured = test.measure(model.predict(test.inputs, verbose=0)["ctr"])
    return Export(name, version, measured, round(size, 3))
