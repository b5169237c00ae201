"""The signatures of a model with its transform, saved and loaded."""

from pathlib import Path

import cetnet_keras

# isort: split

import numpy as np
import tensorflow as tf

from cetnet_keras import DataSpec
from cetnet_keras.spec import parse_spec
from serving.signatures import ServableModel, Tensors

DATA = """\
name: clicks
label: click
id: [user, price, seen, request]
features:
  user: {type: categorical, dtype: int64}
  price: {type: numeric}
  seen: {type: timestamp, format: seconds, parts: [hour]}
splits: {files: clicks.csv, by: hash, column: user, eval: 0.2, test: 0.2}
"""


def transformed(raw: Tensors) -> Tensors:
    known, price = raw["user"] > 0, raw["price"]
    missing = tf.math.is_nan(price)
    return {
        "user": tf.where(known, raw["user"], 0),
        "price": tf.where(missing, 0.0, price),
        "price/missing": tf.cast(missing, tf.float32),
        "seen": tf.ones([tf.size(price), 1], tf.int64),
    }


def example(**values: int | float | bytes) -> bytes:
    found = tf.train.Example()
    for name, value in values.items():
        kind = {int: "int64_list", float: "float_list", bytes: "bytes_list"}[type(value)]
        getattr(found.features.feature[name], kind).value.append(value)
    return bytes(found.SerializeToString())


def test_ids_of_any_type_are_answered_as_text(tmp_path: Path) -> None:
    spec = parse_spec(DataSpec, DATA, "data.yaml")
    model = cetnet_keras.CETNet(spec, {"user": 9, "seen": 25}, [{"type": "mlp", "hidden": [3]}])
    ServableModel(model, transformed, {}).save(str(tmp_path))
    rows = [example(user=7, price=0.5, seen=1_700_000_000, request=b"r1"), example(request=b"r2")]
    answer = tf.saved_model.load(str(tmp_path)).signatures["examples"](examples=tf.constant(rows))
    ids = {name: answer[name].numpy().tolist() for name in spec.id}
    assert ids == {
        "user": [b"7", b""],
        "price": [b"0.5", b""],
        "seen": [b"1700000000", b""],
        "request": [b"r1", b"r2"],
    }
    assert answer["ctr"].shape == [2] and np.isfinite(answer["ctr"]).all()
