"""Bodies of predict calls become tensors, and wrong ones the messages of a stock server."""

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.json_parser import parse_object
from serving.json_tensor import input_arrays, signature_name
from serving.metadata import TensorInfo
from serving.status import Code, StatusError

ONE = {"x": TensorInfo("float", None)}
TWO = {"a": TensorInfo("float", None), "b": TensorInfo("string", None)}
NUMPY = {
    "float": np.float32,
    "double": np.float64,
    "int64": np.int64,
    "int32": np.int32,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}


def read(body: Any, inputs: dict[str, TensorInfo]) -> dict[str, np.ndarray]:
    text = body if isinstance(body, str) else json.dumps(body)
    return input_arrays(parse_object(text.encode()), inputs)[1]


def typed(dtype: str) -> dict[str, TensorInfo]:
    return {"x": TensorInfo(dtype, None)}


@pytest.mark.parametrize("dtype", NUMPY)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_numpy_writes_is_read_back_bit_for_bit(dtype: str, data: st.DataObject) -> None:
    array = data.draw(
        hnp.arrays(NUMPY[dtype], hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    )
    (found,) = read({"inputs": array.tolist()}, typed(dtype)).values()
    expected = np.array(array.tolist(), NUMPY[dtype])  # a size of 0 hides the sizes behind it in JSON
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, expected, strict=True)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.floats(width=32), st.text()), min_size=1, max_size=5))
def test_rows_and_columns_of_the_same_values_are_the_same_tensors(rows: list[tuple[float, str]]) -> None:
    in_rows = read({"instances": [{"a": a, "b": b} for a, b in rows]}, TWO)
    in_columns = read({"inputs": {"a": [a for a, _ in rows], "b": [b for _, b in rows]}}, TWO)
    for name in TWO:
        np.testing.assert_array_equal(in_rows[name], in_columns[name], strict=True)
    assert in_rows["b"].tolist() == [b.encode() for _, b in rows]


@settings(deadline=None)
@given(values=st.lists(st.binary(), min_size=1, max_size=5))
def test_bytes_come_through_base64(values: list[bytes]) -> None:
    leaves = [{"b64": base64.b64encode(value).decode()} for value in values]
    assert read({"inputs": leaves}, typed("string"))["x"].tolist() == values
    assert read({"instances": leaves}, typed("string"))["x"].tolist() == values


@pytest.mark.parametrize(
    ("text", "value"),
    [("aGk=", b"hi"), ("aGk", b"hi"), (" aG\nk = ", b"hi"), ("", b""), ("/+8=", b"\xff\xef")],
)
def test_base64_needs_no_padding_and_skips_blanks(text: str, value: bytes) -> None:
    assert read({"inputs": {"b64": text}}, typed("string"))["x"].item() == value


@pytest.mark.parametrize("text", ["_-8=", "a", "aGk==", "aG=k", "aGk=\u00e9"])
def test_other_base64_is_refused(text: str) -> None:
    assert message({"inputs": {"b64": text}}, typed("string")) == "Unable to base64 decode"


@pytest.mark.parametrize(
    ("dtype", "token", "value"),
    [
        ("float", "1e39", math.inf),
        ("float", "-1e39", -math.inf),
        ("float", "16777217", 16777216.0),
        ("double", "18446744073709551616", 2.0**64),
        ("float", "NaN", math.nan),
        ("float", "-Inf", -math.inf),
        ("int64", "-9223372036854775808", -(2**63)),
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("int32", "-0", 0),
        ("int8", "300", 44),  # any int32 token, which then wraps
        ("uint8", "-1", 255),
        ("int16", "2147483647", -1),
    ],
)
def test_number_tokens(dtype: str, token: str, value: float) -> None:
    (array,) = read('{"inputs": [%s]}' % token, typed(dtype)).values()  # noqa: UP031
    np.testing.assert_equal(array.tolist(), [value])


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ('{"inputs": 1.5}', ()),
        ('{"inputs": []}', (0,)),
        ('{"inputs": [[]]}', (1, 0)),
        ('{"instances": [1, 2]}', (2,)),
        ('{"instances": [[1, 2], [3, 4]]}', (2, 2)),
        ('{"instances": [{"x": [1]}, {"x": [2]}]}', (2, 1)),
        ('{"instances": [[], []]}', (2, 0)),
    ],
)
def test_shapes(body: str, shape: tuple[int, ...]) -> None:
    assert read(body, ONE)["x"].shape == shape


def test_columns_may_differ_in_length_and_extra_ones_are_ignored() -> None:
    arrays = read({"inputs": {"a": [1], "b": [["x", "y"]], "c": None}}, TWO)
    assert {name: array.shape for name, array in arrays.items()} == {"a": (1,), "b": (1, 2)}


def message(body: Any, inputs: dict[str, TensorInfo], code: Code = Code.INVALID_ARGUMENT) -> str:
    with pytest.raises(StatusError) as refused:
        read(body, inputs)
    assert refused.value.code == code
    return refused.value.message


