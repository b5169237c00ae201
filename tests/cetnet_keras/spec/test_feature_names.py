"""The names that a data spec allows are those that come through a SavedModel signature unchanged."""

import sys
from pathlib import Path

import pytest
import tensorflow as tf

from cetnet_keras.spec import DataSpec


class Adder(tf.Module):
    """Adds its inputs up, whatever they are called."""


def inputs_after_saving(names: list[str], folder: Path) -> list[str]:
    """The names of a signature's inputs once it is saved and loaded."""
    specs = {name: tf.TensorSpec([None], tf.float32, name) for name in names}
    signature = tf.function(lambda inputs: {"ctr": tf.add_n(list(inputs.values()))}, input_signature=[specs])
    module = Adder()
    module.signature = signature
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return sorted(loaded.structured_input_signature[1])


def spec_of(names: list[str]) -> DataSpec:
    features = {name: {"type": "categorical"} for name in names}
    return DataSpec.model_validate({"name": "shop", "label": "click", "features": features})


def test_allowed_names_come_through(tmp_path: Path) -> None:
    names = [
        "C1",
        "I13",
        "feat_1",
        "feat_10",
        "x_",
        "UserId",
        "classes",
        "inputs",
        "training",
        "name",
        "type",
    ]
    assert inputs_after_saving(names, tmp_path) == sorted(spec_of(names).features)


@pytest.mark.parametrize("names", [["cate-id"], ["a.b"], ["_x"], ["C1", "c1"], ["naïve"], ["a b"], ["self"]])
def test_refused_names_would_not(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rename"):
        spec_of(names)
    try:
        assert inputs_after_saving(names, tmp_path) != sorted(names)
    except (ValueError, TypeError) as error:
        assert "signature" in str(error) or "multiple values" in str(error)


@pytest.mark.parametrize("name", ["class", "from", "None"])
def test_words_of_python_are_refused_whatever_the_python(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"taken.*rename"):
        spec_of([name])
    if sys.version_info >= (3, 11):
        with pytest.raises(ValueError, match="not a valid parameter name"):
            inputs_after_saving([name], tmp_path)
