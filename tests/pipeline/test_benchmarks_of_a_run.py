"""The benchmarks on the rows of a run: what one of them trained, another goes on from."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.training import train_once
from benchmarks.serving.__main__ import trained
from benchmarks.serving.exports import exports
from benchmarks.transformed_rows import Rows
from cetnet_keras.spec import ModelSpec


def test_a_training_of_one_benchmark_is_exported_by_the_other(first_run: Any, tmp_path: Path) -> None:
    rows = Rows.of(first_run.spec, first_run.output)
    members = [{"type": "mlp", "embedding_dim": 4, "hidden": [8]}]
    training = {"batch_size": 64, "epochs": 2, "learning_rate": 0.02}
    model_spec = ModelSpec.model_validate({"members": members, "training": training})
    found, arrays = train_once(rows, model_spec, 3, tmp_path)
    assert found["seed"] == 3 and len(arrays["test/ctr"]) == len(arrays["test/label"]) > 0
    run = tmp_path / "3.json"
    run.write_text(json.dumps(found), encoding="utf-8")
    described, weights = trained(run)
    assert described == model_spec and weights.exists()
    whole = next(exports(rows, described, tmp_path / "exports", False, weights))
    assert whole.test["auc"] == pytest.approx(found["test"]["fused"]["auc"], abs=1e-6), "calibration keeps it"
    assert (whole.folder / "saved_model.pb").exists()
