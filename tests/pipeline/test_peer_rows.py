"""The rows that other packages' models are trained on in the benchmark: ours, as arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_transform as tft

from benchmarks.quality.peers.rows import write_rows
from benchmarks.transformed_rows import Rows
from pipeline.dataset import transformed_batches
from pipeline.transform import GROUP_KEY, vocabulary_sizes


def test_arrays_are_the_rows_that_ours_are_trained_on(first_run: Any, tmp_path: Path) -> None:
    graph = tft.TFTransformOutput(str(first_run.artifact("Transform", "transform_graph")))
    examples = first_run.artifact("Transform", "transformed_examples")
    files = {split: [str(examples / f"Split-{split}" / "*")] for split in ("train", "eval", "test")}
    of_ids = {name: first_run.spec.features[name] for name in ("item", "shop", "before")}
    spec = first_run.spec.model_copy(update={"features": of_ids})
    write_rows(Rows(spec, graph, files), tmp_path / "arrays")
    sizes = vocabulary_sizes(spec, graph)
    assert json.loads((tmp_path / "arrays" / "features.json").read_text()) == {
        "item": {"vocab_size": sizes["item"] + 2},
        "shop": {"vocab_size": sizes["shop"] + 2},
        "before": {"vocab_size": sizes["item"] + 2, "max_len": 5, "target": "item"},
    }
    for split, patterns in files.items():
        found = np.load(tmp_path / "arrays" / f"{split}.npz")
        (batch,) = transformed_batches(patterns, graph, 10_000)
        for key, source in {"item": "item", "shop": "shop", "label": spec.label, "group": GROUP_KEY}.items():
            np.testing.assert_array_equal(found[key], batch[source])
        width = batch["before"].shape[1]
        np.testing.assert_array_equal(found["before"][:, :width], batch["before"])
        assert found["before"].shape == (len(found["label"]), 5) and not found["before"][:, width:].any()
        assert found["item"].max() < sizes["item"] + 2
