"""Recipes from their files to a pushed model."""

import json
from pathlib import Path
from typing import Any

import pytest

from cetnet_keras.spec import load_model_spec


@pytest.mark.slow
def test_it_trains_is_measured_and_is_pushed(whole_run: Any) -> None:
    folder: Path = whole_run.folder
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    members = load_model_spec(folder / "model.yaml").members
    assert members is not None and set(metrics["members"]) == {member.type for member in members}
    assert metrics["fused"]["rows"] == 400
    assert len(list((folder / "run" / "serving" / folder.name).iterdir())) == 1
