"""JSON Schema of the two files, for editors, from the models that read them."""

from typing import Any

from cetnet_keras.spec.base import SpecModel
from cetnet_keras.spec.data_spec import DataSpec
from cetnet_keras.spec.model_spec import ModelSpec

KINDS: dict[str, type[SpecModel]] = {"data": DataSpec, "model": ModelSpec}
"""The files that have a schema, by their name without .yaml."""
_DESCRIPTIONS = {
    "data": "What the columns of a data set mean; everything that depends on them is derived from it.",
    "model": "Which members a model has and how they are trained. Every key may be left out.",
}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a file in `KINDS`; what it accepts may still contradict itself."""
    schema = KINDS[name].model_json_schema()
    if name == "data":
        schema["required"].append("splits")  # the library can do without, a file cannot
        schema["properties"]["splits"] = _without_null(schema["properties"]["splits"])
    about = {"title": f"{name}.yaml", "description": _DESCRIPTIONS[name]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | about


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    anything_else = [option for option in schema["anyOf"] if option != {"type": "null"}]
    return {"anyOf": anything_else, "description": schema["description"], "title": schema["title"]}
