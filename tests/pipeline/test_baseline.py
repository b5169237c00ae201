"""The model that a new one is compared with: the last pushed one that the rows' columns fill."""

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.types import Artifact
from tfx.types.standard_artifacts import Model, ModelBlessing

from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.baseline import NEW, LatestComparableModelStrategy
from pipeline.pushed_model import raw_inputs

FEATURES = {
    "user": (tf.string, [None]),
    "age": (tf.int64, [None]),
    "seen": (tf.string, [None, None]),
    "look": (tf.float32, [None, 2]),
}
SPEC = """\
name: clicks
label: click
features:
  user: {type: categorical}
  age: {type: categorical, dtype: int64}
  seen: {type: sequence, separator: null}
  look: {type: vector, dimension: 2}
splits: {train: a.csv, eval: b.csv, test: c.csv}
"""


def model(folder: Path, ledger: Any, inputs: list[str]) -> Model:
    """A model that takes these of the FEATURES."""
    artifact = Model()
    artifact.id = number = ledger.artifact("Model")
    module = tf.Module()
    specs = {
        name: tf.TensorSpec(shape, dtype, name) for name, (dtype, shape) in FEATURES.items() if name in inputs
    }
    default = tf.function(lambda **values: {"ctr": tf.zeros(tf.shape(values["user"])[:1])})
    signature = default.get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder / str(number) / "Format-Serving"), {"serving_default": signature})
    artifact.uri = str(folder / str(number))
    return artifact


def blessing(of: Model) -> ModelBlessing:
    artifact = ModelBlessing()
    artifact.set_int_custom_property("current_model_id", of.id)
    artifact.set_int_custom_property("blessed", 1)
    return artifact


def resolved(ledger: Any, models: list[Model], spec: str = SPEC, new: Model | None = None) -> list[Artifact]:
    strategy = LatestComparableModelStrategy("clicks", raw_inputs(parse_spec(DataSpec, spec, "data.yaml")))
    blessings = [blessing(each) for each in models]
    given = {"model": list(models), "model_blessing": blessings, NEW: [] if new is None else [new]}
    found = strategy.resolve_artifacts(ledger.store, given)
    assert found is not None and found.keys() == given.keys()  # else TFX goes on without a baseline
    assert len(found["model"]) == len(found["model_blessing"])
    return found["model"]


def test_the_last_model_that_takes_no_other_columns_is_compared_with(tmp_path: Path, ledger: Any) -> None:
    first, second = model(tmp_path, ledger, ["user", "seen"]), model(tmp_path, ledger, list(FEATURES))
    ledger.push(first.id)
    ledger.push(second.id)
    assert resolved(ledger, [first, second]) == [second]
    for old, new in {
        "  age: {type: categorical, dtype: int64}\n": "",
        "categorical, dtype: int64": "categorical",
        "dimension: 2": "dimension: 3",
    }.items():
        assert resolved(ledger, [first, second], SPEC.replace(old, new)) == [first]
    joined = SPEC.replace("separator: null", 'separator: "|"')
    assert resolved(ledger, [first, second], joined) == []


def test_a_blessed_model_that_was_deleted_is_passed_over(tmp_path: Path, ledger: Any) -> None:
    first, second = model(tmp_path, ledger, ["user"]), model(tmp_path, ledger, ["user"])
    ledger.push(first.id)
    ledger.push(second.id)
    shutil.rmtree(second.uri)
    assert resolved(ledger, [first, second]) == [first]
    assert resolved(ledger, []) == []


def test_a_model_that_the_parity_gate_refused_is_passed_over(tmp_path: Path, ledger: Any) -> None:
    first, second = model(tmp_path, ledger, ["user"]), model(tmp_path, ledger, ["user"])
    ledger.push(first.id)
    ledger.push(second.id, pushed=0)
    assert resolved(ledger, [first, second]) == [first]
    assert resolved(ledger, [second]) == []


def test_a_model_is_compared_with_the_one_pushed_before_it_not_with_itself(
    tmp_path: Path, ledger: Any
) -> None:
    first, second = model(tmp_path, ledger, ["user"]), model(tmp_path, ledger, ["user"])
    ledger.push(first.id)
    assert resolved(ledger, [first], new=first) == []
    ledger.push(second.id)
    ledger.push(first.id)
    third = model(tmp_path, ledger, ["user"])
    assert resolved(ledger, [first, second, third], new=third) == [first]
    assert resolved(ledger, [first, second], new=first) == [second]
