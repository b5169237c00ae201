"""Finished runs: every model, naive ensembles of the same members trained apart, and how two of them differ."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.quality.paired import Difference, auc_difference, gauc_difference, log_loss_difference
from cetnet_keras.calibration import calibration_curve, on_curve
from cetnet_keras.metrics import EPSILON, auc, log_loss
from pipeline.groups import auc_within_groups

SPLITS = ("eval", "test")


class Scores(NamedTuple):
    """Log odds of one training, or of several together, and what they are measured against."""

    logit: dict[str, np.ndarray]  # by split, eval and test: [N], as trained
    spread: (
        dict[str, np.ndarray] | None
    )  # [N], standard deviation of the members'; None: the calibration does without
    label: dict[str, np.ndarray]
    group: np.ndarray | None  # of the test split, NO_GROUP where a row has none

    def calibrated(self) -> np.ndarray:
        """Log odds [N] on the test split after calibration on the eval split, as `cetnet run` serves them."""
        spread = self.spread or dict.fromkeys(self.logit)
        curve = calibration_curve(self.logit["eval"], self.label["eval"], spread=spread["eval"])
        return on_curve(curve, self.logit["test"], spread["test"])

    def figures(self) -> dict[str, float]:
        """auc, gauc (where there are groups), log_loss of the calibrated test predictions; raw_auc, ... of the others."""
        label, found = self.label["test"], {}
        for prefix, logit in (("", self.calibrated()), ("raw_", self.logit["test"])):
            found[f"{prefix}auc"] = auc(label, logit)
            if self.group is not None:
                found[f"{prefix}gauc"] = auc_within_groups(label, logit, self.group).weighted
            found[f"{prefix}log_loss"] = log_loss(label, sigmoid(logit))
        return found


class Run(NamedTuple):
    """One training."""

    found: dict[str, Any]  # its JSON file
    scores: Scores
    members: list[Scores]  # each one's own opinion


Runs = dict[str, dict[int, Run]]  # by model, by seed


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p.astype(np.float64), EPSILON, 1 - EPSILON)
    return np.log(p) - np.log1p(-p)


def read_runs(folder: Path) -> Runs:
    """All finished trainings of a data set."""
    runs: Runs = {}
    for path in sorted(folder.glob("*/*.json")):
        if not path.with_suffix(".npz").exists():
            continue
        arrays = np.load(path.with_suffix(".npz"))
        opinions = {split: log_odds(arrays[f"{split}/member_ctr"]) for split in SPLITS}  # [N, M]
        scores = Scores(
            {split: log_odds(arrays[f"{split}/ctr"]) for split in SPLITS},
            {split: opinions[split].std(axis=1) for split in SPLITS},
            {split: arrays[f"{split}/label"].astype(np.float64) for split in SPLITS},
            arrays.get("test/group"),
        )
        members = [
            scores._replace(logit={split: opinions[split][:, m] for split in SPLITS}, spread=None)
            for m in range(opinions["test"].shape[1])
        ]
        found = json.loads(path.read_text(encoding="utf-8"))
        runs.setdefault(path.parent.name, {})[found["seed"]] = Run(found, scores, members)
    return runs


def mean_of_log_odds(parts: Sequence[Scores]) -> Scores:
    """The naive ensemble by the mean of log odds."""
    mean = {s: np.mean([p.logit[s] for p in parts], axis=0) for s in parts[0].logit}
    return parts[0]._replace(logit=mean, spread=None)


def mean_of_probabilities(parts: Sequence[Scores]) -> Scores:
    """The naive ensemble by the mean of probabilities."""
    mean = {s: np.mean([sigmoid(p.logit[s]) for p in parts], axis=0) for s in parts[0].logit}
    return parts[0]._replace(logit={split: log_odds(p) for split, p in mean.items()}, spread=None)


def with_disagreement(parts: Sequence[Scores]) -> Scores:
    """Members trained apart and the calibration of CETNet, which looks at how far they disagree."""
    spread = {s: np.std([p.logit[s] for p in parts], axis=0) for s in parts[0].logit}
    return mean_of_log_odds(parts)._replace(spread=spread)


NAIVE = {
    "naive, log odds": mean_of_log_odds,
    "naive, probabilities": mean_of_probabilities,
    "apart, with disagreement": with_disagreement,
}


def alone(runs: Runs, ensemble: str) -> list[str] | None:
    """The models that are the members of an ensemble trained alone; None where one is not there."""

    def members_of(model: str) -> list[str]:
        spec = next(iter(runs[model].values())).found["model"]
        scope = spec.get("training", {}).get("embedding_l2_scope")  # of another penalty it is another model
        members = [{key: value for key, value in m.items() if key != "name"} for m in spec["members"]]
        return [json.dumps([member, scope], sort_keys=True) for member in members]

    single = {m[0]: name for name in runs if len(m := members_of(name)) == 1}
    names = [single.get(member) for member in members_of(ensemble)]
    return None if None in names or len(names) < 2 else [name for name in names if name]


class Naive(NamedTuple):
    """Models trained apart and put together."""

    models: list[str]
    scores: dict[int, Scores]  # by the seed that all of them had


def naive_ensembles(runs: Runs) -> dict[str, Naive]:
    """By name: the members of each ensemble, trained apart."""
    found: dict[str, Naive] = {}
    for ensemble in runs:
        names = alone(runs, ensemble)
        if names is None:
            continue
        seeds = set.intersection(*(set(runs[name]) for name in names))
        if len(set(names)) < len(names):
            continue  # copies of one need other seeds
        for kind, together in NAIVE.items():
            scores = {seed: together([runs[name][seed].scores for name in names]) for seed in sorted(seeds)}
            found[f"{kind}: {' + '.join(names)}"] = Naive(names, scores)
    return found


def compared(first: Scores, second: Scores) -> dict[str, Difference]:
    """First less second, by metric, on the same test rows."""
    label, group, pair = first.label["test"], first.group, (first.calibrated(), second.calibrated())
    found = {"auc": auc_difference(label, *pair, group)}
    if group is not None:
        found["gauc"] = gauc_difference(label, *pair, group)
    return found | {"log_loss": log_loss_difference(label, sigmoid(pair[0]), sigmoid(pair[1]), group)}
