"""Do the fusions promise the clicks that happen? `python benchmarks/fusion_calibration.py [--output FILE]`.

Clicks are drawn from a known probability: tastes of 300 users for 200 items, with an intercept that gives a click rate
of 50, 7 or 1.5 %. dcnv2 and mlp learn from 60,000 rows, once for each fusion and seed, and their weights are averaged, as
`cetnet run` does by default; 60,000 other rows are predicted. Calibration is predicted clicks over actual ones, of the
fused prediction and of the mean of the members; the last column is the fused one's after beta calibration on 30,000 rows
more, as `cetnet run` does it by default too. Figures are means over the seeds, which draw rows of their own; the standard
error of a ratio is that of the clicks of all test rows.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import step_time  # noqa: F401  # first: it settles how TensorFlow starts
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import cetnet_keras
from cetnet_keras.metrics import auc, calibration, log_loss

USERS, ITEMS, WIDTH = 300, 200, 4
BATCH = 512
RATES = (0.5, 0.07, 0.015)
FUSIONS: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, tau 0.1": {"temperature": 0.1},
    "paper, base_rate": {"confidence": "base_rate"},
    "sum": {"type": "sum"},
    "mixture": {"type": "mixture"},
    "mixture, tau 0.1": {"type": "mixture", "temperature": 0.1},
    "mixture, tau 0.1, base_rate": {"type": "mixture", "temperature": 0.1, "confidence": "base_rate"},
    "mixture, tau 0.1, calibrated": {"type": "mixture", "temperature": 0.1, "calibrated": True},
    "mean": {"type": "mean"},
    "logit_mean": {"type": "logit_mean"},
    "gate": {"type": "gate"},
    "logit_mixture, detached": {"type": "logit_mixture", "detach_members": True},
    "logit_mean, detached": {"type": "logit_mean", "detach_members": True},
}


class Rows:
    """Rows drawn from a planted taste, whose intercept is set so that the mean probability is the rate."""

    def __init__(self, rate: float) -> None:
        rng = np.random.default_rng(0)
        self._taste = rng.normal(size=(USERS, WIDTH)) @ rng.normal(size=(WIDTH, ITEMS)) / np.sqrt(WIDTH)
        low, high = -20.0, 20.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._ctr(middle).mean() < rate else (low, middle)
        self._intercept = low

    def _ctr(self, intercept: float) -> np.ndarray:
        return 1 / (1 + np.exp(-(self._taste + intercept)))

    def draw(self, count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """FeatureBatch and labels."""
        rng = np.random.default_rng(seed)
        user, item = rng.integers(0, USERS, count), rng.integers(0, ITEMS, count)
        label = rng.random(count) < self._ctr(self._intercept)[user, item]
        return {"user": user + 1, "item": item + 1}, label.astype(np.float32)


def measure(rate: float, fusion: dict[str, Any], rows: int, epochs: int, seed: int) -> dict[str, float]:
    """Trains once and measures on other rows."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    features = {"user": {"type": "categorical"}, "item": {"type": "categorical"}}
    spec = cetnet_keras.DataSpec.model_validate({"name": "synthetic", "label": "label", "features": features})
    members = [{"type": kind, "embedding_dim": 8, "hidden": [32, 16]} for kind in ("dcnv2", "mlp")]
    members[0]["structure"] = "stacked"  # for `sum`, which needs one width
    model = cetnet_keras.CETNet(spec, {"user": USERS, "item": ITEMS}, members, fusion=fusion)
    model.compile(cetnet_keras.LazyAdam(0.002))
    source = Rows(rate)
    (train, clicks), (held_out, held_clicks), (test, label) = (
        source.draw(count, 3 * seed + part) for part, count in enumerate((rows, rows // 2, rows))
    )
    average = cetnet_keras.WeightAverage(-(-rows // BATCH))
    model.fit(train, clicks, batch_size=BATCH, epochs=epochs, callbacks=[average], verbose=0)
    raw = model.predict(test, batch_size=8192, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices(held_out).batch(8192)
    model.calibrate(batches, held_clicks)
    calibrated = model.predict(test, batch_size=8192, verbose=0)["ctr"]
    return {
        "clicks": float(label.sum()),
        "fused": calibration(label, raw["ctr"]),
        "mean_of_members": calibration(label, raw["member_ctr"].mean(axis=1)),
        "auc": auc(label, raw["ctr"]),
        "log_loss": log_loss(label, raw["ctr"]),
        "fused_calibrated": calibration(label, calibrated),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--fusions", nargs="+", choices=FUSIONS, default=list(FUSIONS))
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    table = Table(
        "click rate", "fusion", "fused", "mean of members", "± ", "AUC", "log loss", "fused, calibrated"
    )
    for rate in RATES:
        for name in arguments.fusions:
            each = [
                measure(rate, FUSIONS[name], arguments.rows, arguments.epochs, seed)
                for seed in arguments.seeds
            ]
            figures = {key: float(np.mean([seed[key] for seed in each])) for key in each[0]}
            figures["error"] = float(1 / np.sqrt(figures["clicks"] * len(each)))
            found.append({"rate": rate, "fusion": name, "seeds": len(each)} | figures)
            cells = [f"{figures[key]:.3f}" for key in ("fused", "mean_of_members", "error")]
            rest = [
                f"{figures['auc']:.4f}",
                f"{figures['log_loss']:.4f}",
                f"{figures['fused_calibrated']:.3f}",
            ]
            table.add_row(f"{rate:.1%}", name, *cells, *rest)
        table.add_section()
    Console().print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
