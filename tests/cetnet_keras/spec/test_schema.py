"""The JSON Schema agrees with the code, and the documents with the schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cetnet_keras.spec import parse_spec
from cetnet_keras.spec.reference import EXAMPLES, markdown
from cetnet_keras.spec.schema import KINDS, json_schema

DOCS = Path(__file__).parents[3] / "docs"


def changed(name: str, change: str) -> Any:
    """An example with YAML laid over it: mappings merge, anything else replaces."""

    def merge(below: Any, above: Any) -> Any:
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: merge(below.get(key), value) for key, value in above.items()}

    return merge(yaml.safe_load(EXAMPLES[name]), yaml.safe_load(change))


REFUSED = [
    ("data", "{negative_keep_rate: 0}"),
    ("data", "{crosses: []}"),
    ("data", "{labl: click}"),
    ("data", "{splits: null}"),
    ("data", "{splits: {train: a}}"),
    ("data", "{slices: [user_id]}"),
    ("data", "{csv: {delimiter: ab}}"),
    ("data", "{features: {user_id: {type: vector}}}"),
    ("data", "{features: {user_id: {role: position}}}"),
    ("data", "{features: {user_id: {private: true}}}"),
    ("data", "{features: {user_id: {hash_buckets: true}}}"),
    ("data", "{features: {price: {default: '1'}}}"),
    ("data", "{features: {history: {where: {click: true}}}}"),
    ("data", "{features: {a-b: {type: categorical}}}"),
    ("model", "{members: []}"),
    ("model", "{members: [{type: a b}]}"),
    ("model", "{fusion: {temperature: 0}}"),
    ("model", "{training: {epochs: 1.5}}"),
]
ACCEPTED = [
    ("data", "{}"),
    ("data", "{splits: {files: [a, b], by: hash, column: user_id, within: null}}"),
    ("data", "{features: {item_id: {vocabulary: null}, sold: {type: categorical, identity: 7}}}"),
    ("data", '{csv: {delimiter: "\\t"}}'),
    ("data", "{weight: w, negative_keep_rate: 0.1, id: [request], csv: {quote: null}}"),
    (
        "data",
        "{features: {time: {type: timestamp, format: seconds, parts: [hour]}, v: {type: vector, dimension: 3}}}",
    ),
    ("data", "{features: {tags: {separator: null, padding: '0'}}}"),
    ("model", "{}"),
    ("model", "{members: [{type: 'a.b:C', anything: [1]}]}"),
]


@pytest.mark.parametrize("name", KINDS)
def test_schemas_are_valid_themselves(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


@pytest.mark.parametrize(("name", "change"), ACCEPTED)
def test_schema_and_code_accept_the_same(name: str, change: str) -> None:
    document = changed(name, change)
    jsonschema.Draft202012Validator(json_schema(name)).validate(document)
    KINDS[name].model_validate(document)


@pytest.mark.parametrize(("name", "change"), REFUSED)
def test_schema_and_code_refuse_the_same(name: str, change: str) -> None:
    document = changed(name, change)
    assert not jsonschema.Draft202012Validator(json_schema(name)).is_valid(document)
    if change != "{splits: null}":  # the library alone can do without
        with pytest.raises(ValueError):
            KINDS[name].model_validate(document)


@pytest.mark.parametrize("name", KINDS)
def test_examples_in_the_documents_are_sound(name: str) -> None:
    assert parse_spec(KINDS[name], EXAMPLES[name], f"{name}.yaml")


@pytest.mark.parametrize("name", KINDS)
def test_documents_say_what_the_code_says(name: str) -> None:
    path = DOCS / f"{name}_spec.md"
    again = f"run: cetnet spec schema {name} --markdown > docs/{name}_spec.md"
    assert path.read_text(encoding="utf-8") == markdown(name), again


def test_every_key_is_described() -> None:
    for name in KINDS:
        schema = json_schema(name)
        for model in (schema, *schema["$defs"].values()):
            assert model["description"]
            for key, value in model["properties"].items():
                assert value.get("description"), f"{model['title']}.{key}"


def test_schemas_come_out_the_same_each_time() -> None:
    assert json.dumps(json_schema("data")) == json.dumps(json_schema("data"))
