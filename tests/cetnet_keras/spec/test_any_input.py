"""Whatever a file holds, it is loaded or refused by InputError on one line."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, ModelSpec, load_data_spec, load_model_spec, parse_spec
from cetnet_keras.spec.reference import EXAMPLES

SOUND: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in EXAMPLES.items()}
SOUND["data"]["csv"] = {
    "delimiter": ";",
    "columns": ["click", "user_id", "item_id", "price", "tags", "time", "a", "b"],
}
SOUND["data"]["features"] |= {
    "a": {"type": "sequence", "align": "x", "hash_buckets": 9},
    "b": {"type": "sequence", "align": "x", "separator": "|", "max_length": 100},
}
KINDS = {"data": DataSpec, "model": ModelSpec}

words = st.sampled_from(
    [
        *("user_id", "item_id", "price", "history", "click", "tags", "categorical", "sequence", "numeric"),
        *(
            "vector",
            "context",
            "position",
            "hash",
            "time",
            "paper",
            "dhen",
            "a:B",
            "self",
            "x y",
            "",
            "\ud800",
        ),
        *(
            "type",
            "role",
            "vocabulary",
            "identity",
            "hash_buckets",
            "of",
            "align",
            "weight",
            "splits",
            "files",
        ),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=4)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=3), max_leaves=5
)
quick = settings(
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def containers(value: Any) -> list[Any]:
    """The dicts and lists of a document."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict | list) else []) + [c for v in below for c in containers(v)]


@st.composite
def mutated(draw: st.DrawFn, name: str) -> str:
    """The text of a sound spec after one to three changes: a key deleted, added or given another value."""
    document = copy.deepcopy(SOUND[name])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(containers(document)))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        change = draw(st.sampled_from(["delete", "add", "replace"]))
        if change == "add" or not keys:
            added = draw(values)
            place.update({draw(words): added}) if isinstance(place, dict) else place.append(added)
        elif change == "delete":
            del place[draw(st.sampled_from(keys))]
        else:
            place[draw(st.sampled_from(keys))] = draw(values)
    return str(yaml.safe_dump(document, allow_unicode=draw(st.booleans()), sort_keys=False))


def loads_or_is_refused(name: str, text: str) -> None:
    try:
        spec = parse_spec(KINDS[name], text, "file.yaml")
    except InputError as error:
        message = str(error)
        assert message.startswith("file.yaml:")
        assert message.isprintable() and len(message) < 1000
    else:
        assert type(spec).model_validate(spec.model_dump(mode="json")) == spec


@quick
@given(mutated("data"))
def test_any_change_to_a_data_spec_loads_or_is_refused(text: str) -> None:
    loads_or_is_refused("data", text)


@quick
@given(mutated("model"))
def test_any_change_to_a_model_spec_loads_or_is_refused(text: str) -> None:
    loads_or_is_refused("model", text)


@quick
@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_any_cut_or_insertion_in_the_text_loads_or_is_refused(name: str, data: st.DataObject) -> None:
    text = EXAMPLES[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    insertion = data.draw(st.text("{}[]:,-&*!|>?'\"#%@`\t\n ~abc019\\", max_size=6))
    loads_or_is_refused(name, text[:start] + insertion + text[end:])


@quick
@given(st.sampled_from(sorted(EXAMPLES)), st.text())
def test_any_text_is_refused_or_an_empty_model(name: str, text: str) -> None:
    loads_or_is_refused(name, text)


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_an_empty_model(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yaml"
        path.write_bytes(content)
        for load in (load_data_spec, load_model_spec):
            try:
                load(path)
            except InputError as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error)
