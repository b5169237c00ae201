"""Rows in every form reach the model as the same values, missing ones and lists of any length included."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras.errors import InputError
from cetnet_keras.spec.raw import MISSING as SPEC_MISSING
from serving.arrays import batches, joined, typed_array, typed_arrays
from serving.client import AsyncGrpcClient, AsyncRestClient, BadAnswer, GrpcClient, RestClient
from serving.metadata import MISSING, ModelMetadata, Signature, TensorInfo
from serving.server import ModelServer

INPUTS = {
    "user": TensorInfo("string", (-1,)),
    "item": TensorInfo("int64", (-1,)),
    "price": TensorInfo("float", (-1,)),
    "history": TensorInfo("string", (-1, -1)),
    "counts": TensorInfo("int64", (-1, -1)),
    "vector": TensorInfo("float", (-1, 3)),
}
KNOWN = Signature(INPUTS, {"ctr": TensorInfo("float", (-1,))})
METADATA = ModelMetadata("shop", 1, {"serving_default": KNOWN})

number = st.none() | st.integers(-(2**63), 2**63 - 1)
text = st.none() | st.text()
row = st.fixed_dictionaries(
    {
        "user": text,
        "item": number,
        "price": st.none() | st.floats(width=32),
        "history": st.none() | st.lists(text, max_size=4),
        "counts": st.none() | st.lists(number, max_size=4),
        "vector": st.none() | st.lists(st.floats(width=32), min_size=3, max_size=3),
        "note": text,  # of no interest to the model
    }
)
rows = st.lists(row, min_size=1, max_size=8)


def columns(given_rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [each[name] for each in given_rows] for name in INPUTS}


def frame(given_rows: list[dict[str, Any]]) -> pd.DataFrame:
    exact = {"item": pd.Series([each["item"] for each in given_rows], dtype="Int64")}
    return pd.DataFrame(given_rows).assign(**exact)


def table(given_rows: list[dict[str, Any]]) -> pa.Table:
    texts, numbers = pa.list_(pa.string()), pa.list_(pa.int64())
    fields = {"user": pa.string(), "item": pa.int64(), "price": pa.float32(), "note": pa.string()}
    fields |= {"history": texts, "counts": numbers, "vector": pa.list_(pa.float32())}
    return pa.Table.from_pylist(given_rows, pa.schema(fields))


FORMS: dict[str, Callable[..., Any]] = {
    "rows": lambda given_rows: given_rows,
    "columns": columns,
    "frame": frame,
    "table": table,
    "record batch": lambda given_rows: table(given_rows).to_batches()[0],
    "Arrow columns": lambda given_rows: {name: table(given_rows).column(name) for name in INPUTS},
    "pandas columns": lambda given_rows: {name: frame(given_rows)[name] for name in INPUTS},
}


def expected(given_rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Value by value, from what the signatures say of missing values and padding."""
    arrays: dict[str, np.ndarray] = {}
    for name, info in INPUTS.items():
        dtype: Any = {"string": object, "int64": np.int64, "float": np.float32}[info.dtype]
        nothing = {"string": b"", "int64": -1, "float": np.nan}[info.dtype]
        values = [each[name] for each in given_rows]
        lists = [value or [] if len(info.shape or ()) == 2 else [value] for value in values]
        width = 3 if name == "vector" else max(map(len, lists))
        filled = np.full((len(values), width), nothing, dtype)
        for index, found in enumerate(lists):
            for place, value in enumerate(found):
                if value is not None:
                    filled[index, place] = value.encode() if isinstance(value, str) else value
        arrays[name] = filled if len(info.shape or ()) == 2 else filled[:, 0]
    return arrays


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, strict=True, err_msg=name)


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=60)
@given(rows)
def test_every_form_of_rows_gives_the_same_arrays(form: str, given_rows: list[dict[str, Any]]) -> None:
    assert_same(typed_arrays(FORMS[form](given_rows), METADATA, "serving_default"), expected(given_rows))


