"""What one run may set over model.yaml: a runner whose definition is made once hands it to the Trainer beside the text."""

import json
from collections.abc import Mapping
from typing import Any

from cetnet_keras.spec import ModelSpec, TrainingSpec, parse_spec
from cetnet_keras.spec.document import Document

TRAINING_PARAMETERS = ("batch_size", "epochs", "learning_rate", "seed")  # keys of model.yaml's `training`


def with_run_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's custom_config with what it holds of TRAINING_PARAMETERS written into the text of model.yaml.

    The text goes into the model's assets, so it has to be the one that the model was made by. It stays as it is, comments
    and all, unless a value differs from its own.

    Args:
        config: {"model_spec": text of model.yaml, [a name of TRAINING_PARAMETERS]: number, ...}.
    Raises:
        InputError: the text, or a value for this run, is not sound.
    """
    given = {name: config[name] for name in TRAINING_PARAMETERS if name in config}
    kept = {key: value for key, value in config.items() if key not in given}
    text = config["model_spec"]
    training: TrainingSpec = parse_spec(ModelSpec, text, "model.yaml").training
    changed = {name: value for name, value in given.items() if value != getattr(training, name)}
    if not changed:
        return kept
    document = Document(text, "model.yaml").value or {}
    document["training"] = (document.get("training") or {}) | changed
    merged = (
        json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    )  # JSON is YAML that nothing reads otherwise
    parse_spec(ModelSpec, merged, "model.yaml with the run's parameters")
    return kept | {"model_spec": merged}
