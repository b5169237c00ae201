"""The rows that a run of the pipeline transformed, for a benchmark to train and measure on."""

from pathlib import Path
from typing import NamedTuple

import tensorflow_transform as tft

from cetnet_keras.spec import DataSpec
from pipeline.artifacts import required_outputs
from pipeline.dataset import transformed_batches
from pipeline.evaluate_split import EvalSplit
from pipeline.trainer import EVAL_BATCH


class Rows(NamedTuple):
    """A data set as training takes it."""

    spec: DataSpec
    transformed: tft.TFTransformOutput
    files: dict[str, list[str]]  # patterns of each split: train, eval, test

    @classmethod
    def of(cls, spec: DataSpec, run: Path) -> "Rows":
        """Of the folder that `cetnet run` wrote to. Raises WorkFailed where Transform left nothing there."""
        outputs = required_outputs(run / "tfx" / "metadata.sqlite", spec.name, "Transform")
        examples = outputs.folder("transformed_examples")
        files = {split: [str(examples / f"Split-{split}" / "*")] for split in ("train", "eval", "test")}
        return cls(spec, tft.TFTransformOutput(str(outputs.folder("transform_graph"))), files)

    def split(self, name: str) -> EvalSplit:
        """The rows of a split, to be measured."""
        batches = transformed_batches(self.files[name], self.transformed, EVAL_BATCH)
        return EvalSplit.read(self.spec, batches)
