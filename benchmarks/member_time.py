"""Time of a training step by member: `python benchmarks/member_time.py [--members NAME ...] [--output FILE]`.

Each member alone with its defaults, and the default ensemble, train through the function that `fit` calls. Rows are a user,
an item and its category, and histories of both, whose lengths are drawn from those of amazon_sports: half have 4 tokens or
fewer, one in a hundred 45 or more, and nearly every batch has one close to 100. Ratios are to dhen.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import step_time  # first: it settles how TensorFlow starts
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import cetnet_keras
from cetnet_keras.members.registry import built_in_members

IDS = {"user": 36_000, "item": 18_000, "cate": 1_000}
QUANTILES = {0: 1, 10: 1, 25: 2, 50: 4, 75: 7, 90: 14, 95: 21, 99: 45, 99.9: 100, 100: 100}  # tokens a row
ENSEMBLE, BATCH = "interformer + dhen", 1024
FEATURES = {
    "user": {"type": "categorical"},
    "item": {"type": "categorical", "role": "candidate"},
    "cate": {"type": "categorical", "role": "candidate"},
    "items": {"type": "sequence", "vocabulary": "item", "align": "history"},
    "cates": {"type": "sequence", "vocabulary": "cate", "align": "history"},
}


def make_model(name: str, strategy: tf.distribute.Strategy) -> cetnet_keras.CETNet:
    spec = cetnet_keras.DataSpec.model_validate(
        {
            "name": "synthetic",
            "label": "label",
            "splits": {"train": "train.csv", "eval": "eval.csv", "test": "test.csv"},
            "features": FEATURES,
        }
    )
    with strategy.scope():
        model = cetnet_keras.CETNet(spec, IDS, None if name == ENSEMBLE else [{"type": name}])
        model.compile(cetnet_keras.LazyAdam())
    return model


def batches() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Batches without end, padded to 100 tokens."""
    rng = np.random.default_rng(0)
    while True:
        lengths = np.interp(100 * rng.random(BATCH), list(QUANTILES), list(QUANTILES.values())).round()
        real = np.arange(100) < lengths[:, np.newaxis]
        ids = {name: rng.integers(1, size + 1, BATCH) for name, size in IDS.items()}
        items = rng.integers(1, IDS["item"] + 1, real.shape) * real
        cates = rng.integers(1, IDS["cate"] + 1, real.shape) * real
        yield ids | {"items": items, "cates": cates}, rng.integers(0, 2, BATCH).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--members", nargs="+", choices=built_in_members(), default=built_in_members(), help="beside dhen"
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    strategy = tf.distribute.MirroredStrategy()
    models = {
        name: make_model(name, strategy) for name in dict.fromkeys([*arguments.members, "dhen", ENSEMBLE])
    }
    steps = {
        name: step_time.make_step(model, batches(), strategy, arguments.rounds + 3)
        for name, model in models.items()
    }
    seconds = step_time.take_turns(steps, arguments.rounds)
    table = Table(title=f"A training step, batch {BATCH}: median (10 % to 90 %) of the rounds")
    for column in ("member", "ms a step", "times dhen's", "parameters", "beside tables"):
        table.add_column(column, justify="left" if column == "member" else "right")
    results = []
    for name, model in models.items():
        ratio = np.quantile(seconds[name] / seconds["dhen"], step_time.SHARES).round(2).tolist()
        milliseconds = np.quantile(seconds[name] * 1e3, step_time.SHARES).round(1).tolist()
        tables = sum(member.features.table.count_params() for member in model.members)
        result = {"member": name, "milliseconds": milliseconds, "ratio_to_dhen": ratio}
        result |= {"parameters": model.count_params(), "beside_tables": model.count_params() - tables}
        results.append(result)
        cells = [f"{median} ({low} to {high})" for low, median, high in (milliseconds, ratio)]
        table.add_row(name, *cells, f"{result['parameters']:,}", f"{result['beside_tables']:,}")
    Console().print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps({"batch": BATCH, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
