"""What the trainer alone knows and the report shows, as JSON in the model run's folder."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict

TRAINING_RECORD = "training_record.json"


class Record(BaseModel):
    """Base of what is written for the report; a key that the reader does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_finite)]
"""A number, or None where it is not defined: JSON has no NaN."""


class Histogram(Record):
    """Counts of values between edges; the last bin includes its upper edge."""

    edges: list[float]  # [K + 1]
    counts: list[int]  # [K]

    @classmethod
    def of(cls, values: Iterable[np.ndarray], bins: int) -> list["Histogram"]:
        """One histogram for each array, all over the same range, in bins of equal width."""
        arrays = list(values)
        low, high = min(array.min() for array in arrays), max(array.max() for array in arrays)
        edges = np.linspace(low, high if high > low else low + 1e-6, bins + 1)
        return [cls(edges=edges.tolist(), counts=np.histogram(array, edges)[0].tolist()) for array in arrays]


class TableHealth(Record):
    """The embedding rows that one member has for one vocabulary; padding is not among them."""

    member: str  # or all that share the table
    feature: str  # the owner of the vocabulary; behind it, in brackets, which of several tables of the member
    rows: int
    width: int
    abundance: float  # information abundance, 1 to width; 0 for zeros
    norm_low: float  # 5th percentile of the rows' Euclidean norms
    norm_median: float
    norm_high: float  # 95th percentile
    untrained: float  # share of rows that have the value they started with


class FeatureCoverage(Record):
    """How much of a feature the model knows on the eval split."""

    feature: str
    rows: int
    missing: float  # share of rows without a value; of a sequence or bag: without a token
    tokens: int | None  # None for a number
    unseen: (
        float | None
    )  # share of tokens that are out of vocabulary; None without tokens or where each has a row


class PairAgreement(Record):
    """How far two members agree on the rows."""

    members: tuple[str, str]
    difference: float  # mean |p_i - p_j|
    difference_high: float  # 95th percentile of it
    kl: float  # mean of (KL(p_i || p_j) + KL(p_j || p_i)) / 2, nats
    correlation: Figure  # Pearson's, of the log odds; None where one is constant
    histogram: Histogram  # of |p_i - p_j|


class EnsembleSummary(Record):
    """What the members say of rows of the eval split, and how fusion weighs them."""

    rows: int
    members: list[str]
    mean_weight: list[float]
    leads: list[float]  # share of rows on which a member has the largest weight, shared out at a tie
    weights: list[Histogram]
    pairs: list[PairAgreement]


class TrainingRecord(Record):
    """The whole of it."""

    train_rows: int
    eval_rows: int
    evaluations_per_epoch: int
    monitored: str  # key of `history`
    best: int  # position in the lists of `history`: the weights that were kept
    own_best: dict[str, int] = {}  # by member, where each was kept as it did best by itself: its own position
    history: dict[
        str, list[Figure]
    ]  # a value an evaluation: loss, loss_<part>, eval_<metric>, eval_<member>_<metric>
    tables: list[TableHealth]
    coverage: list[FeatureCoverage]
    ensemble: EnsembleSummary | None  # None where a prediction is not a number

    def write(self, run_dir: Path) -> None:
        """Writes it into a model run's folder."""
        (run_dir / TRAINING_RECORD).write_text(self.model_dump_json(), encoding="utf-8")

    @classmethod
    def read(cls, run_dir: Path) -> "TrainingRecord":
        """Reads what `write` wrote. Raises OSError where there is none."""
        return cls.model_validate_json((run_dir / TRAINING_RECORD).read_bytes())
