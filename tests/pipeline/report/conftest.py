"""A report's data as a run would leave it, made from random rows, whose every part a test can replace."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from cetnet_keras import metrics
from pipeline.gates import Gates
from pipeline.report.data import (
    FUSED,
    ColumnStatistics,
    Curve,
    Metrics,
    ReportData,
    RunMetrics,
    SliceMetrics,
    SplitStatistics,
)
from pipeline.run_record import ComponentTime, RunRecord
from pipeline.score_buckets import score_buckets
from pipeline.training_diagnostics import ensemble_summary
from pipeline.training_record import FeatureCoverage, TableHealth, TrainingRecord

DATA = """\
name: clicks
label: click
features:
  user: {type: categorical}
  price: {type: numeric, role: candidate}
splits: {train: a.csv, eval: b.csv, test: c.csv}
"""


class Scored(NamedTuple):
    """The rows of a test split."""

    label: np.ndarray  # [N]
    ctr: dict[str, np.ndarray]  # by FUSED and member, [N]


@pytest.fixture(scope="session")
def scored() -> Callable[..., Scored]:
    """(names of the members, rows) -> Scored, calibrated, with about 30 % clicks."""

    def make(members: tuple[str, ...] = ("dhen", "dcnv2"), rows: int = 5000) -> Scored:
        rng = np.random.default_rng(0)
        z = rng.normal(-1, 1, rows)
        label = (rng.random(rows) < _sigmoid(z)).astype(int)
        noisy = {name: _sigmoid(z + rng.normal(0, 0.5, rows)) for name in members}
        return Scored(label, {FUSED: _sigmoid(z)} | noisy)

    return make


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@pytest.fixture(scope="session")
def report_of() -> Callable[..., ReportData]:
    """(Scored, name=part of the data, ...) -> ReportData."""

    def make(rows: Scored, **parts: Any) -> ReportData:
        members = [name for name in rows.ctr if name != FUSED]
        made = {
            "run": run_record(members),
            "metrics": RunMetrics(
                rows=len(rows.label),
                fused=figures(rows.label, rows.ctr[FUSED]),
                members={name: figures(rows.label, rows.ctr[name]) for name in members},
                slices=[],
                blessed=True,
                reasons=[],
            ),
            "curves": {name: Curve.of(score_buckets(rows.label, ctr)) for name, ctr in rows.ctr.items()},
            "training": training_record(members, rows),
            "splits": [
                SplitStatistics(split=split, rows=100, click_rate=0.3, anomalies=[])
                for split in ("train", "eval", "test")
            ],
            "columns": [
                ColumnStatistics(column="user", distinct=9),
                ColumnStatistics(column="price", mean=3.5, low=-1, high=7),
            ],
        }
        return ReportData.model_validate(made | parts)

    return make


def figures(label: np.ndarray, ctr: np.ndarray) -> Metrics:
    """As metrics.json has them; without groups there is no group AUC."""
    return Metrics(
        rows=len(label),
        clicks=int(label.sum()),
        auc=metrics.auc(label, ctr),
        log_loss=metrics.log_loss(label, ctr),
        calibration=metrics.calibration(label, ctr),
    )


def run_record(members: list[str], **parts: Any) -> RunRecord:
    """Of a run that was blessed."""
    names = "".join(f"  - {{type: dhen, name: {name}}}\n" for name in members)
    made: dict[str, Any] = {
        "name": "clicks",
        "began": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T03:05:00+00:00",
        "data_text": DATA,
        "model_text": f"members:\n{names}training: {{seed: 1234}}\n",
        "members": members,
        "code": "c0de" * 16,
        "gates": Gates(),
        "allow_anomalies": False,
        "pushed": "run/serving/clicks/7",
        "versions": {"Python": "3.10.1", "tfx": "1.16.0"},
        "machine": "a machine",
        "components": [
            ComponentTime(component="ExampleGen", state="cached", seconds=0.1),
            ComponentTime(component="Trainer", state="done", seconds=12.34),
        ],
    }
    return RunRecord.model_validate(made | parts)


def training_record(members: list[str], rows: Scored) -> TrainingRecord:
    """Of four evaluations, two a pass; the third was the best."""
    names = ["fused", *members, "collaboration"]
    history = {"loss": [1.0] * 4} | {f"loss_{name}": [0.7, 0.6, 0.55, 0.5] for name in names}
    for prefix in ("", *(f"{name}_" for name in members)):
        history |= {
            f"eval_{prefix}auc": [0.6, 0.7, 0.75, 0.74],
            f"eval_{prefix}log_loss": [0.7, 0.6, 0.5, 0.6],
        }
    member_ctr = np.stack([rows.ctr[name] for name in members], axis=1)
    return TrainingRecord(
        train_rows=7700,
        eval_rows=1100,
        evaluations_per_epoch=2,
        monitored="eval_auc",
        best=2,
        history=history,
        tables=[
            TableHealth(
                member=members[0], feature="user", rows=10, width=16, abundance=3.25,
                norm_low=0.1, norm_median=0.2, norm_high=0.3, untrained=0.125,
            )
        ],
        coverage=[
            FeatureCoverage(feature="user", rows=1100, missing=0.02, tokens=1078, unseen=0.0625),
            FeatureCoverage(feature="price", rows=1100, missing=0.25, tokens=None, unseen=None),
        ],
        ensemble=ensemble_summary(members, member_ctr, member_ctr / member_ctr.sum(axis=1, keepdims=True)),
    )  # fmt: skip


@pytest.fixture(scope="session")
def slice_of() -> Callable[..., SliceMetrics]:
    """(values, rows, clicks, auc) -> a slice."""

    def make(values: dict[str, str], rows: int, clicks: int, auc: float | None) -> SliceMetrics:
        return SliceMetrics(values=values, rows=rows, clicks=clicks, auc=auc, log_loss=0.5, calibration=1.0)

    return make


@pytest.fixture(scope="session")
def run_of() -> Callable[..., RunRecord]:
    """(members, name=value, ...) -> what was run."""
    return run_record
