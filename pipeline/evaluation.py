"""What TFMA measures and demands of a model, derived from the data spec, and how its output is read back."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.extractors import unbatch_extractor

from cetnet_keras.spec import DataSpec
from pipeline.click_metrics import FIGURES, ClickColumns, ClickMetric, ClickPlot, buckets_of
from pipeline.gates import Gates
from pipeline.score_buckets import ScoreBuckets

EVALUATOR_MODULE = __name__  # the Evaluator's `module_path`: it calls `custom_extractors` below
FUSED = "ctr"
_SLICES = "slices"  # signature whose outputs `slice_<key>` are the values that rows are sliced by
_OTHER = b"other"

Figures = dict[str, float]
"""By name, of pipeline.click_metrics.FIGURES; NaN where one has no value. Group AUCs need a group."""


class Slice(NamedTuple):
    """The fused CTR on the rows that have these values, such as {"cate_id": "7"}."""

    values: dict[str, str]
    figures: Figures


class Evaluation(NamedTuple):
    """What TFMA found on the test split."""

    fused: Figures  # empty where the split holds no rows
    members: dict[str, Figures]
    slices: list[Slice]  # by key, then the largest first
    baseline: Figures | None  # the last blessed model's fused CTR on the same rows
    blessed: bool
    reasons: list[str]  # why it is not blessed


def eval_config(spec: DataSpec, members: Sequence[str], gates: Gates) -> tfma.EvalConfig:
    """Everything that TFMA is told: figures of the fused CTR and of each member, slices, bounds.

    The SavedModel must have the signature `examples` (serialised tf.Example [B]) with the outputs ctr [B] and
    ctr_<member> [B] and, where the spec names slice keys, `slices` (same input), an output slice_<key> each:
    string [B], or [B, T] for a bag, padded with "". Run it with `module_path=EVALUATOR_MODULE`.

    Args:
        spec: label, group, slices, and what a row counts.
        members: names of the members, which are looked at on the whole alone.
        gates: bounds on the fused CTR on the whole. Without a baseline model TFX drops those that compare.
    """
    named = [name for name in FIGURES if spec.group is not None or not name.startswith("gauc")]
    columns = ClickColumns(spec.group or "", spec.weight or "", spec.negative_keep_rate)
    keys = {key for keys in spec.slices for key in keys}
    model = {"signature_name": "examples", "label_key": spec.label, "model_type": constants.TF_GENERIC}
    functions = [_SLICES] if keys else []  # of the candidate alone: a baseline has its own idea of `other`
    candidate = tfma.ModelSpec(name=tfma.CANDIDATE_KEY, preprocessing_function_names=functions, **model)
    baseline = tfma.ModelSpec(name=tfma.BASELINE_KEY, is_baseline=True, **model)
    slices = sorted({(), *(tuple(f"slice_{key}" for key in sorted(set(keys))) for keys in spec.slices)})
    fused = tfma.MetricsSpec(
        output_names=[FUSED],
        metrics=[*(_metric(name, columns, _bounds(name, gates)) for name in named), _plot(columns)],
    )
    each_member = tfma.MetricsSpec(
        output_names=[f"{FUSED}_{member}" for member in members],
        model_names=[tfma.CANDIDATE_KEY],
        metrics=[*(_metric(name, columns) for name in named), _plot(columns)],
    )
    return tfma.EvalConfig(
        model_specs=[candidate, baseline],
        slicing_specs=[tfma.SlicingSpec(feature_keys=names) for names in slices],
        metrics_specs=[fused, each_member] if members else [fused],
    )


def _metric(
    name: str, columns: ClickColumns, bounds: tfma.MetricThreshold | None = None
) -> tfma.MetricConfig:
    config = tfma.MetricConfig(
        class_name=ClickMetric.__name__,
        module=ClickMetric.__module__,
        config=json.dumps({"name": name} | columns._asdict()),
    )
    if bounds is not None:
        whole = [tfma.SlicingSpec()]  # a threshold that names no slice would be applied to every one
        config.per_slice_thresholds.add(slicing_specs=whole, threshold=bounds)
    return config


def _plot(columns: ClickColumns) -> tfma.MetricConfig:
    return tfma.MetricConfig(
        class_name=ClickPlot.__name__, module=ClickPlot.__module__, config=json.dumps(columns._asdict())
    )


def _bounds(name: str, gates: Gates) -> tfma.MetricThreshold | None:
    threshold = tfma.MetricThreshold()
    value, change = threshold.value_threshold, threshold.change_threshold
    if name == "auc":
        value.lower_bound.value = gates.min_auc
        change.absolute.value = -gates.max_auc_drop
        change.direction = tfma.MetricDirection.HIGHER_IS_BETTER
    elif name == "log_loss":
        if gates.max_log_loss is not None:
            value.upper_bound.value = gates.max_log_loss
        change.absolute.value = gates.max_log_loss_rise
        change.direction = tfma.MetricDirection.LOWER_IS_BETTER
    elif name == "calibration":
        value.lower_bound.value, value.upper_bound.value = gates.min_calibration, gates.max_calibration
    else:
        return None
    return threshold


def custom_extractors(
    eval_shared_model: Any, eval_config: tfma.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors and, before rows are taken apart, `MetricFeatures`. TFX's Evaluator calls it."""
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    configs = [json.loads(metric.config) for spec in eval_config.metrics_specs for metric in spec.metrics]
    columns = sorted({config[key] for config in configs for key in ("group", "weight")} - {""})
    stages = [extractor.stage_name for extractor in extractors]
    keep = tfma.extractors.Extractor("MetricFeatures", beam.Map(_metric_features, columns))
    extractors.insert(stages.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME), keep)
    return extractors


