"""docs/keras.md: its program runs as it stands, learns, and the saved model answers the same."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "keras.md"


def test_its_program_learns_and_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(program, PAGE, "exec"), found)
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