@settings(deadline=None, max_examples=60)
@given(rows, st.integers(1, 9), st.sampled_from(sorted(FORMS)))
def test_batches_are_the_rows_in_their_order(given_rows: list[dict[str, Any]], size: int, form: str) -> None:
    parts = list(batches(FORMS[form](given_rows), KNOWN, "serving_default", size))
    cuts = range(0, len(given_rows), size)
    assert len(parts) == len(cuts)
    for part, start in zip(parts, cuts, strict=True):
        assert_same(part, expected(given_rows[start : start + size]))


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-(2**53) + 1, 2**53 - 1), min_size=1))
def test_whole_numbers_that_pandas_keeps_as_floats_are_integers_again(values: list[int | None]) -> None:
    column = pd.DataFrame({"item": pd.Series(values, dtype="float64")})
    known = ModelMetadata("m", 1, {"s": Signature({"item": INPUTS["item"]}, KNOWN.outputs)})
    found = typed_arrays(column, known, "s")["item"]
    assert found.dtype == np.int64 and found.tolist() == [-1 if value is None else value for value in values]


def test_int64_with_gaps_keeps_every_digit() -> None:
    values = [None, 2**53 + 1, -(2**63), 2**63 - 1]
    column = pd.DataFrame({"item": pd.Series(values, dtype="Int64")})
    known = ModelMetadata("m", 1, {"s": Signature({"item": INPUTS["item"]}, KNOWN.outputs)})
    assert typed_arrays(column, known, "s")["item"].tolist() == [-1, *values[1:]]


@pytest.mark.parametrize("value", [1.5, 2.0**53, np.inf])
def test_other_floats_of_pandas_are_refused(value: float) -> None:
    known = ModelMetadata("m", 1, {"s": Signature({"item": INPUTS["item"]}, KNOWN.outputs)})
    with pytest.raises(
        InputError, match=r"input item, row 2: found .*, the signature takes int64; keep the column as"
    ):
        typed_arrays(pd.DataFrame({"item": [1.0, value]}), known, "s")


def test_missing_values_are_those_of_the_data_spec() -> None:
    assert MISSING["O"] == SPEC_MISSING["string"].encode() and MISSING["i"] == SPEC_MISSING["int64"]
    assert np.isnan(MISSING["f"]) and np.isnan(SPEC_MISSING["float32"])


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize(("dtype", "kind"), [("string", "O"), ("int64", "i"), ("int32", "i"), ("float", "f")])
def test_every_sign_of_nothing_is_the_missing_value(nothing: Any, dtype: str, kind: str) -> None:
    found = typed_array("x", [nothing], TensorInfo(dtype, (-1,)))
    np.testing.assert_array_equal(found, np.array([MISSING[kind]], found.dtype))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "history",
            "a^b",
            r"input history, row 2: found 'a\^b' and no list, the signature takes string \[-1,-1\]",
        ),
        ("vector", [1.0], r"input vector, row 2: found a list of 1, the signature takes float \[-1,3\]"),
        ("counts", [1, "x"], r"input counts, row 2: found 'x' \(str\), the signature takes int64"),
        ("price", "cheap", r"input price, row 2: found 'cheap' \(str\), the signature takes float"),
        ("price", True, r"input price, row 2: found True \(bool\), the signature takes float"),
        ("item", 2**63, f"input item, row 2: found {2**63}, which is outside of int64"),
        ("user", 7, r"input user, row 2: found 7 \(int\), the signature takes string"),
    ],
)
def test_a_wrong_value_is_one_error_with_its_row(name: str, value: Any, message: str) -> None:
    good = {"user": "a", "item": 1, "price": None, "history": ["a"], "counts": [1, 2], "vector": [1, 2, 3]}
    for size in (1, 2):  # rows count from the first batch on
        with pytest.raises(InputError, match=message):
            list(batches([good, good | {name: value}], KNOWN, "serving_default", size))


