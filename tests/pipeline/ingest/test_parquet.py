"""Parquet: every type becomes what the spec says, exactly, or is refused."""

from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.ingest import check_files

Row = dict[str, Any]
ReadAll = Callable[[DataSpec, Path], list[Row]]
FEATURES = {
    "text": "{type: categorical}",
    "int": "{type: categorical, dtype: int64}",
    "number": "{type: numeric}",
    "joined": '{type: sequence, separator: "|"}',
    "whole": '{type: sequence, separator: "|", dtype: int64}',
    "list": "{type: sequence, separator: null}",
    "ints": "{type: bag, separator: null, dtype: int64}",
    "iso": "{type: timestamp}",
    "seconds": "{type: timestamp, format: seconds}",
    "nanoseconds": "{type: timestamp, format: nanoseconds}",
    "digits": '{type: timestamp, format: "%y%m%d%H"}',
    "vector": "{type: vector, dimension: 2}",
}
MOMENT = datetime(2024, 5, 31, 23, 59, 59, 500000)
BEFORE = datetime(1969, 12, 31, 23, 59, 59, 500000)
FIXED = pa.list_(pa.float32(), 2)


def spec_of(
    feature: str, kind: str = "", splits: str = "train: a.parquet, eval: b.parquet, test: b.parquet"
) -> DataSpec:
    text = f"name: p\nlabel: y\nfeatures: {{f: {FEATURES.get(feature, feature)}}}\nsplits: {{{splits}}}\n"
    return parse_spec(DataSpec, text + kind, "data.yaml")


def write(folder: Path, *columns: pa.Array, name: str = "f") -> None:
    """Files a.parquet, b.parquet, ..., each with a column f and a label."""
    for letter, column in zip("abc", columns if len(columns) > 1 else [*columns, *columns], strict=False):
        table = pa.table({name: column, "y": [1] * len(column)})
        pq.write_table(
            table, folder / f"{letter}.parquet", row_group_size=2, version="2.6"
        )  # has nanoseconds


def values(feature: str, column: pa.Array, folder: Path, read_all: ReadAll) -> list[Any]:
    write(folder, column)
    spec = spec_of(feature)
    assert check_files(spec, folder) == []
    return [row["f"] for row in read_all(spec, folder)][: len(column)]


