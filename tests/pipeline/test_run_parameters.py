"""Training parameters that one run sets over model.yaml."""

import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec import ModelSpec, parse_spec
from pipeline.run_parameters import TRAINING_PARAMETERS, with_run_parameters

TEXT = """\
# a comment
members: [{type: dcnv2, hidden: [8]}]
training: {epochs: 3, learning_rate: 1e-2, patience: 1}
"""


def test_what_a_run_sets_is_in_the_text_and_the_rest_stays() -> None:
    config = with_run_parameters(
        {"data_spec": "d", "model_spec": TEXT, "code": "c", "epochs": 5, "batch_size": 64}
    )
    assert set(config) == {"data_spec", "model_spec", "code"} and config["data_spec"] == "d"
    before, after = (parse_spec(ModelSpec, text, "m") for text in (TEXT, config["model_spec"]))
    changed = before.training.model_copy(update={"epochs": 5, "batch_size": 64})
    assert after == before.model_copy(update={"training": changed})


def test_a_text_that_says_the_same_already_stays_as_it_is() -> None:
    assert with_run_parameters({"model_spec": TEXT, "epochs": 3, "learning_rate": 0.01})["model_spec"] == TEXT
    assert with_run_parameters({"model_spec": TEXT})["model_spec"] == TEXT
    assert with_run_parameters({"model_spec": "", "seed": 42})["model_spec"] == ""


def test_an_empty_model_spec_takes_them_all() -> None:
    given = dict(zip(TRAINING_PARAMETERS, (32, 2, 0.5, 7), strict=True))
    training = parse_spec(
        ModelSpec, with_run_parameters({"model_spec": "", **given})["model_spec"], "m"
    ).training
    assert {name: getattr(training, name) for name in TRAINING_PARAMETERS} == given


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 0), ("learning_rate", -1.0), ("seed", -1), ("epochs", 1.5)]
)
def test_a_value_that_model_yaml_could_not_have_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"run's parameters.*training\.{name}"):
        with_run_parameters({"model_spec": TEXT, name: value})
