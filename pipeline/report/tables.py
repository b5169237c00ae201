"""What the tables and sentences of a report say."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from cetnet_keras.spec import DataSpec, ModelSpec, parse_spec
from pipeline.report.data import ColumnStatistics, Metrics, ReportData, SliceMetrics
from pipeline.served_model import bounds_of_serving
from pipeline.summary import METRIC_HEADS
from pipeline.training_record import FeatureCoverage


class GateRow(NamedTuple):
    """One bound that the model had to keep."""

    what: str
    found: str
    allowed: str
    passed: bool


class SliceRow(NamedTuple):
    """One slice."""

    name: str
    figures: SliceMetrics
    rate: float | None  # share of rows clicked
    error: float | None  # standard error of AUC
    change: float | None  # AUC against that of the whole


class FeatureRow(NamedTuple):
    """One feature of the spec."""

    name: str
    type: str
    role: str
    column: ColumnStatistics | None
    coverage: FeatureCoverage | None


def gate_rows(data: ReportData) -> Iterator[GateRow]:
    """The bounds of this run's gates and how near the model came; a value on a bound passes."""
    gates, fused, baseline = data.run.gates, data.metrics.fused, data.metrics.baseline
    low, high = gates.min_calibration, gates.max_calibration
    yield _between("AUC", fused.auc, gates.min_auc, math.inf)
    if gates.max_log_loss is not None:
        yield _between("log loss", fused.log_loss, -math.inf, gates.max_log_loss)
    yield _between("calibration", fused.calibration, low, high)
    if baseline is not None:
        drop = _minus(baseline.auc, fused.auc)
        yield _between("AUC below the last blessed model's", drop, -math.inf, gates.max_auc_drop)
        rise = _minus(fused.log_loss, baseline.log_loss)
        yield _between("log loss above the last blessed model's", rise, -math.inf, gates.max_log_loss_rise)
    differences = [reason for reason in data.metrics.reasons if reason.startswith("parity: ")]
    found = "other" if differences else "the same"
    yield GateRow("a fresh server's answers against training", found, "the same to 1e-5", not differences)
    for what, measured, bound in bounds_of_serving(data.metrics.served, gates):
        if bound is not None:
            yield _between(what, measured, -math.inf, bound)


def _between(what: str, found: float | None, low: float, high: float) -> GateRow:
    bounds = [f"{low:g} or more"] * math.isfinite(low) + [f"{high:g} or less"] * math.isfinite(high)
    passed = found is not None and low <= found <= high
    return GateRow(what, "n/a" if found is None else f"{found:.4f}", ", ".join(bounds), passed)


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def sentences(data: ReportData) -> Iterator[str]:
    """What the figures mean, in plain words."""
    fused, members = data.metrics.fused, data.metrics.members
    if fused.auc is not None:
        yield (
            f"Of a clicked row and one that is not, the model scores the clicked one higher in {fused.auc:.1%} of "
            f"all pairs of the test split (AUC {fused.auc:.4f}; guessing has 50%)."
        )
    if fused.calibration is not None:
        yield f"It predicts {fused.calibration:.2f} clicks for each that happened."
    known = {name: found.auc for name, found in members.items() if found.auc is not None}
    if len(known) > 1 and fused.auc is not None:
        best = max(known, key=lambda name: known[name])
        yield f"Fused, the AUC is {_against(fused.auc, known[best])} the best member's ({best})."
    if data.metrics.baseline is not None and data.metrics.baseline.auc is not None and fused.auc is not None:
        yield f"The AUC is {_against(fused.auc, data.metrics.baseline.auc)} the last blessed model's on the same rows."
    worst = next(iter(slice_rows(data)), None)
    if worst is not None and worst.figures.auc is not None:
        yield f"The worst slice is {worst.name}: AUC {worst.figures.auc:.4f} on {worst.figures.rows:,} rows."
    anomalies = sum(len(split.anomalies) for split in data.splits)
    yield f"The data have {anomalies or 'no'} anomal{'y' if anomalies == 1 else 'ies'} against their schema."


def _against(value: float, other: float) -> str:
    """Such as `0.0012 above`, or `equal to` where four digits show no difference."""
    if f"{abs(value - other):.4f}" == "0.0000":
        return "equal to"
    return f"{abs(value - other):.4f} {'above' if value > other else 'below'}"


def training_sentence(data: ReportData) -> str:
    """How long it trained and which weights it kept."""
    training = data.training
    done = max((len(values) for values in training.history.values()), default=0)
    parts, kept = training.evaluations_per_epoch, training.best + 1
    value = training.history.get(training.monitored, [])[training.best : kept]
    metric = METRIC_HEADS[training.monitored.removeprefix("eval_")]
    found = f" ({metric} {value[0]:.4f} on the eval split)" if value and value[0] is not None else ""
    which = f"the weights after pass {kept / parts:g} were kept{found}"
    if training.own_best:
        own = ", ".join(f"{name} {(place + 1) / parts:g}" for name, place in training.own_best.items())
        which = f"each member was kept as it did best by itself, after pass {own}, which is better than any pass{found}"
    made = f"Training made {done / parts:g} passes over {training.train_rows:,} rows"
    return f"{made} and was measured {done} times; {which}."


def fusion_sentence(model: ModelSpec) -> str:
    """What the weights below are good for in this model."""
    kind = model.fusion.type
    if kind == "gate":
        return "Fusion (gate) weighs each member, row by row, as it has learned to."
    if kind in ("mean", "logit_mean"):
        return f"Fusion ({kind}) takes all members alike."
    return f"Fusion ({kind}) weighs each member, row by row, by how sure it is."


def slice_rows(data: ReportData) -> list[SliceRow]:
    """By AUC of the fused CTR, the worst first; those without an AUC last."""
    rows = [_slice_row(part, data.metrics.fused) for part in data.metrics.slices]
    return sorted(rows, key=lambda row: (row.figures.auc is None, row.figures.auc, row.name))


def _slice_row(part: SliceMetrics, whole: Metrics) -> SliceRow:
    name = ", ".join(f"{key} = {value}" for key, value in part.values.items())
    rate = part.clicks / part.rows if part.rows else None
    return SliceRow(name, part, rate, auc_error(part), _minus(part.auc, whole.auc))


def auc_error(figures: Metrics) -> float | None:
    """Standard error of an AUC by Hanley and McNeil (1982), from the AUC and the rows of either label."""
    a, clicks, others = figures.auc, figures.clicks, figures.rows - figures.clicks
    if a is None or not clicks or not others:
        return None
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    variance = a * (1 - a) + (clicks - 1) * (q1 - a**2) + (others - 1) * (q2 - a**2)
    return math.sqrt(max(variance, 0) / (clicks * others))


def feature_rows(data: ReportData) -> list[FeatureRow]:
    """The features in the order of the spec."""
    columns = {column.column: column for column in data.columns}
    coverage = {found.feature: found for found in data.training.coverage}
    return [
        FeatureRow(
            name, feature.type, getattr(feature, "role", None) or "", columns.get(name), coverage.get(name)
        )
        for name, feature in data_spec(data).features.items()
    ]


def data_spec(data: ReportData) -> DataSpec:
    """The data spec of the run."""
    return parse_spec(DataSpec, data.run.data_text, "data.yaml")


def model_spec(data: ReportData) -> ModelSpec:
    """The model spec of the run."""
    return parse_spec(ModelSpec, data.run.model_text, "model.yaml")
