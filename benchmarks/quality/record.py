"""What was measured of a data set, kept beside its settings: a sweep takes days, and machines come and go.

Predictions are too large to keep: a difference on the same rows is measured where both sides are on one machine.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmarks.quality.claims import claims
from benchmarks.quality.paired import Difference
from benchmarks.quality.results import Run, Runs, compared, naive_ensembles
from benchmarks.quality.run_file import digest, settings_of_run
from cetnet_keras.spec import TrainingSpec


class Training(BaseModel):
    """The figures of a model, or of a naive ensemble, with one seed."""

    name: str
    seed: int
    settings: dict[str, str]  # digest of what each model that it is made of is of: its settings and its data
    figures: dict[str, float]
    found: dict[str, Any] = {}  # parameters, time, versions: nothing of a naive ensemble


class Comparison(BaseModel):
    """The differences of a claim's two sides with one seed."""

    letter: str
    or_equal: bool
    first: str
    second: str
    sizes: tuple[int, int]  # embedding parameters
    seed: int
    settings: dict[str, str]
    differences: dict[str, Difference]


class Record(BaseModel):
    """All that is known of a data set."""

    trainings: list[Training] = []
    comparisons: list[Comparison] = []

    @classmethod
    def read(cls, path: Path) -> "Record":
        """What a file holds; nothing where there is none."""
        return cls.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else cls()

    def write(self, path: Path) -> None:
        """Writes a line for each entry, so that a change is seen in a diff."""
        parts = [f'"{key}": [\n{_lines(value)}\n]' for key, value in self.model_dump(mode="json").items()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")

    def with_runs(self, runs: Runs, known: Mapping[str, Any]) -> "Record":
        """Adds and replaces what runs show, and drops what is of other settings than those of today.

        Args:
            runs: finished trainings of this machine.
            known: by model, what its runs must be of: `model` and `data`, as a run's JSON file has them.
        """
        today = {name: digest(settings) for name, settings in known.items()}
        runs = _of_today(runs, today)  # first: rows of other data cannot be put beside these
        trainings = {(old.name, old.seed): old for old in self.trainings}
        trainings |= {(new.name, new.seed): new for new in _trainings(runs)}
        comparisons = {_key(old): old for old in self.comparisons}
        comparisons |= {_key(new): new for new in _comparisons(runs)}
        return Record(
            trainings=[trainings[key] for key in sorted(trainings) if _is_of(trainings[key], today)],
            comparisons=[comparisons[key] for key in sorted(comparisons) if _is_of(comparisons[key], today)],
        )


def _lines(entries: list[dict[str, Any]]) -> str:
    return ",\n".join(json.dumps(entry) for entry in entries)


def _key(comparison: Comparison) -> tuple[str, str, str, int]:
    return comparison.letter, comparison.first, comparison.second, comparison.seed


def _is_of(entry: Training | Comparison, today: Mapping[str, str]) -> bool:
    return all(today.get(name) == found for name, found in entry.settings.items())


def _of_today(runs: Runs, today: Mapping[str, str]) -> Runs:
    found = {
        name: {seed: run for seed, run in seeds.items() if today.get(name) == _digest(run)}
        for name, seeds in runs.items()
    }
    return {name: seeds for name, seeds in found.items() if seeds}


def _trainings(runs: Runs) -> Iterator[Training]:
    for name, seeds in runs.items():
        for seed, run in seeds.items():
            found = {key: value for key, value in run.found.items() if key in _KEPT}
            yield Training(
                name=name,
                seed=seed,
                settings=_settings(runs, (name,), seed),
                figures=_rounded(run.scores.figures()),
                found=found | {"evaluation_limit": _evaluation_limit(run.found["model"])},
            )
    for name, ensemble in naive_ensembles(runs).items():
        for seed, scores in ensemble.scores.items():
            yield Training(
                name=name,
                seed=seed,
                settings=_settings(runs, ensemble.models, seed),
                figures=_rounded(scores.figures()),
            )


_KEPT = (
    "parameters",
    "embedding_parameters",
    "best_evaluation",
    "evaluations",
    "train_seconds",
    "train_rows",
    "eval",
    "test",
    "versions",
    "code",
)


def _evaluation_limit(settings: Mapping[str, Any]) -> int:
    """The evaluations after which a training ends, whatever its patience; a peer has one an epoch."""
    if "epochs" in settings:
        return int(settings["epochs"])
    own = {key: settings.get("training", {}).get(key) for key in ("epochs", "evaluations_per_epoch")}
    training = TrainingSpec.model_validate({key: value for key, value in own.items() if value is not None})
    return training.epochs * training.evaluations_per_epoch


def _comparisons(runs: Runs) -> Iterator[Comparison]:
    for claim in claims(runs):
        for seed in sorted(set(claim.first.scores) & set(claim.second.scores)):
            differences = compared(claim.first.scores[seed], claim.second.scores[seed])
            yield Comparison(
                letter=claim.letter,
                or_equal=claim.or_equal,
                first=claim.first.name,
                second=claim.second.name,
                sizes=(claim.first.size, claim.second.size),
                seed=seed,
                settings=_settings(runs, {*claim.first.models, *claim.second.models}, seed),
                differences={
                    key: Difference(*(round(part, 8) for part in value)) for key, value in differences.items()
                },
            )


def _settings(runs: Runs, models: Any, seed: int) -> dict[str, str]:
    return {name: _digest(runs[name][seed]) for name in sorted(models)}


def _digest(run: Run) -> str:
    return digest(settings_of_run(run.found))


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 6) for key, value in figures.items()}
