"""`cetnet evaluate`: a pushed model measured once more says what its run said; what does not fit is one clear error."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def evaluate(run_cetnet: Any, data: Path, model: Path, *more: object) -> Any:
    return run_cetnet("evaluate", "--data", data, "--model", model, *more)


def test_the_test_split_has_the_figures_of_the_run(first_run: Any, run_cetnet: Any, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    result = evaluate(run_cetnet, first_run.folder / "data.yaml", first_run.serving, "--output", path)
    assert result.exit_code == 0, result.output
    found, expected = json.loads(path.read_text(encoding="utf-8")), first_run.metrics
    assert set(found) == set(expected) - {"served"} and found["rows"] == expected["rows"] == 80
    assert found["fused"] == pytest.approx(expected["fused"], abs=1e-6, nan_ok=True)
    assert list(found["members"]) == list(expected["members"]) == ["cross", "din"]
    for name, figures in expected["members"].items():
        assert found["members"][name] == pytest.approx(figures, abs=1e-6)
    assert [part["values"] for part in found["slices"]] == [part["values"] for part in expected["slices"]]
    assert len(found["slices"]) == 6
    for part, same in zip(found["slices"], expected["slices"], strict=True):
        assert _numbers(part) == pytest.approx(_numbers(same), abs=1e-6)
    assert (found["blessed"], found["reasons"]) == (True, [])
    assert "fused" in result.stdout and f"{expected['fused']['auc']:.4f}" in result.stdout


def _numbers(part: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in part.items() if key != "values" and value is not None}


def test_a_process_that_measures_a_model_ends_without_a_word(first_run: Any) -> None:
    files = ["--data", first_run.folder / "data.yaml", "--model", first_run.serving]
    cetnet = [sys.executable, "-m", "cetnet_keras.cli", "evaluate", *map(str, files)]
    ended = subprocess.run(cetnet, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout


def test_another_split_is_measured_with_a_version_named(first_run: Any, tmp_path: Path) -> None:
    from pipeline.evaluate_model import evaluate_model

    steps: list[tuple[str, str]] = []
    unsliced = first_run.spec.model_copy(update={"slices": [[]]})
    version = first_run.serving / first_run.versions[0]
    document = evaluate_model(unsliced, first_run.folder, version, "eval", lambda *step: steps.append(step))
    offline = dict(np.load(first_run.artifact("Trainer", "model_run") / "offline_scores.npz"))
    clicks = document["fused"]["clicks"]
    assert document["rows"] == len(offline["ctr"]) == 80
    assert document["fused"]["calibration"] == pytest.approx(offline["ctr"].sum() / clicks, rel=1e-5)
    assert steps == [(name, state) for name in ("ExampleGen", "Evaluator") for state in ("running", "done")]


def one_line(result: Any, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("Error: ")
    assert all(word in result.stderr for word in words), result.stderr


def test_a_folder_without_a_model_of_ours_is_named(first_run: Any, run_cetnet: Any, tmp_path: Path) -> None:
    data = first_run.folder / "data.yaml"
    one_line(evaluate(run_cetnet, data, tmp_path / "nowhere"), str(tmp_path / "nowhere"))
    one_line(evaluate(run_cetnet, data, tmp_path), str(tmp_path), "version")
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    one_line(evaluate(run_cetnet, data, tmp_path), str(tmp_path / "saved_model.pb"), "no SavedModel")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    one_line(evaluate(run_cetnet, data, tmp_path), str(tmp_path), "expected serving_default and examples")


CHANGES = {
    "a column that the files have not": (("price:", "prize:"), ["clicks.csv", "'prize'", "'price'"]),
    "an input that the spec has not": (
        ("  device: {type: categorical, hash_buckets: 16}\n", ""),
        ["device", "string"],
    ),
    "an input of another type": (("dtype: int64, ", ""), ["shop", "string", "int64"]),
    "a slice that the model does not know": (("[shop], ", "[hour], "), ["'hour'", "slices"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_spec_that_does_not_fit_is_refused_in_one_line(
    first_run: Any, run_cetnet: Any, tmp_path: Path, change: str
) -> None:
    (old, new), words = CHANGES[change]
    text = (first_run.folder / "data.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tmp_path / "data.yaml").write_text(text.replace(old, new), encoding="utf-8")
    (tmp_path / "clicks.csv").symlink_to(first_run.folder / "clicks.csv")
    one_line(evaluate(run_cetnet, tmp_path / "data.yaml", first_run.serving), *words)


def test_a_wrong_row_is_named(
    first_run: Any, run_cetnet: Any, csv_rows: Any, write_csv: Any, tmp_path: Path
) -> None:
    rows = csv_rows(first_run.folder / "clicks.csv")
    rows[6]["click"] = "maybe"
    write_csv(tmp_path / "clicks.csv", rows)
    (tmp_path / "data.yaml").write_bytes((first_run.folder / "data.yaml").read_bytes())
    result = evaluate(run_cetnet, tmp_path / "data.yaml", first_run.serving)
    one_line(result, f"{tmp_path / 'clicks.csv'}:8: row 7: column click: found 'maybe', expected 0 or 1")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(first_run: Any, run_cetnet: Any) -> None:
    data = first_run.folder / "data.yaml"
    result = evaluate(run_cetnet, data, first_run.serving, "--output", data / "metrics.json")
    one_line(result, str(data))
    assert result.stdout == ""
