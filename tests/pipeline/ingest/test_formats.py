"""Whatever the format, the same table gives the same examples."""

import csv
import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.ingest import check_files

Row = dict[str, Any]
Ingest = Callable[..., dict[str, list[Row]]]
ReadAll = Callable[[DataSpec, Path], list[Row]]
QUOTED = """
name: quoted
label: y
csv: {delimiter: %s, quote: %s}
features:
  first: {type: categorical}
  second: {type: categorical}
splits: {train: rows.csv, eval: test.csv, test: test.csv}
"""
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
PROPERTY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def spec_of(text: str) -> DataSpec:
    return parse_spec(DataSpec, text, "data.yaml")


@PROPERTY
@given(
    st.lists(st.tuples(TEXT, TEXT, st.booleans()), min_size=1, max_size=12),
    st.sampled_from([",", "\t", ";", "|"]),
    st.sampled_from(['"', "'", "~"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_quoted_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    read_all: ReadAll,
    cells: list[tuple[str, str, bool]],
    delimiter: str,
    quote: str,
    end: str,
) -> None:
    def written(cell: str, quoted: bool) -> str:
        if quoted or set(cell) & {delimiter, quote, "\r", "\n"}:
            return quote + cell.replace(quote, quote * 2) + quote
        return cell

    folder = tmp_path_factory.mktemp("quoted")
    lines = [("first", "y", "second")]
    lines += [(written(first, quoted), "1", written(second, not quoted)) for first, second, quoted in cells]
    for name in ("rows.csv", "test.csv"):
        (folder / name).write_bytes("".join(delimiter.join(line) + end for line in lines).encode())
    spec = spec_of(QUOTED % (json.dumps(delimiter), json.dumps(quote)))
    found = read_all(spec, folder)
    assert [(row["first"].decode(), row["second"].decode()) for row in found] == [c[:2] for c in cells] * 2


@PROPERTY
@given(st.lists(st.text("ab\"', ", max_size=6), min_size=1, max_size=12))
def test_without_quoting_quotes_are_letters(
    tmp_path_factory: pytest.TempPathFactory, read_all: ReadAll, cells: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("unquoted")
    for name in ("rows.csv", "test.csv"):
        lines = [f"{cell}\t{number}\t1\n" for number, cell in enumerate(cells)]
        (folder / name).write_text("first\tsecond\ty\n" + "".join(lines), newline="")
    found = read_all(spec_of(QUOTED % ('"\\t"', "null")), folder)
    assert [row["first"].decode() for row in found] == cells * 2


TABLE = """
name: table
label: y
weight: w
group: user
id: [request]
features:
  user: {type: categorical}
  item: {type: categorical, dtype: int64}
  price: {type: numeric}
  seen: {type: sequence, separator: "|"}
  codes: {type: bag, separator: "|", dtype: int64}
  at: {type: timestamp, format: milliseconds}
  moment: {type: timestamp}
  v: {type: vector, dimension: 2}
  before: {type: sequence, of: item, by: user, time: moment, where: {y: 1, w: 0.5}}
splits: {files: "rows*.SUFFIX", by: time, column: moment, within: user}
"""
HUGE = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
MOMENT = st.datetimes(datetime(1700, 1, 1), datetime(2199, 1, 1))
TOKEN = st.text("aé0.7", min_size=1, max_size=3)
CELLS = {
    "user": st.none() | st.sampled_from(["u", "é", "007"]),
    "item": st.none() | HUGE | st.sampled_from([0, 7]),
    "price": st.none() | FLOAT32,
    "seen": st.none() | st.lists(TOKEN, max_size=4),
    "codes": st.none() | st.lists(HUGE, max_size=4),
    "at": st.none() | st.integers(-(10**14), 10**14),
    "moment": MOMENT,
    "v": st.none() | st.lists(FLOAT32, min_size=2, max_size=2),
    "w": st.sampled_from([0.0, 0.5, 2.25]),
    "request": st.none() | HUGE,
    "y": st.sampled_from([0, 1]),
}
TYPES = {
    "user": [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())],
    "item": [pa.int64(), pa.decimal128(38, 0), pa.dictionary(pa.int32(), pa.int64()), pa.string()],
    "price": [pa.float32(), pa.float64()],
    "seen": [pa.list_(pa.string()), pa.large_list(pa.binary())],
    "codes": [pa.list_(pa.int64()), pa.large_list(pa.string())],
    "at": [pa.timestamp("ms"), pa.int64(), pa.timestamp("us", "Europe/Berlin")],
    "moment": [pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", "UTC")],
    "v": [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.list_(pa.float32(), 2)],
    "w": [pa.float32(), pa.float64(), pa.decimal128(5, 2)],
    "request": [pa.int64(), pa.string()],
    "y": [pa.int8(), pa.bool_(), pa.float64(), pa.string()],
}


def as_cell(value: object, kind: pa.DataType) -> str:
    """The same value as CSV has it."""
    if isinstance(value, list):
        return (" " if isinstance(value[0] if value else 0, float) else "|").join(map(str, value))
    if isinstance(value, datetime):
        zone = "Z" if pa.types.is_timestamp(kind) and kind.tz else ""
        return f"{value.isoformat(sep='T', timespec='microseconds')}{zone}"
    return "" if value is None else str(value)


def as_column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An Arrow column; Arrow takes no numbers for text, nor numbers since 1970 for a timestamp of another unit."""
    if pa.types.is_dictionary(kind):
        return as_column(values, kind.value_type).dictionary_encode().cast(kind)
    if pa.types.is_timestamp(kind) and any(isinstance(value, int) for value in values):
        return pa.array(values, pa.timestamp("ms")).cast(pa.timestamp(kind.unit)).cast(kind)
    if pa.types.is_string(kind):
        return pa.array([None if value is None else str(value) for value in values], kind)
    if pa.types.is_large_list(kind) and pa.types.is_string(kind.value_type):
        return pa.array([None if value is None else list(map(str, value)) for value in values], kind)
    if pa.types.is_decimal(kind):
        return pa.array([None if value is None else Decimal(value) for value in values], kind)
    if pa.types.is_boolean(kind) or pa.types.is_floating(kind):
        return pa.array(values).cast(kind)
    return pa.array(values, kind)


def exact(row: Row) -> Row:
    """A row with its times as moments: the text of one moment may differ."""
    moment = row["moment"].decode().removesuffix("Z").ljust(26, "0")[:26]
    return {name: value for name, value in row.items() if not name.endswith("/")} | {"moment": moment}


@PROPERTY
@given(st.data())
def test_parquet_gives_the_rows_of_the_csv(
    tmp_path_factory: pytest.TempPathFactory, read_all: ReadAll, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("table")
    rows = data.draw(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=10))
    kinds = {name: data.draw(st.sampled_from(kinds)) for name, kinds in TYPES.items()}
    if any(row["v"] is None for row in rows):  # Arrow 10 writes such a list of fixed size, but cannot read it
        kinds["v"] = pa.list_(pa.float32())
    columns = {name: as_column([row[name] for row in rows], kind) for name, kind in kinds.items()}
    pq.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=data.draw(st.integers(1, 10)))
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(kinds)
        writer.writerows([as_cell(row[name], kind) for name, kind in kinds.items()] for row in rows)
    found = {}
    for suffix in ("csv", "parquet"):
        spec = spec_of(TABLE.replace("SUFFIX", suffix))
        check_files(spec, folder)
        found[suffix] = [exact(row) for row in read_all(spec, folder)]
    assert found["parquet"] == found["csv"]
    assert [row["item"] for row in found["csv"]] == [row["item"] for row in rows]
    assert [row["request"].decode() for row in found["csv"]] == [
        as_cell(row["request"], None) for row in rows
    ]


SECONDS = [1.5, -0.25, 2.0, 16777215.0, 0.1]
TIMES = [pa.array(SECONDS), pa.array(SECONDS, pa.float32()), pa.array(SECONDS).dictionary_encode()]


def timed(suffix: str) -> DataSpec:
    text = "name: t\nlabel: y\nfeatures: {f: {type: numeric}}\n"
    return spec_of(f"{text}splits: {{files: 'rows.{suffix}', by: time, column: t, within: f}}")


@pytest.mark.parametrize("column", TIMES, ids=lambda column: str(column.type))
def test_seconds_with_decimals_are_times_in_every_format(
    tmp_path: Path, read_all: ReadAll, column: pa.Array
) -> None:
    ones = [1] * len(SECONDS)
    (tmp_path / "rows.csv").write_text("t,f,y\n" + "".join(f"{second},1,1\n" for second in SECONDS))
    pq.write_table(pa.table({"t": column, "f": ones, "y": ones}), tmp_path / "rows.parquet")
    with tf.io.TFRecordWriter(f"{tmp_path}/rows.tfrecord") as file:
        for second in SECONDS:
            numbers = {"t": second, "f": 1.0, "y": 1.0}
            features = {n: tf.train.Feature(float_list={"value": [x]}) for n, x in numbers.items()}
            file.write(tf.train.Example(features={"feature": features}).SerializeToString())
    found = {}
    for suffix in ("csv", "parquet", "tfrecord"):
        check_files(timed(suffix), tmp_path)
        found[suffix] = [row["time/t"] for row in read_all(timed(suffix), tmp_path)]
    assert found["parquet"] == found["tfrecord"] == found["csv"]
    assert sorted(found["csv"]) == [found["csv"][place] for place in np.argsort(SECONDS)]


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (pa.array([1.5, None]), "an empty cell"),
        (pa.array([1.5, float("nan")]), "nan"),
        (pa.array([1.5, float("inf")]), "inf"),
        (pa.array([1.5, 1.7172e9], pa.float32()), "1717200000.0"),  # two minutes to the next one
        (pa.array([1.5, 2.0**53]), "9007199254740992.0"),
    ],
)
def test_a_float_that_is_no_time_or_not_exact_is_refused(
    tmp_path: Path, read_all: ReadAll, column: pa.Array, shown: str
) -> None:
    pq.write_table(pa.table({"t": column, "f": [1, 1], "y": [1, 1]}), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=f"row 2: column t: found {shown}, expected a number, or a date"):
        read_all(timed("parquet"), tmp_path)
