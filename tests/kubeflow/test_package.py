"""The text of a package: what is in it is read back by every reader, and it depends on nothing but that."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from kubeflow.cetnet.package import Package

TEXT = st.text(st.characters(blacklist_categories=("Cs",)))
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


@example({"key": "\n\x85"})
@example({"key": "a\n\u2028 b\u2029"})
@given(st.dictionaries(TEXT, VALUES, min_size=1))
def test_any_spec_is_read_back(spec: dict[str, Any]) -> None:
    assert yaml.safe_load(Package(spec).text()) == spec


@pytest.mark.parametrize(
    "value",
    [
        "1e3",
        "0o7",
        "0x1F",
        "y",
        "n",
        "Yes",
        "off",
        "null",
        "~",
        ".inf",
        "1_000",
        "12:30",
        "2024-01-01",
        "",
        "-",
    ],
)
def test_what_a_reader_of_another_yaml_would_take_for_a_number_or_a_truth_is_quoted(value: str) -> None:
    line = Package({"key": value}).text().strip()
    assert line in (f'key: "{value}"', f"key: '{value}'")


def test_the_order_of_keys_and_shared_objects_leave_no_trace() -> None:
    shared = {"b": 1.0, "a": ["x"]}
    other = {"two": {"a": ["x"], "b": 1}, "one": {"b": 1, "a": ["x"]}}
    assert Package({"one": shared, "two": shared}).text() == Package(other).text()
    assert "&" not in Package({"one": shared, "two": shared}).text()


def test_a_platform_is_a_second_document() -> None:
    package = Package({"schemaVersion": "2.1.0"}, {"platforms": {"kubernetes": {}}})
    assert Package(*yaml.safe_load_all(package.text())) == package
