"""All that a report shows, as JSON in DIR/tfx: gathered at the end of a run, drawn then and by `cetnet report`."""

from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from cetnet_keras.errors import InputError
from pipeline.run_record import RunRecord
from pipeline.score_buckets import ScoreBuckets
from pipeline.served_model import ServedModel
from pipeline.training_record import Figure, Record, TrainingRecord

FUSED = "fused"  # beside the members' names


class Metrics(Record):
    """The figures of metrics.json for one set of predictions."""

    rows: int = 0
    clicks: int = 0
    auc: Figure = None
    gauc: Figure = None
    gauc_mean: Figure = None
    log_loss: Figure = None
    calibration: Figure = None
    normalised_entropy: Figure = None
    expected_calibration_error: Figure = None


class SliceMetrics(Metrics):
    """The fused CTR on the rows that have these values."""

    values: dict[str, str]


class BadRows(Record):
    """Rows that ingestion left out, and why the first of them."""

    left_out: int = 0
    first: list[str] = Field(default_factory=list)


class RunMetrics(Record):
    """metrics.json."""

    rows: int
    fused: Metrics
    members: dict[str, Metrics]
    slices: list[SliceMetrics]
    blessed: bool
    reasons: list[str]
    bad_rows: BadRows = BadRows()
    served: ServedModel | None = None
    baseline: Metrics | None = None


class Curve(Record):
    """The ScoreBuckets of one set of predictions."""

    lower: list[float]
    upper: list[float]
    rows: list[float]
    clicks: list[float]
    predicted: list[float]

    @classmethod
    def of(cls, buckets: ScoreBuckets) -> "Curve":
        """As lists."""
        return cls(**{name: column.tolist() for name, column in buckets._asdict().items()})

    @property
    def buckets(self) -> ScoreBuckets:
        """As arrays."""
        return ScoreBuckets(*(np.array(getattr(self, name), np.float64) for name in ScoreBuckets._fields))


class SplitStatistics(Record):
    """A split as StatisticsGen saw it."""

    split: str
    rows: int
    click_rate: Figure
    anomalies: list[str]  # of ExampleValidator


class ColumnStatistics(Record):
    """A raw column of the train split as StatisticsGen saw it: text has `distinct`, numbers have the others."""

    column: str
    distinct: int | None = None
    mean: Figure = None
    low: Figure = None
    high: Figure = None


class ReportData(Record):
    """The whole of it."""

    run: RunRecord
    metrics: RunMetrics
    curves: dict[str, Curve]  # by FUSED and member; of the test split
    training: TrainingRecord
    splits: list[SplitStatistics]
    columns: list[ColumnStatistics]

    def figures_of(self, name: str) -> Metrics:
        """The metrics of FUSED or a member."""
        return self.metrics.fused if name == FUSED else self.metrics.members[name]

    def write(self, output: Path) -> None:
        """Writes it below DIR."""
        _path(output).write_text(self.model_dump_json(), encoding="utf-8")

    @classmethod
    def read(cls, output: Path) -> "ReportData":
        """Reads what `write` wrote. Raises InputError where there is none, or one of another version."""
        path = _path(output)
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            found = f"{path}: cannot be read ({error.strerror})"
            raise InputError(f"{found}; name the output folder of a `cetnet run` that has ended") from error
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "the file"
            found = f"{path}: {where}: {error.errors()[0]['msg'].lower()}"
            raise InputError(f"{found}; expected what this version writes: run `cetnet run` again") from error


def _path(output: Path) -> Path:
    return output / "tfx" / "report.json"
