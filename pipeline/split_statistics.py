"""Reads what StatisticsGen wrote about a split."""

from pathlib import Path

from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics, DatasetFeatureStatisticsList


def split_statistics(artifact: Path, split: str) -> DatasetFeatureStatistics:
    """The statistics of a split; empty where it has no rows. Raises OSError where there are none."""
    path = artifact / f"Split-{split}" / "FeatureStats.pb"
    found = DatasetFeatureStatisticsList.FromString(path.read_bytes()).datasets
    return found[0] if found else DatasetFeatureStatistics()


def mean_of(statistics: DatasetFeatureStatistics, column: str) -> float | None:
    """The mean of a column of numbers; None where there are no rows or no such column."""
    means = (f.num_stats.mean for f in statistics.features if f.path.step[:] == [column])
    return next(means, None) if statistics.num_examples else None
