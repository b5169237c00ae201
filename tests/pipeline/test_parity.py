"""What the parity gate measures of a model that was pushed, and the bounds that it keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.gates import Gates
from pipeline.parity import TOLERANCE, check_parity
from pipeline.served_model import ServedModel
from pipeline.trainer import OFFLINE_SCORES

SIGNATURES = ("serving_default", "explain", "examples", "rank")


def test_a_run_says_how_its_model_is_served(first_run: Any) -> None:
    served = ServedModel.model_validate(first_run.metrics["served"])
    assert served.rows == 80
    paths = [f"{protocol} {signature}" for protocol in ("gRPC", "REST") for signature in SIGNATURES]
    assert list(served.largest_difference) == paths
    assert 0 <= max(served.largest_difference.values()) <= TOLERANCE
    assert all(0 < latency.p50 <= latency.p99 for latency in served.latency_ms.values())
    assert set(served.latency_ms) == {path for path in paths if path.endswith(("default", "rank"))}
    version: Path = first_run.serving / first_run.versions[0]
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    assert served.model_mb == round(size / 1e6, 3) and 100 < served.memory_mb < 10_000


def test_a_bound_that_is_passed_and_a_row_that_is_off_are_named(first_run: Any, tmp_path: Path) -> None:
    offline = dict(np.load(first_run.artifact("Trainer", "model_run") / OFFLINE_SCORES))
    offline["ctr"] = offline["ctr"].copy()
    offline["ctr"][7] += 0.25
    np.savez(tmp_path / "scores.npz", **offline)
    served, failures = check_parity(
        first_run.spec,
        Gates(max_model_mb=0.001, max_memory_mb=10_000),
        first_run.serving / first_run.versions[0],
        tmp_path / "scores.npz",
        first_run.artifact("ExampleGen", "examples") / "Split-eval",
    )
    assert served is not None and served.largest_difference["REST rank"] == pytest.approx(0.25, abs=1e-4)
    assert failures[-1] == f"serving: size of the model, MB: found {served.model_mb:g}, more than 0.001"
    assert len(failures) == 9 and all("ctr: row " in line and "off by 0.25" in line for line in failures[:8])
