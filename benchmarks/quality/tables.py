"""The tables of RESULTS.md: every model over its seeds, and the claims with their verdicts."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from benchmarks.quality.paired import Difference
from benchmarks.quality.record import Comparison, Record, Training

HEADS = {"auc": "AUC", "gauc": "gAUC", "log_loss": "log loss"}
RAW = {"raw_auc": "AUC, raw", "raw_log_loss": "log loss, raw"}


class Verdict(NamedTuple):
    """What the differences of a claim say, over seeds."""

    differences: dict[str, Difference]
    or_equal: bool

    @property
    def word(self) -> str:
        """holds, fails, mixed (better by one metric and worse by another), or open: nothing beyond two standard errors."""
        gains = {_sign(metric) * d.value / d.error for metric, d in self.differences.items() if d.error > 0}
        better, worse = any(gain > 2 for gain in gains), any(gain < -2 for gain in gains)
        if better and worse:
            return "mixed"
        if better or (self.or_equal and not worse):
            return "holds"
        return "fails" if worse else "open"


def _sign(metric: str) -> int:
    return -1 if metric == "log_loss" else 1


def over_seeds(differences: Sequence[Difference]) -> Difference:
    """The mean over paired seeds; the error is the larger of the test rows' and of the seeds'.

    Seeds share the test rows, so that more seeds do not make the error of the rows smaller.
    """
    values = [d.value for d in differences]
    of_seeds = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return Difference(float(np.mean(values)), max(of_seeds, float(np.mean([d.error for d in differences]))))


def verdict(comparisons: Sequence[Comparison]) -> Verdict:
    """The verdict on one claim from all its seeds."""
    metrics = comparisons[0].differences
    found = {metric: over_seeds([each.differences[metric] for each in comparisons]) for metric in metrics}
    return Verdict(found, comparisons[0].or_equal)


def models_table(record: Record) -> Iterator[str]:
    """The Markdown lines of every model and naive ensemble of a data set."""
    metrics = [metric for metric in HEADS if metric in record.trainings[0].figures]
    heads = [HEADS[metric] for metric in metrics] + list(RAW.values())
    yield f"| model | seeds | {' | '.join(heads)} | embedding / all parameters | epochs | train s |"
    yield "|" + "---|" * (len(heads) + 5)
    in_order = sorted(record.trainings, key=lambda each: (not each.found, each.name, each.seed))
    for name, group in groupby(in_order, key=lambda each: each.name):
        seeds = list(group)
        cells = [_spread([each.figures[metric] for each in seeds]) for metric in [*metrics, *RAW]]
        yield f"| {name} | {_seeds(seeds)} | {' | '.join(cells)} | {_cost(seeds)} |"


def _cost(seeds: Sequence[Training]) -> str:
    if not seeds[0].found:
        return "the members' sum | | "
    size = f"{seeds[0].found['embedding_parameters']:,} / {seeds[0].found['parameters']:,}"
    epochs, seconds = (
        np.mean([each.found[key] for each in seeds]) for key in ("best_evaluation", "train_seconds")
    )
    return f"{size} | {epochs:.1f} | {seconds:.0f}"


def claims_table(record: Record) -> Iterator[str]:
    """The Markdown lines of all verdicts of a data set."""
    yield f"| claim | first | second | seeds | {' | '.join(HEADS.values())} | embedding parameters | verdict |"
    yield "|" + "---|" * (len(HEADS) + 6)
    for _, group in groupby(record.comparisons, key=lambda each: (each.letter, each.first, each.second)):
        seeds = list(group)
        found, some = verdict(seeds), seeds[0]
        cells = [_signed(found.differences.get(metric)) for metric in HEADS]
        letter = f"({some.letter}){' or equal' if some.or_equal else ''}"
        sizes = f"{some.sizes[0]:,} / {some.sizes[1]:,}"
        sides = f"{some.first} | {some.second} | {_seeds(seeds)}"
        yield f"| {letter} | {sides} | {' | '.join(cells)} | {sizes} | {found.word} |"


def _seeds(entries: Sequence[Training | Comparison]) -> str:
    return ", ".join(str(each.seed) for each in entries)


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"


def _signed(difference: Difference | None) -> str:
    if difference is None:
        return ""
    text = f"{difference.value:+.4f} ± {difference.error:.4f}"
    return f"**{text}**" if abs(difference.value) > 2 * difference.error else text
