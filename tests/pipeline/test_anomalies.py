"""Data that no model should come of stop a run; where they are allowed, it goes on to what they lead to."""

from pathlib import Path
from typing import Any

import pytest

DATA = """\
name: clicks
label: click
features:
  user: {type: categorical}
  hour: {type: categorical, identity: 20}
splits: {files: clicks.csv, by: time, column: ts, eval: 0.2, test: 0.2}
"""
MODEL = """\
members: [{type: dcnv2, embedding_dim: 2, hidden: [4], cross_layers: 1}]
training: {batch_size: 64, epochs: 1, evaluations_per_epoch: 1}
"""


@pytest.fixture(scope="module")
def folder(project: Any, csv_rows: Any, write_csv: Any) -> Path:
    """Hours run to 23 where the spec says below 20, and no row of the last fifth of the time is a click."""
    made = project(data=DATA, model=MODEL)
    rows = csv_rows(made / "clicks.csv")
    last = sorted({int(row["ts"]) for row in rows})[-4:]
    write_csv(made / "clicks.csv", [row | {"click": "0"} if int(row["ts"]) in last else row for row in rows])
    return Path(made)


@pytest.fixture(scope="module")
def stopped(folder: Path, run_in: Any) -> Any:
    """A run as it is by default."""
    return run_in(folder)


@pytest.fixture(scope="module")
def allowed(stopped: Any, run_in: Any) -> Any:
    """The same run, told to go on."""
    return run_in(stopped.folder, "--allow-anomalies")


def test_anomalies_stop_the_run_and_name_split_and_column(stopped: Any) -> None:
    assert stopped.exit_code == 2, stopped.stdout + stopped.stderr
    error = stopped.stderr
    assert error.startswith("Error: ") and error.count("\n") == 1
    assert "train: hour: " in error and error.rstrip().endswith(
        "mend the data, or run with --allow-anomalies"
    )
    assert "Transform" not in stopped.states and stopped.metrics == {} and stopped.versions == []
    assert "Anomaly in train: hour: " in (stopped.output / "log.txt").read_text(encoding="utf-8")


def test_allowed_anomalies_let_the_run_go_on(allowed: Any) -> None:
    assert [allowed.states[name] for name in ("ExampleGen", "StatisticsGen")] == ["cached", "cached"]
    assert [allowed.states[name] for name in ("DataGate", "Trainer", "Evaluator")] == ["done"] * 3


def test_one_class_in_the_test_split_is_refused(allowed: Any) -> None:
    assert allowed.exit_code == 3, allowed.stdout + allowed.stderr
    assert allowed.stderr.startswith("Refused: ") and allowed.stderr.count("\n") == 1
    reason = "auc is n/a on the whole: none of its 80 rows is a click"
    assert reason in allowed.stderr and reason in allowed.metrics["reasons"]
    assert allowed.metrics["fused"]["auc"] is None and allowed.metrics["fused"]["log_loss"] > 0
    assert allowed.metrics["blessed"] is False and allowed.versions == []
    assert "n/a" in allowed.stdout


@pytest.fixture
def of_one_class(project: Any, csv_rows: Any, write_csv: Any) -> Any:
    """A function that makes a folder of three splits, one of which has one label alone."""

    def make(split: str, label: str) -> Path:
        splits = ("train", "eval", "test")
        made = project(data=DATA.replace("identity: 20", "identity: 24"), model=MODEL)
        rows = csv_rows(made / "clicks.csv")
        for name in splits:
            write_csv(
                made / f"{name}.csv", [row | {"click": label} for row in rows] if name == split else rows
            )
        files = ", ".join(f"{name}: {name}.csv" for name in splits)
        text = (made / "data.yaml").read_text(encoding="utf-8").partition("splits")[0]
        (made / "data.yaml").write_text(f"{text}splits: {{{files}}}\n", encoding="utf-8")
        return Path(made)

    return make


def test_what_is_allowed_on_an_eval_split_of_one_class_is_not_calibrated_to_it(
    of_one_class: Any, run_in: Any
) -> None:
    run = run_in(of_one_class("eval", "0"), "--allow-anomalies")
    assert run.metrics["fused"]["calibration"] > 0.5, run.stdout + run.stderr
    assert "No calibration: the eval split has one class alone" in (run.output / "log.txt").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(("split", "label"), [("train", "0"), ("eval", "1")])
def test_one_class_in_a_split_stops_the_run_before_it_trains(
    of_one_class: Any, run_in: Any, split: str, label: str
) -> None:
    run = run_in(of_one_class(split, label))
    assert run.exit_code == 3, run.stdout + run.stderr
    which = {"0": "none", "1": "each"}[label]
    found = f"Refused: {which} of the 400 rows of the {split} split is a click, expected both labels"
    assert run.stderr.startswith(found) and run.stderr.count("\n") == 1
    assert run.states["StatisticsGen"] == "done" and "Transform" not in run.states


def test_a_split_whose_rows_all_have_no_weight_stops_the_run(
    project: Any, csv_rows: Any, write_csv: Any, run_in: Any
) -> None:
    made = project(data=f"{DATA.replace('identity: 20', 'identity: 24')}weight: times\n", model=MODEL)
    write_csv(made / "clicks.csv", [row | {"times": "0"} for row in csv_rows(made / "clicks.csv")])
    run = run_in(made)
    assert run.exit_code == 2, run.stdout + run.stderr
    assert run.stderr.startswith("Error: times: found 0 in each of the ") and run.stderr.count("\n") == 1
    assert "rows of the train split, expected rows that count; give rows a weight above 0" in run.stderr
