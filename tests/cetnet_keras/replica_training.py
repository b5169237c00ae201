"""Trains small ensembles on one and on two logical devices, and looks for ops as large as a table. A program, no test.

Logical devices can only be made before TensorFlow starts: hence a process of its own. Usage: replica_training.py OUTPUT,
where OUTPUT.npz gets the weights and OUTPUT.json the ops that were found and the losses that were logged.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import cetnet_keras

USERS, ITEMS, BATCH = 1009, 40, 8
ROWS = 1 + USERS + ITEMS  # of a table; nothing else in the model has this size
DIN = {"type": "din", "embedding_dim": 4, "hidden": [4], "attention_hidden": [3]}
DHEN = {"type": "dhen", "embedding_dim": 3, "hidden": [4], "layers": 1}
DCN = {"type": "dcnv2", "embedding_dim": 4, "hidden": [4], "cross_layers": 1}
NORM = DCN | {"batch_norm": True}
WARM = {"warmup_steps": 3}
LEARNED = {"confidence": "base_rate", "calibrated": True, "learned_temperature": True, "learned_prior": True}
FEATURES = {
    "user": {"type": "categorical"},
    "item": {"type": "categorical", "role": "candidate"},
    "history": {"type": "sequence", "vocabulary": "item"},
}


class StockLookup(tf.keras.layers.Embedding):
    """The layer that ours replaces, in the same place."""


def make_spec() -> cetnet_keras.DataSpec:
    splits = {"train": "train.csv", "eval": "eval.csv", "test": "test.csv"}
    return cetnet_keras.DataSpec.model_validate(
        {"name": "two", "label": "label", "splits": splits, "features": FEATURES}
    )


def make_rows(rows: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Few items, so that every batch has each of them many times, on both replicas; some padding."""
    rng = np.random.default_rng(seed)
    inputs = {
        "user": rng.integers(1, USERS + 1, rows),
        "item": rng.integers(1, 6, rows),
        "history": rng.integers(0, 6, (rows, 5)),
    }
    return inputs, rng.integers(0, 2, rows).astype(np.float32)


def make_model(
    strategy: tf.distribute.Strategy, members: list[dict[str, Any]], make_optimizer: Callable[[], Any]
) -> cetnet_keras.CETNet:
    tf.keras.utils.set_random_seed(1)
    fusion = LEARNED if len(members) > 1 else {}  # one member has nobody to be weighed against
    with strategy.scope():
        model = cetnet_keras.CETNet(make_spec(), {"user": USERS, "item": ITEMS}, members, WARM, fusion)
        model.compile(make_optimizer())
    return model


def make_stock_model(strategy: tf.distribute.Strategy) -> cetnet_keras.CETNet:
    """A model whose lookup and optimiser are Keras' own."""
    model = make_model(strategy, [DCN], tf.keras.optimizers.Adam)
    with strategy.scope():
        table = StockLookup(ROWS, DCN["embedding_dim"], name="stock_lookup")
        table.build(None)
        model.members[0].features.table = table
        model.make_train_function()
    return model


def train(model: cetnet_keras.CETNet) -> list[dict[str, list[float]]]:
    """What two fits log, the first rows for validation.

    They have three batches of 8 rows and one of 5 (3 and 2 for two replicas), then one of 8 and one of 1.
    One row leaves a replica with none, whose moving averages of a batch norm then rest: such a model gets 2 rows.
    """
    least = 2 if model.member_specs[0].options.get("batch_norm") else 1
    return [
        model.fit(dataset(rows, seed), validation_data=dataset(3 * BATCH, 0), verbose=0).history
        for rows, seed in [(3 * BATCH + 5, 0), (BATCH + least, 1)]
    ]


def dataset(rows: int, seed: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(make_rows(rows, seed)).batch(BATCH)


def training_ops(model: cetnet_keras.CETNet) -> dict[str, Any]:
    """Of the training graph, its nested functions included: how many ops there are, and how many whose output's shape is
    known; which have an output of as many rows as a table.
    """
    with model.distribute_strategy.scope():  # as `fit` does: its graph is taken, not traced anew
        iterator = iter(model.distribute_strategy.experimental_distribute_dataset(dataset(BATCH, 0)))
        graph = model.train_tf_function.get_concrete_function(iterator).graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    shapes = [(node, shape) for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    as_large = {
        f"{node.op} {node.name}" for node, shape in shapes if ROWS in [entry.size for entry in shape.dim]
    }
    known = sum(not shape.unknown_rank for _, shape in shapes)
    return {
        "total": len(nodes),
        "outputs": len(shapes),
        "of_known_rank": known,
        "of_table_size": sorted(as_large),
    }


def main(output: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # one of each for all trainings: the collective ops of a second strategy of two would take the keys of the first
    strategies = {n: tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(n)]) for n in (1, 2)}
    weights, ops, logs = {}, {}, {}
    lazy = {"embedding_l2": 0.05, "embedding_l2_scope": "lazy"}
    trainings = {
        "lazy_adam": ([DIN, DHEN, DCN], lambda: cetnet_keras.LazyAdam(0.01, **lazy)),
        "row_wise_adagrad": ([DCN], lambda: cetnet_keras.RowWiseAdagrad(0.05, **lazy)),
        "clipped": ([DIN, DCN], lambda: cetnet_keras.LazyAdam(0.01, **lazy, global_clipnorm=0.1)),
        "batch_norm": ([NORM], lambda: cetnet_keras.LazyAdam(0.01)),
    }
    for name, (members, make_optimizer) in trainings.items():
        for replicas, strategy in strategies.items():
            model = make_model(strategy, members, make_optimizer)
            logs[f"{name} {replicas}"] = train(model)
            ops[f"{name} {replicas}"] = training_ops(model)
            for position, weight in enumerate(model.get_weights()):
                weights[f"{name} {replicas} {position}"] = weight
    ops["stock"] = training_ops(make_stock_model(strategies[1]))
    np.savez(f"{output}.npz", **weights)
    with open(f"{output}.json", "w") as file:
        json.dump({"ops": ops, "logs": logs}, file)


if __name__ == "__main__":
    main(sys.argv[1])
