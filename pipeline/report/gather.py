"""Gathers what the report shows from the artifacts of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics

from cetnet_keras.spec import DataSpec
from pipeline.anomalies import anomalies_in
from pipeline.artifacts import required_outputs
from pipeline.evaluation import FUSED as FUSED_OUTPUT
from pipeline.evaluation import read_curves
from pipeline.ingest.files import SPLITS
from pipeline.report.data import (
    FUSED,
    ColumnStatistics,
    Curve,
    ReportData,
    RunMetrics,
    SplitStatistics,
)
from pipeline.run_record import RunRecord
from pipeline.split_statistics import mean_of, split_statistics
from pipeline.training_record import TrainingRecord


def gather(spec: DataSpec, output: Path, run: RunRecord, metrics: Mapping[str, object]) -> ReportData:
    """What the run that has just ended left.

    Args:
        spec: the data spec.
        output: DIR.
        run: what was run.
        metrics: the contents of metrics.json.
    Raises:
        WorkFailed: a component left nothing.
    """
    database = output / "tfx" / "metadata.sqlite"

    def folder(node: str, key: str) -> Path:
        return required_outputs(database, spec.name, node).folder(key)

    statistics, anomalies = folder("StatisticsGen", "statistics"), folder("ExampleValidator", "anomalies")
    curves = read_curves(folder("Evaluator", "evaluation"))
    splits = {split: split_statistics(statistics, split) for split in SPLITS}
    return ReportData(
        run=run,
        metrics=RunMetrics.model_validate(metrics),
        curves={FUSED if name == FUSED_OUTPUT else name: Curve.of(found) for name, found in curves.items()},
        training=TrainingRecord.read(folder("Trainer", "model_run")),
        splits=[
            SplitStatistics(
                split=split,
                rows=found.num_examples,
                click_rate=mean_of(found, spec.label),
                anomalies=anomalies_in(anomalies / f"Split-{split}"),
            )
            for split, found in splits.items()
        ],
        columns=list(_columns(spec, splits["train"])),
    )


def _columns(spec: DataSpec, statistics: DatasetFeatureStatistics) -> Iterator[ColumnStatistics]:
    found = {feature.path.step[0]: feature for feature in statistics.features}
    for name in (name for name in spec.features if name in found):
        feature = found[name]
        if feature.HasField("string_stats"):
            yield ColumnStatistics(column=name, distinct=feature.string_stats.unique)
        elif feature.HasField("num_stats") and feature.num_stats.common_stats.num_non_missing:
            numbers = feature.num_stats
            yield ColumnStatistics(column=name, mean=numbers.mean, low=numbers.min, high=numbers.max)
