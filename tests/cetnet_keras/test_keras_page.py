"""docs/keras.md: its programs run as they stand, learn, and the saved models answer the same."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras.metrics import auc

PAGE = Path(__file__).parents[2] / "docs" / "keras.md"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def variables_of(program: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(program, PAGE, "exec"), found)
    return found


def test_fifteen_lines_learn_and_save(programs: list[str]) -> None:
    assert len([line for line in programs[0].splitlines() if line]) <= 15
    found = variables_of(programs[0])
    assert auc(found["label"], found["answer"]["ctr"]) > 0.95
    again = tf.keras.models.load_model("cetnet.keras").predict(found["inputs"], verbose=0)["ctr"]
    np.testing.assert_allclose(again, found["answer"]["ctr"], rtol=1e-5)


def test_the_program_from_text_learns_and_saves(programs: list[str]) -> None:
    found = variables_of(programs[1])
    log = found["history"].history
    assert log["auc"][-1] > 0.95 and log["loss_fused"][-1] < log["loss_fused"][0]
    assert {key: value.shape for key, value in found["answer"].items()} == {
        "ctr": (2000,),
        "member_ctr": (2000, 2),
        "fusion_weight": (2000, 2),
        "confidence": (2000, 2),
    }
    again = found["same"].predict(found["inputs"], verbose=0)["ctr"]
    np.testing.assert_allclose(again, found["answer"]["ctr"], rtol=1e-5)
    own_words = ("loss_fused", "loss_dcnv2", "loss_dhen", "loss_collaboration")
    assert set(own_words) <= set(log)