@pytest.mark.parametrize(
    ("given_table", "message"),
    [
        (
            pd.DataFrame({"user": ["a"]}),
            "signature serving_default takes .*missing: counts, history, item, price",
        ),
        (
            pa.table({"user": ["a"]}),
            "signature serving_default takes .*missing: counts, history, item, price",
        ),
        (pd.DataFrame([["a"] * 7], columns=[*INPUTS, "user"]), "two columns are called user; rename one"),
        (
            pa.Table.from_arrays([pa.array(["a"])] * 7, [*INPUTS, "item"]),
            "two columns are called item; rename one",
        ),
        (
            iter([]),
            "found inputs of type list_iterator; give a dict of columns, a list of dicts, a pandas DataFrame",
        ),
    ],
)
def test_a_table_that_lacks_what_the_model_takes_is_one_error(given_table: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        typed_arrays(given_table, METADATA, "serving_default")


def test_answers_that_are_not_row_by_row_are_not_put_together() -> None:
    uneven = {"a": np.zeros(2), "b": np.zeros(4)}
    with pytest.raises(BadAnswer, match="unequal numbers of rows; give batch_size=None"):
        joined([uneven, uneven])
    with pytest.raises(BadAnswer, match="does not answer row by row"):
        joined([{"a": np.zeros((2, 1))}, {"a": np.zeros((2, 3))}])


class Shop(tf.Module):
    """Says what it was given, so that a test sees what came through."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user"),
            tf.TensorSpec([None], tf.int64, "item"),
            tf.TensorSpec([None], tf.float32, "price"),
            tf.TensorSpec([None, None], tf.string, "history"),
            tf.TensorSpec([None, None], tf.int64, "counts"),
            tf.TensorSpec([None, 3], tf.float32, "vector"),
        ]
    )
    def serve(self, user: Any, item: Any, price: Any, history: Any, counts: Any, vector: Any) -> Any:
        def text(values: Any) -> Any:
            values = (
                values
                if values.dtype == tf.string
                else tf.strings.as_string(values, shortest=values.dtype.is_floating)
            )
            return values if values.shape.rank == 1 else tf.strings.reduce_join(values, -1, separator=",")

        return {"seen": tf.strings.join([*map(text, (user, item, price, history, counts, vector))], "|")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of a model with lists and a vector."""
    base = tmp_path_factory.mktemp("served") / "shop"
    model = Shop()
    tf.saved_model.save(model, str(base / "1"), signatures={"serving_default": model.serve})
    with ModelServer(base, rest_port=0, grpc_port=0) as running:
        yield running


@pytest.mark.parametrize("kind", [RestClient, GrpcClient, AsyncRestClient, AsyncGrpcClient])
@pytest.mark.parametrize("form", FORMS)
def test_rows_of_unequal_lengths_come_through_in_one_request_and_in_many(
    shop: ModelServer, open_client: Callable[..., Any], kind: type, form: str
) -> None:
    given_rows: list[dict[str, Any]] = [
        {
            "user": "u1^u2",
            "item": 7,
            "price": 1.5,
            "history": ["a", None, "c"],
            "counts": [3],
            "vector": [1, 2, 3],
        },
        {"user": None, "item": None, "price": None, "history": None, "counts": None, "vector": None},
        {
            "user": "\u00e9",
            "item": -3,
            "price": 0.1,
            "history": [],
            "counts": [1, None],
            "vector": [0, 0, 0.5],
        },
    ]
    given_rows = [each | {"note": "x"} for each in given_rows]
    client = open_client(kind, shop.rest_target if "Rest" in kind.__name__ else shop.grpc_target, "shop")
    together = client.predict(FORMS[form](given_rows))["seen"].tolist()
    assert together == [
        b"u1^u2|7|1.5|a,,c|3,-1|1,2,3",
        b"|-1|nan|,,|-1,-1|nan,nan,nan",
        "\u00e9|-3|0.1|,,|1,-1|0,0,0.5".encode(),
    ]
    alone = client.predict(FORMS[form](given_rows), batch_size=1)["seen"].tolist()
    assert alone == [
        b"u1^u2|7|1.5|a,,c|3|1,2,3",
        b"|-1|nan|||nan,nan,nan",
        "\u00e9|-3|0.1||1,-1|0,0,0.5".encode(),
    ]


def test_neither_pandas_nor_arrow_is_loaded_for_other_rows() -> None:
    program = """
import sys
from serving.arrays import batches
from serving.metadata import Signature, TensorInfo
known = Signature({"x": TensorInfo("int64", (-1,))}, {"ctr": TensorInfo("float", (-1,))})
print([part["x"].tolist() for part in batches([{"x": 1}, {"x": None}], known, "s", 1)])
assert not {"pandas", "pyarrow"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[[1], [-1]]\n", 0), done.stderr