def _metric_features(batch: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """Leaves a batch `columns` and the candidate's slice values as its only features: each costs time a row.

    With a baseline TFMA itself looks for slice values in both models' outputs; if one has none, in neither.
    """
    raw, computed = batch[constants.FEATURES_KEY], batch.get(constants.TRANSFORMED_FEATURES_KEY) or {}
    computed = computed.get(tfma.CANDIDATE_KEY, computed)
    kept = {name: raw[name] for name in columns if name in raw}
    kept |= {name: _without_padding(values) for name, values in computed.items()}
    dropped = (constants.INPUT_KEY, constants.TRANSFORMED_FEATURES_KEY)
    return {key: value for key, value in batch.items() if key not in dropped} | {constants.FEATURES_KEY: kept}


def _without_padding(values: np.ndarray) -> np.ndarray:
    """[B] or [B, T] with "" where a row has no value: instead its first one, or `other` where it has none.

    TFMA counts a value that a row repeats once.
    """
    table = np.concatenate([values.reshape(len(values), -1), np.full((len(values), 1), b"", object)], axis=1)
    empty = table == b""
    first = table[np.arange(len(table)), empty.argmin(axis=1), np.newaxis]  # [B, 1]
    return np.where(empty, np.where(first == b"", _OTHER, first), table)


def read_metrics(evaluation_dir: Path) -> Evaluation:
    """Reads what TFMA wrote. Raises OSError where there is no evaluation."""
    outputs: dict[str, Figures] = {}
    slices: list[Slice] = []
    baseline: Figures = {}
    for found in tfma.load_metrics(str(evaluation_dir)):
        values = {key.column.removeprefix("slice_"): _text(key) for key in found.slice_key.single_slice_keys}
        for (model, output), figures in _figures(found.metric_keys_and_values).items():
            if values and output == FUSED and model != tfma.BASELINE_KEY:
                slices.append(Slice(values, figures))
            elif not values and model != tfma.BASELINE_KEY:
                outputs[output] = figures
            elif not values:
                baseline = figures
    fused = outputs.pop(FUSED, {})
    members = {output.removeprefix(f"{FUSED}_"): outputs[output] for output in sorted(outputs)}
    slices.sort(key=lambda part: (sorted(part.values), -part.figures["rows"], sorted(part.values.items())))
    result = tfma.load_validation_result(str(evaluation_dir))
    reasons = list(_reasons(result, fused, baseline))
    return Evaluation(fused, members, slices, baseline or None, result.validation_ok, reasons)


def read_curves(evaluation_dir: Path) -> dict[str, ScoreBuckets]:
    """By output, FUSED and each member's name: the scores of all rows. Raises OSError where there is no evaluation."""
    return {
        plot.key.output_name.removeprefix(f"{FUSED}_"): buckets_of(plot.value.calibration_histogram_buckets)
        for found in tfma.load_plots(str(evaluation_dir))
        for plot in found.plot_keys_and_values
        if not found.slice_key.single_slice_keys and plot.key.model_name != tfma.BASELINE_KEY
    }


def metrics_document(evaluation: Evaluation) -> dict[str, Any]:
    """The contents of metrics.json; a figure without a value is null."""
    document: dict[str, Any] = {
        "rows": int(evaluation.fused.get("rows", 0)),
        "fused": _json(evaluation.fused),
        "members": {name: _json(figures) for name, figures in evaluation.members.items()},
        "slices": [{"values": part.values} | _json(part.figures) for part in evaluation.slices],
        "blessed": evaluation.blessed,
        "reasons": list(evaluation.reasons),
    }
    if evaluation.baseline is not None:
        document["baseline"] = _json(evaluation.baseline)
    return document


def _json(figures: Figures) -> dict[str, float | int | None]:
    whole = {name: int(figures[name]) for name in ("rows", "clicks") if name in figures}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()} | whole


