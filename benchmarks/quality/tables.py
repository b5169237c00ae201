"""The tables of RESULTS.md: every model over its seeds, and the claims with their verdicts."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.quality.paired import Difference
from benchmarks.quality.record import Comparison, Record, Training

HEADS = {"auc": "AUC", "gauc": "gAUC", "log_loss": "log loss"}
RAW = {"raw_auc": "AUC, raw", "raw_log_loss": "log loss, raw"}
CUT_OFF = " †"  # the limit of epochs ended a training, its patience did not
MARGIN = 0.001  # of each metric: how much worse than the other side is still "or equal"


class OverSeeds(NamedTuple):
    """The mean of a difference over paired seeds, and its standard errors."""

    value: float
    rows: float  # of the test rows: seeds share them, so that more seeds do not make it smaller
    seeds: float  # of the seeds; 0 for one, which says nothing of others
    number: int  # of seeds

    @property
    def error(self) -> float:
        """Of both together, which are independent."""
        return float(np.hypot(self.rows, self.seeds))

    @property
    def reach(self) -> float:
        """The difference that 95 % of means stay below, either way, where there is none; infinite for one seed.

        Quantile of t by the degrees of freedom of Welch 1947 and Satterthwaite 1946: of the rows endless, of the seeds
        number - 1. Where the seeds' error is the larger one, they come out too many: 8 % go beyond it with three seeds.
        """
        if self.number < 2:
            return np.inf
        freedom = (self.number - 1) * (self.error / self.seeds) ** 4 if self.seeds > 0 else np.inf
        return float(stats.t.ppf(0.975, freedom) * self.error)


class Verdict(NamedTuple):
    """What the differences of a claim say, over seeds."""

    differences: dict[str, OverSeeds]
    or_equal: bool

    @property
    def word(self) -> str:
        """holds, fails, mixed (better by one metric and worse by another), open (neither), or that there is one seed."""
        if any(d.number < 2 for d in self.differences.values()):
            return "one seed"
        gains = [(_sign(metric) * d.value, d.reach) for metric, d in self.differences.items()]
        better = any(gain > reach for gain, reach in gains)
        worse = any(gain < -reach for gain, reach in gains)
        if worse:
            return "mixed" if better else "fails"
        if self.or_equal:
            return "holds" if all(gain - reach > -MARGIN for gain, reach in gains) else "open"
        return "holds" if better else "open"


def _sign(metric: str) -> int:
    return -1 if metric == "log_loss" else 1


def over_seeds(differences: Sequence[Difference]) -> OverSeeds:
    """The mean over paired seeds."""
    values, number = [d.value for d in differences], len(differences)
    of_rows = float(np.mean([d.error for d in differences]))
    of_seeds = float(np.std(values, ddof=1) / np.sqrt(number)) if number > 1 else 0.0
    return OverSeeds(float(np.mean(values)), of_rows, of_seeds, number)


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
    cut_off = any(each.found["evaluations"] >= each.found["evaluation_limit"] for each in seeds)
    return f"{size} | {epochs:.1f}{CUT_OFF if cut_off else ''} | {seconds:.0f}"


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


def _signed(difference: OverSeeds | None) -> str:
    if difference is None:
        return ""
    text = f"{difference.value:+.4f} ± {difference.error:.4f}"
    return f"**{text}**" if abs(difference.value) > difference.reach else text
