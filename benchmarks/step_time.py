"""Time of a training step by the size of the embedding table: `python benchmarks/step_time.py [--output FILE]`.

Each side trains the same model (ten categorical features, width 16, little beside the embedding) through the function
that `fit` calls, under MirroredStrategy. Ours is the library with `cetnet run`'s penalty on embeddings; stock has
tf.keras' own Embedding and Adam in their places, and none. A batch has the same ids at every size, spread over the table.
Target: ours at 5e6 rows takes at most twice as long as at 1e4.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import cetnet_keras

tf.get_logger().setLevel(
    "ERROR"
)  # each model has a training function of its own, which TensorFlow takes for retracing

ROWS = (10_000, 1_000_000, 5_000_000)
SIDES = ("ours", "stock")
FEATURES, WIDTH, BATCH, IDS = 10, 16, 2048, 900  # IDS: different ones that a feature has over all batches
SHARES = (0.1, 0.5, 0.9)  # of the quantiles that are shown


def make_model(side: str, rows: int, strategy: tf.distribute.Strategy) -> cetnet_keras.CETNet:
    """The compiled model of one side, with `rows` rows for ids in its table."""
    spec = cetnet_keras.DataSpec.model_validate(
        {
            "name": "synthetic",
            "label": "label",
            "splits": {"train": "train.csv", "eval": "eval.csv", "test": "test.csv"},
            "features": {f"f{i}": {"type": "categorical"} for i in range(FEATURES)},
        }
    )
    member = {"type": "dcnv2", "embedding_dim": WIDTH, "cross_layers": 1, "rank": 4, "hidden": [16]}
    with strategy.scope():
        model = cetnet_keras.CETNet(spec, dict.fromkeys(spec.features, rows // FEATURES), [member])
        if side == "stock":
            table = tf.keras.layers.Embedding(rows + 1, WIDTH, name="table")
            table.build(None)
            model.members[0].features.table = table
        model.compile(
            cetnet_keras.LazyAdam(embedding_l2=0.03, embedding_l2_scope="lazy")
            if side == "ours"
            else tf.keras.optimizers.Adam(jit_compile=False)
        )
    return model


def batches(rows: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Batches without end; the same ranks at every size, and an id is its rank times a stride."""
    rng, stride = np.random.default_rng(0), rows // FEATURES // IDS
    while True:
        ranks = rng.integers(0, IDS, (FEATURES, BATCH))
        yield (
            {f"f{i}": 1 + ranks[i] * stride for i in range(FEATURES)},
            rng.integers(0, 2, BATCH).astype(np.float32),
        )


def make_step(
    model: cetnet_keras.CETNet,
    source: Iterator[tuple[dict[str, np.ndarray], np.ndarray]],
    strategy: tf.distribute.Strategy,
    steps: int,
) -> Callable[[], float]:
    """A function that takes one training step, on one of `steps` batches in turn, and gives its seconds."""
    inputs, labels = zip(*(next(source) for _ in range(steps)), strict=True)
    dataset = tf.data.Dataset.from_tensor_slices(
        ({name: np.stack([batch[name] for batch in inputs]) for name in inputs[0]}, np.stack(labels))
    ).repeat()
    with strategy.scope():
        train, iterator = model.make_train_function(), iter(strategy.experimental_distribute_dataset(dataset))

    def step() -> float:
        start = time.perf_counter()
        with strategy.scope():
            train(iterator)["loss"].numpy()  # .numpy() waits for the step to end
        return time.perf_counter() - start

    return step


def measure(rows: tuple[int, ...], sides: tuple[str, ...], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each round, by "SIDE ROWS"."""
    strategy = tf.distribute.MirroredStrategy()
    steps = {
        f"{side} {size}": make_step(make_model(side, size, strategy), batches(size), strategy, rounds + 3)
        for side in sides
        for size in rows
    }
    return take_turns(steps, rounds)


def take_turns(steps: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each round by the name of the step; all take turns, so that noise hits all alike."""
    for step in steps.values():
        for _ in range(3):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(step())
    return {name: np.array(times) for name, times in seconds.items()}


def summarise(seconds: dict[str, np.ndarray], rows: tuple[int, ...]) -> list[dict[str, Any]]:
    """For each side and size: milliseconds, and the ratio to the same side's smallest table, as quantiles over rounds."""
    results: list[dict[str, Any]] = []
    for name, times in seconds.items():
        side, size = name.split()
        ratio = times / seconds[f"{side} {rows[0]}"]
        results.append(
            {
                "side": side,
                "rows": int(size),
                "milliseconds": np.quantile(times * 1e3, SHARES).round(2).tolist(),
                "ratio_to_smallest": np.quantile(ratio, SHARES).round(2).tolist(),
            }
        )
    return results


def show(results: list[dict[str, Any]]) -> None:
    table = Table(title=f"A training step, batch {BATCH}: median (10 % to 90 %) of the rounds")
    for column in ("side", "table rows", "ms a step", "times its smallest table"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for result in results:
        cells = []
        for key in ("milliseconds", "ratio_to_smallest"):
            low, median, high = result[key]
            cells.append(f"{median} ({low} to {high})")
        table.add_row(str(result["side"]), f"{result['rows']:,}", *cells)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=ROWS, help="rows of the tables, the smallest first"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    rows = tuple(arguments.rows)
    if rows[0] < FEATURES * IDS:
        parser.error(
            f"--rows: found {rows[0]}, expected {FEATURES * IDS} or more: a batch has so many different ids"
        )
    results = summarise(measure(rows, tuple(arguments.sides), arguments.rounds), rows)
    show(results)
    if arguments.output:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        devices = [device.name for device in tf.config.list_physical_devices()]
        report = {
            "machine": machine,
            "devices": devices,
            "tensorflow": tf.__version__,
            "batch": BATCH,
            "results": results,
        }
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
