"""The model that a new one is compared with: the last blessed one that the rows' columns fill."""

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from ml_metadata import proto
from ml_metadata.metadata_store.metadata_store import MetadataStore
from tfx.types import Artifact
from tfx.types.standard_artifacts import Model, ModelBlessing

from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.baseline import LatestComparableModelStrategy
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


@pytest.fixture
def store() -> MetadataStore:
    config = proto.ConnectionConfig()
    config.fake_database.SetInParent()
    return MetadataStore(config)


def model(folder: Path, number: int, inputs: list[str]) -> Model:
    """A model that takes these of the FEATURES."""
    module = tf.Module()
    specs = {
        name: tf.TensorSpec(shape, dtype, name) for name, (dtype, shape) in FEATURES.items() if name in inputs
    }
    default = tf.function(lambda **values: {"ctr": tf.zeros(tf.shape(values["user"])[:1])})
    signature = default.get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder / str(number) / "Format-Serving"), {"serving_default": signature})
    artifact = Model()
    artifact.uri, artifact.id = str(folder / str(number)), number
    return artifact


def blessing(of: Model) -> ModelBlessing:
    artifact = ModelBlessing()
    artifact.set_int_custom_property("current_model_id", of.id)
    artifact.set_int_custom_property("blessed", 1)
    return artifact


def resolved(store: MetadataStore, models: list[Model], spec: str = SPEC) -> list[Artifact]:
    strategy = LatestComparableModelStrategy(raw_inputs(parse_spec(DataSpec, spec, "data.yaml")))
    found = strategy.resolve_artifacts(
        store, {"model": list(models), "model_blessing": [blessing(each) for each in models]}
    )
    assert found is not None and len(found["model"]) == len(found["model_blessing"])
    return found["model"]


def test_the_last_model_that_takes_no_other_columns_is_compared_with(
    tmp_path: Path, store: MetadataStore
) -> None:
    first, second = model(tmp_path, 1, ["user", "seen"]), model(tmp_path, 2, list(FEATURES))
    assert resolved(store, [first, second]) == [second]
    for old, new in {
        "  age: {type: categorical, dtype: int64}\n": "",
        "categorical, dtype: int64": "categorical",
        "dimension: 2": "dimension: 3",
    }.items():
        assert resolved(store, [first, second], SPEC.replace(old, new)) == [first]
    joined = SPEC.replace("separator: null", 'separator: "|"')
    assert resolved(store, [first, second], joined) == []


def test_a_blessed_model_that_was_deleted_is_passed_over(tmp_path: Path, store: MetadataStore) -> None:
    first, second = model(tmp_path, 1, ["user"]), model(tmp_path, 2, ["user"])
    shutil.rmtree(second.uri)
    assert resolved(store, [first, second]) == [first]
    assert resolved(store, []) == []