BODY = '{\n    "inputs": 1,\n    "instances": [2]\n}'
ROW = '{\n    "a": 1\n}'


@pytest.mark.parametrize(
    ("body", "inputs", "expected"),
    [
        (
            {"inputs": 1, "instances": [2]},
            ONE,
            f"JSON Value: {BODY} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist ",
        ),
        ({}, ONE, "Missing 'inputs' or 'instances' key"),
        (
            {"instances": 1},
            ONE,
            "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array",
        ),
        ({"instances": []}, ONE, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (
            {"instances": [1]},
            TWO,
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map",
        ),
        (
            {"inputs": [1]},
            TWO,
            "inputs is a plain value/list, but expecting an object as multiple input tensors required "
            "as per tensorinfo_map",
        ),
        ({"inputs": {"a": [1]}}, TWO, "Missing named input: b in 'inputs' object."),
        ({"instances": [{"x": 1}, 2]}, ONE, "Expecting object but got list at item 1 of input list"),
        ({"instances": [1, {"x": 2}]}, ONE, "Expecting value/list but got object at item 1 of input list"),
        (
            {"instances": [{"a": 1, "b": ""}, {"a": 1}]},
            TWO,
            f"Failed to process element: 1 of 'instances' list. JSON object: {ROW} "
            "keys must be equal to: a,b",
        ),
        (
            {"instances": [{"a": 1, "c": 2}]},
            TWO,
            "Failed to process element: 0 key: c of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: c",
        ),
        (
            {"instances": [[1, 2], [3]]},
            ONE,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 2 but got: 1",
        ),
        (
            {"instances": [{"x": [[1, 2]]}, {"x": [[1], [2]]}]},
            ONE,
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting shape [1,2] but got: [2,1]",
        ),
        (
            {"inputs": [[1, 2], [3]]},
            ONE,
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ({"inputs": [1, [2]]}, ONE, "Encountered list at unexpected level: 1 expected < 1"),
        (
            {"inputs": [[1], 2]},
            ONE,
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"inputs": {"b65": "aGk="}}, typed("string"), "Missing named input: x in 'inputs' object."),
        (
            {"inputs": [{"b64": 1}]},
            typed("string"),
            'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
        ),
    ],
)
def test_messages_of_wrong_bodies(body: Any, inputs: dict[str, TensorInfo], expected: str) -> None:
    assert message(body, inputs) == expected


@pytest.mark.parametrize(
    ("dtype", "token", "kind"),
    [
        ("float", "null", "Null"),
        ("float", "true", "True"),
        ("double", '"1"', "String"),
        ("int64", "1.0", "Number"),
        ("int64", "9223372036854775808", "Number"),
        ("int32", "2147483648", "Number"),
        ("int8", "2147483648", "Number"),
        ("uint32", "-1", "Number"),
        ("uint64", "-1", "Number"),
        ("bool", "0", "Number"),
        ("bool", '"false"', "String"),
        ("string", "7", "Number"),
        ("string", "false", "False"),
        ("int64", '{"b64": "aGk="}', "Object"),
        ("half", '{"b64": "aGk="}', "Object"),
    ],
)
def test_a_value_of_another_type_is_refused(dtype: str, token: str, kind: str) -> None:
    value = '{\n    "b64": "aGk="\n}' if kind == "Object" else token
    reason = f"JSON Value: {value} Type: {kind} is not of expected type: {dtype}"
    assert message('{"inputs": [%s]}' % token, typed(dtype)) == reason  # noqa: UP031
    if kind != "Object":
        wrapped = f"Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: {reason}"
        assert message('{"instances": [%s]}' % token, typed(dtype)) == wrapped  # noqa: UP031


def test_integers_with_an_exponent_are_no_integers() -> None:
    assert message('{"inputs": 1e2}', typed("int64")).endswith("Type: Number is not of expected type: int64")


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64"])
def test_types_without_a_json_form_are_unimplemented(dtype: str) -> None:
    reason = f"Conversion of JSON Value: 1 to type: {dtype}"
    assert message({"inputs": [1]}, typed(dtype), Code.UNIMPLEMENTED) == reason
    wrapped = f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {reason}"
    assert message({"instances": [1]}, typed(dtype)) == wrapped


def test_no_depth_of_nesting_is_more_than_a_refusal() -> None:
    deep = '{"inputs": ' + "[" * 5000 + "]" * 5000 + "}"
    assert message(deep, ONE) == "tensor parsing error: x"


@pytest.mark.parametrize(("document", "name"), [({}, ""), ({"signature_name": "rank"}, "rank")])
def test_signature_name(document: dict[str, Any], name: str) -> None:
    assert signature_name(document) == name


def test_a_signature_name_that_is_no_string_is_refused() -> None:
    with pytest.raises(StatusError, match="'signature_name' key must be a string value"):
        signature_name({"signature_name": 1})