def _text(key: Any) -> str:
    value = getattr(key, key.WhichOneof("kind"))
    return value.decode() if isinstance(value, bytes) else str(value)


def _figures(keys_and_values: Iterable[Any]) -> dict[tuple[str, str], Figures]:
    """By (model, output), each in the order of FIGURES; differences between models are left out."""
    found: dict[tuple[str, str], Figures] = {}
    for item in keys_and_values:
        if not item.key.is_diff:
            output = found.setdefault((item.key.model_name, item.key.output_name), {})
            output[item.key.name] = item.value.double_value.value
    return {key: {n: figures[n] for n in FIGURES if n in figures} for key, figures in found.items()}


def _reasons(result: Any, fused: Mapping[str, float], baseline: Mapping[str, float]) -> Iterator[str]:
    if not fused:
        yield "the test split holds no rows, so that nothing could be measured"
    for found in result.metric_validations_per_slice:
        for failure in found.failures:
            name, threshold = failure.metric_key.name, failure.metric_threshold
            if math.isnan(fused[name]):
                if threshold.HasField("value_threshold"):
                    yield f"{name} is n/a on the whole: {_why_undefined(fused)}"
            elif threshold.HasField("change_threshold"):
                change = threshold.change_threshold
                side = "below" if change.direction == tfma.MetricDirection.HIGHER_IS_BETTER else "above"
                distance, most = abs(fused[name] - baseline[name]), abs(change.absolute.value)
                yield (
                    f"{name} {fused[name]:.4f} is {distance:.4f} {side} the last blessed model's "
                    f"{baseline[name]:.4f} on the whole, expected at most {most:g}"
                )
            else:
                bounds = threshold.value_threshold
                low = bounds.HasField("lower_bound") and fused[name] < bounds.lower_bound.value
                side, bound = ("below", bounds.lower_bound) if low else ("above", bounds.upper_bound)
                yield f"{name} {fused[name]:.4f} is {side} {bound.value:g} on the whole"


def _why_undefined(fused: Mapping[str, float]) -> str:
    rows, clicks = int(fused["rows"]), int(fused["clicks"])
    if clicks in (0, rows):
        return f"{'none' if clicks == 0 else 'each'} of its {rows} rows is a click"
    return "a prediction is not a number"
