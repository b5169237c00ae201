"""Answers of predict calls are written as a stock server writes them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from serving.json_output import predict_answer
from serving.status import StatusError


def strings(*values: bytes) -> np.ndarray:
    return np.array(values, dtype=object)


def answer(arrays: dict[str, np.ndarray], in_rows: bool, **types: str) -> str:
    return predict_answer(arrays, in_rows, types).decode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (1234567.0, "1234567.0"),
        (1e7, "1e+07"),
        (3e-5, "3e-05"),
        (0.123456789, "0.123456791"),
        (16777216.0, "16777216.0"),
        (-0.0, "-0.0"),
        (3.4028235e38, "3.40282347e+38"),
        (np.nan, "NaN"),
        (np.inf, "Infinity"),
        (-np.inf, "-Infinity"),
    ],
)
def test_float32_has_six_digits_where_they_read_back_equal(value: float, text: str) -> None:
    assert answer({"y": np.float32([value])}, True, y="float") == f'{{"predictions":[{text}]}}'


def test_double_has_17_digits_where_six_do_not_read_back_equal() -> None:
    assert answer({"y": np.array([0.1, 1 / 3])}, False, y="double") == '{"outputs":[0.1,0.33333333333333331]}'


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None)
@given(data=hnp.arrays(np.float64, 5))
def test_floats_read_back_bit_for_bit(dtype: type, data: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        values = data.astype(dtype)
    read = json.loads(answer({"y": values}, False, y="float"))["outputs"]
    np.testing.assert_array_equal(np.array(read, dtype), values, strict=True)


def test_rows_of_one_output_are_bare_and_of_several_are_objects() -> None:
    a, b = np.float32([1, 2]), np.array([[1, 2], [3, 4]])
    assert answer({"a": a}, True, a="float") == '{"predictions":[1.0,2.0]}'
    assert json.loads(answer({"a": a, "b": b}, True, a="float", b="int64")) == {
        "predictions": [{"a": 1.0, "b": [1, 2]}, {"a": 2.0, "b": [3, 4]}]
    }


def test_columns_of_one_output_are_bare_and_of_several_are_an_object() -> None:
    a, b = np.float32(1), np.zeros((2, 0), np.int64)
    assert answer({"a": a}, False, a="float") == '{"outputs":1.0}'
    assert json.loads(answer({"a": a, "b": b}, False, a="float", b="int64")) == {
        "outputs": {"a": 1.0, "b": [[], []]}
    }


def test_integers_keep_all_their_digits_and_bools_are_bools() -> None:
    values = np.array([2**63 - 1, -(2**63)])
    assert answer({"y": values}, False, y="int64") == f'{{"outputs":[{2**63 - 1},{-(2**63)}]}}'
    assert (
        answer({"y": np.array([2**64 - 1], np.uint64)}, False, y="uint64") == f'{{"outputs":[{2**64 - 1}]}}'
    )
    assert answer({"y": np.array([True, False])}, False, y="bool") == '{"outputs":[true,false]}'


def test_strings_are_text_unless_the_outputs_name_ends_in_bytes() -> None:
    assert answer({"y": strings(b'\xc3\xa9"\n')}, False, y="string") == '{"outputs":["\u00e9\\"\\n"]}'
    assert answer({"y_bytes": strings(b"\xff")}, False, y_bytes="string") == '{"outputs":[{"b64":"/w=="}]}'
    assert answer({"y": strings(b"\xff")}, False, y="string") == '{"outputs":["\ufffd"]}'


def test_an_empty_batch_has_no_rows() -> None:
    assert answer({"y": np.zeros((0, 3), np.float32)}, True, y="float") == '{"predictions":[]}'


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"a": np.float32([1]), "b": np.float32([1, 2])},
            "Tensor name: b has inconsistent batch size: 2 expecting: 1",
        ),
        ({"a": np.float32(1)}, "Tensor name: a has no shape information "),
        ({"h": np.float16([1])}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_what_has_no_rows_or_no_json_form_is_refused(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(StatusError) as refused:
        predict_answer(arrays, True, {"a": "float", "b": "float", "h": "half"})
    assert refused.value.message == message