BIG = 2**62 + 1
EXACT: list[tuple[str, pa.Array, list[Any]]] = [
    ("text", pa.array(["007", "7", None, "NA", ""]), [b"007", b"7", b"", b"NA", b""]),
    ("text", pa.array([0, BIG, None, -1]), [b"0", str(BIG).encode(), b"", b"-1"]),
    ("text", pa.array([2**64 - 1], pa.uint64()), [b"18446744073709551615"]),
    ("text", pa.array([7.0, None, float("nan"), 0.0, 2.0**53 - 1]), [b"7", b"", b"", b"0", b"9007199254740991"]),
    ("text", pa.array(["a", None, "a"]).dictionary_encode(), [b"a", b"", b"a"]),
    ("text", pa.array([Decimal("7.00"), Decimal("-0.25"), None]), [b"7.00", b"-0.25", b""]),
    ("text", pa.array([True, False, None]), [b"true", b"false", b""]),
    ("text", pa.array([date(2024, 5, 31)]), [b"2024-05-31"]),
    ("text", pa.nulls(2), [b"", b""]),
    ("text", pa.array([b"\xc3\xa9"]), ["é".encode()]),
    ("int", pa.array([BIG, 0, None]), [BIG, 0, None]),
    ("int", pa.array([7.0, None, float("nan")]), [7, None, None]),
    ("int", pa.array(["007", "", "-9223372036854775808"]), [7, None, -(2**63)]),
    ("int", pa.array([Decimal("7.00"), None]), [7, None]),
    ("int", pa.array([True, False]), [1, 0]),
    ("number", pa.array([0, 1, None]), [0.0, 1.0, None]),
    ("number", pa.array([0.0, float("nan"), 1e-3]), [0.0, None, pytest.approx(1e-3)]),
    ("number", pa.array([Decimal("0.25")]), [0.25]),
    ("number", pa.array([True, None]), [1.0, None]),
    ("number", pa.array([2**60 + 1]), [2.0**60]),
    ("number", pa.array(["0", "", "nan"]), [0.0, None, None]),
    ("joined", pa.array([["a", None, "b"], [], None, ["007"]]), [b"a||b", b"", b"", b"007"]),
    ("joined", pa.array([[7, 0, BIG], None]), [f"7|0|{BIG}".encode(), b""]),
    ("joined", pa.array(["a|b", None]), [b"a|b", b""]),
    ("whole", pa.array([["1", "02"], None]), [b"1|02", b""]),
    ("whole", pa.array([[1.0, None, -2.0]]), [b"1||-2"]),
    ("list", pa.array([["a", None, ""], [], None]), [[b"a", b"", b""], [], []]),
    ("list", pa.array([[7, None, BIG]], pa.large_list(pa.int64())), [[b"7", b"", str(BIG).encode()]]),
    ("list", pa.array([["x", "x"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), [[b"x", b"x"]]),
    ("ints", pa.array([[BIG, None, 0], [], None]), [[BIG, -1, 0], [], []]),
    ("ints", pa.array([["7", ""], [None]]), [[7, -1], [-1]]),
    ("iso", pa.array([MOMENT, None], pa.timestamp("ms")), [b"2024-05-31T23:59:59.500", b""]),
    ("iso", pa.array([MOMENT], pa.timestamp("us", "Europe/Berlin")), [b"2024-05-31T23:59:59.500000Z"]),
    ("iso", pa.array([1], pa.timestamp("ns")), [b"1970-01-01T00:00:00.000000001"]),
    ("iso", pa.array([date(2024, 5, 31), None]), [b"2024-05-31", b""]),
    ("iso", pa.array(["2024-05-31", None]), [b"2024-05-31", b""]),
    ("seconds", pa.array([MOMENT, BEFORE, None]), [1717199999, -1, None]),
    ("seconds", pa.array([date(1970, 1, 2)]), [86400]),
    ("seconds", pa.array([0, None, 5]), [0, None, 5]),
    ("nanoseconds", pa.array([1, 0], pa.timestamp("us", "UTC")), [1000, 0]),
    ("digits", pa.array([14102100, None]), [b"14102100", b""]),
    ("vector", pa.array([[1, 2], [0, 0], None, []]), [[1.0, 2.0], [0.0, 0.0], None, None]),
    ("vector", pa.array([[1.5, -2.0], [0.0, 0.0]], FIXED), [[1.5, -2.0], [0.0, 0.0]]),
    ("vector", pa.array(["1 2", None]), [[1.0, 2.0], None]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "column", "expected"), EXACT, ids=lambda value: str(getattr(value, "type", ""))
)
def test_value_becomes_what_the_spec_says(
    tmp_path: Path, read_all: ReadAll, feature: str, column: pa.Array, expected: list[Any]
) -> None:
    assert values(feature, column, tmp_path, read_all) == expected


CELLS: list[tuple[str, pa.Array, str]] = [
    ("text", pa.array([7.0, 7.0, 7.5]), "found 7.5, expected text, or a whole number that is exact"),
    ("text", pa.array([1.0, 2.0, 2.0**53]), "found 9007199254740992.0, expected text, or a whole number that is"),
    ("text", pa.array([b"a", b"b", b"\xe9"]), r"found '\xe9', expected UTF-8"),
    ("int", pa.array([1.0, None, 0.5]), "found 0.5, expected a whole number such as 7"),
    ("int", pa.array([1, 2, 2**63], pa.uint64()), "found 9223372036854775808, expected a whole number"),
    ("number", pa.array([1, 2, float("-inf")]), "found -inf, expected a number up to 3.4e38"),
    ("number", pa.array([1, 2, 1e39]), "found 1e+39, expected a number up to 3.4e38"),
    ("joined", pa.array([["a"], [], ["a|b"]]), "found ['a|b'], expected tokens without '|'"),
    ("whole", pa.array([["1"], [], ["1", "x"]]), "found ['1', 'x'], expected whole numbers such as 7 between"),
    ("ints", pa.array([[1.0], None, [0.5]]), "found [0.5], expected a list of whole numbers"),
    ("iso", pa.array(["2024-05-31", "", "31.5.2024"]), "found '31.5.2024', expected a date or timestamp"),
    ("iso", pa.array([0, 0, 2**52], pa.timestamp("s")), "expected a date or timestamp of 1700 to 2199"),
    ("nanoseconds", pa.array([0, 0, 2**52], pa.timestamp("s")), "expected a whole number of nanoseconds"),
    ("digits", pa.array([14102100, None, 9010203]), "found 9010203, expected a date of 1700 to 2199 in digits"),
    ("vector", pa.array([[1, 2], None, [1]]), "found [1], expected 2 finite numbers"),
    ("vector", pa.array([[1, 2], None, [1, None]]), "found [1, None], expected 2 finite numbers"),
    ("vector", pa.array([[1, 2], None, [1, float("inf")]]), "found [1.0, inf], expected 2 finite numbers"),
    ("vector", pa.array([[1, 2], [0, 0], [1, float("nan")]], FIXED), "found [1.0, nan], expected 2 finite"),
]  # fmt: skip


@pytest.mark.parametrize(("feature", "column", "message"), CELLS)
def test_cell_that_does_not_fit_is_named_with_its_row_in_the_file(
    tmp_path: Path, read_all: ReadAll, feature: str, column: pa.Array, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        values(feature, column, tmp_path, read_all)
    error = str(caught.value)
    assert error.startswith(f"{tmp_path / 'a.parquet'}: row 3: column f: found ") and message in error


@pytest.mark.parametrize(
    "label", [pa.array([1.0, 0.5]), pa.array([1.0, float("nan")]), pa.array([1, None]), pa.array([1, 2])]
)
def test_label_is_0_or_1(tmp_path: Path, read_all: ReadAll, label: pa.Array) -> None:
    for letter in "ab":
        pq.write_table(pa.table({"f": ["x", "y"], "y": label}), tmp_path / f"{letter}.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: row 2: column y: found .*, expected 0 or 1"):
        read_all(spec_of("text"), tmp_path)


TYPES: list[tuple[str, pa.Array, str]] = [
    ("text", pa.array([["a"]]), "found the type list<string>, expected one value a row"),
    ("text", pa.array([{"a": 1}]), "found the type struct<a: int64>, expected text"),
    ("number", pa.array([MOMENT]), r"found the type timestamp[us], expected a number up to"),
    ("int", pa.array([MOMENT]), "found the type timestamp[us], expected a whole number"),
    ("iso", pa.array([[MOMENT]]), "expected one value a row"),
    ("digits", pa.array([MOMENT]), "found the type timestamp[us], expected a date of 1700 to 2199 in digits"),
    ("list", pa.array(["a"]), "found the type string, expected a list, as separator is null; name what separates"),
    ("joined", pa.array([[["a"]]]), "found the type list<list<string>>, expected tokens without"),
    ("vector", pa.array([[MOMENT]]), "expected 2 finite numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("feature", "column", "message"), TYPES)
def test_type_that_cannot_fit_is_refused_before_anything_runs(
    tmp_path: Path, feature: str, column: pa.Array, message: str
) -> None:
    write(tmp_path, column)
    with pytest.raises(InputError) as caught:
        check_files(spec_of(feature), tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'a.parquet'}: column f: found ") and message in str(
        caught.value
    )


def test_schema_that_changes_between_files_names_both(tmp_path: Path, read_all: ReadAll) -> None:
    a, b, text = tmp_path / "a.parquet", tmp_path / "b.parquet", pa.array(["x"])
    write(tmp_path, text, pa.array([["x"]]))
    with pytest.raises(
        InputError, match=f"{b}: column f: found the type list.*, expected the type string as in {a}"
    ):
        check_files(spec_of("joined"), tmp_path)
    pq.write_table(pa.table({"g": text, "y": [1]}), b)
    with pytest.raises(
        InputError, match=f"{b}: found no column 'f', expected it for features.f and as {a} has it"
    ):
        check_files(spec_of("joined"), tmp_path)
    write(tmp_path, pa.array([7.0, None]), pa.array([7, None]), pa.array(["7", "007"]))
    splits = "train: [a.parquet, b.parquet], eval: c.parquet, test: c.parquet"
    assert check_files(spec_of("text", splits=splits), tmp_path) == []  # the same ids, written in three ways
    found = [row["f"] for row in read_all(spec_of("text", splits=splits), tmp_path)]
    assert found == [b"7", b"", b"7", b"", b"7", b"007"]


def test_columns_that_nothing_uses_are_returned_and_not_read(tmp_path: Path, read_all: ReadAll) -> None:
    table = pa.table({"other": [{"a": 1}], "f": ["x"], "y": [1], "more": [[[1]]]})
    for letter in "ab":
        pq.write_table(table, tmp_path / f"{letter}.parquet")
    assert check_files(spec_of("text"), tmp_path) == ["other", "more"]
    assert set(read_all(spec_of("text"), tmp_path)[0]) == {"f", "y", "split/", "cetnet_row"}


def test_column_twice_is_refused_only_where_it_is_needed(tmp_path: Path, read_all: ReadAll) -> None:
    column = pa.array(["x"])
    for names, needed in ((["f", "y", "z", "z"], False), (["f", "y", "z", "f"], True)):
        arrays = [column, pa.array([1]), column, column]
        for letter in "ab":
            pq.write_table(pa.Table.from_arrays(arrays, names), tmp_path / f"{letter}.parquet")
        if needed:
            with pytest.raises(InputError, match=r"a\.parquet: found column 'f' 2 times, expected once"):
                check_files(spec_of("text"), tmp_path)
        else:
            assert check_files(spec_of("text"), tmp_path) == ["z"]
            assert read_all(spec_of("text"), tmp_path)[0]["f"] == b"x"


@pytest.mark.parametrize("keep", [0, 3, 100, -4])
def test_broken_file_is_refused(tmp_path: Path, keep: int) -> None:
    write(tmp_path, pa.array(["x"] * 99))
    path = tmp_path / "a.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        InputError, match=r"a\.parquet: cannot be read as Parquet \(.*\), expected a whole Parquet file"
    ):
        check_files(spec_of("text"), tmp_path)


def test_broken_data_are_refused_with_the_rows_before_them(tmp_path: Path, read_all: ReadAll) -> None:
    for letter in "ab":
        table = pa.table({"f": [f"{n * 7919}" for n in range(60_000)], "y": [1] * 60_000})
        pq.write_table(table, tmp_path / f"{letter}.parquet", row_group_size=20_000)
    path = tmp_path / "a.parquet"
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).file_offset
    content[start - 200_000 : start] = bytes(200_000)
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"a\.parquet: cannot be read as Parquet after row \d+ \(.*\), expected a whole"
    ):
        read_all(spec_of("text"), tmp_path)


def test_where_compares_typed_values(tmp_path: Path, read_all: ReadAll) -> None:
    table = {
        "item": ["a", "b", "c"],
        "user": [1, 1, 1],
        "ts": pa.array([MOMENT.replace(tzinfo=timezone.utc)] * 3, pa.timestamp("us", "UTC")),
        "y": [True, False, True],
        "rate": pa.array([0.1, 0.1, 0.2], pa.float32()),
        "kind": [7.0, None, 7.0],
    }
    for letter in "ab":
        pq.write_table(pa.table(table), tmp_path / f"{letter}.parquet")
    where = {"y: 1": [1, 0, 1], "rate: 0.1": [1, 1, 0], 'kind: "7"': [1, 0, 1], "kind: 7, y: 1.0": [1, 0, 1]}
    for condition, expected in where.items():
        feature = f"{{type: sequence, of: item, by: user, time: ts, where: {{{condition}}}}}"
        rows = read_all(spec_of(feature), tmp_path)[:3]
        assert [row["collected/f"] for row in rows] == expected
        assert [(row["key/user"], row["token/f"]) for row in rows] == [("1", b"a"), ("1", b"b"), ("1", b"c")]
