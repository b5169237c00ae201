"""What is wrong with a file is said in one line: where, what was found, what was expected, the cure."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.ingest import check_files, input_error_in
from pipeline.ingest.bad_rows import BadRows
from pipeline.ingest.files import source_files
from pipeline.ingest.rows import RowReader

Ingest = Callable[..., dict[str, list[dict[str, Any]]]]
SPEC = """
name: bad
label: click
features:
  item: {type: categorical}
  shop: {type: categorical, dtype: int64}
  price: {type: numeric}
  before: {type: sequence, of: item, by: user, time: ts, where: {click: 1}, vocabulary: item}
splits: {train: train.csv, eval: {column: user, fraction: 0.5}, test: test.csv}
"""
HEADER = b"user,item,shop,price,ts,click\n"
GOOD = b"u,i,1,1.5,10,1\n"


def spec_of(text: str = SPEC) -> DataSpec:
    return parse_spec(DataSpec, text, "data.yaml")


def write(folder: Path, train: bytes, name: str = "train.csv") -> None:
    (folder / name).write_bytes(train)
    (folder / "test.csv").write_bytes(HEADER + GOOD)


def read(folder: Path, spec: DataSpec) -> None:
    """Reads all rows of all files, as the pipeline does."""
    for file in source_files(spec, folder):
        for _ in RowReader(spec).rows(file, None, BadRows(0)):
            pass


BEFORE_ANYTHING_STARTS = {
    "empty file": (b"", "train.csv: found an empty file, expected a header line and rows"),
    "blank lines alone": (b"\n\n", "train.csv: found an empty file"),
    "header alone": (HEADER, "train.csv: found no rows below the header, expected at least one"),
    "missing column": (
        HEADER.replace(b"price", b"prise") + GOOD,
        "test.csv has it; did you mean 'prise'? The file has: user, item, shop, prise, ts, click",
    ),
    "missing column of a history": (
        HEADER.replace(b"ts", b"moment") + GOOD,
        "train.csv: found no column 'ts', expected it for features.before.time and as ",
    ),
    "other delimiter": ((HEADER + GOOD).replace(b",", b";"), "set csv.delimiter to what separates its cells"),
    "needed column twice": (
        HEADER.replace(b"\n", b",item\n") + GOOD.replace(b"\n", b",j\n"),
        "train.csv: found column 'item' 2 times, expected once; rename the others",
    ),
    "bad bytes in the header": (b"\xe9" + HEADER + GOOD, "train.csv:1: found bytes that are not UTF-8"),
    "UTF-16": ((HEADER + GOOD).decode().encode("utf-16"), "train.csv"),
}


@pytest.mark.parametrize("case", BEFORE_ANYTHING_STARTS)
def test_beginning_of_a_file_is_checked_before_anything_starts(tmp_path: Path, case: str) -> None:
    content, message = BEFORE_ANYTHING_STARTS[case]
    write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        check_files(spec_of(), tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(tmp_path / "train.csv") in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, HEADER + GOOD)
    with pytest.raises(
        InputError, match=r"nowhere/\*\.csv: found no file, expected at least one; check the path"
    ):
        check_files(spec_of(SPEC.replace("train.csv", "nowhere/*.csv")), tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        InputError, match=r"folder: found a folder, expected files; name them: folder/\*\.csv"
    ):
        check_files(spec_of(SPEC.replace("train.csv", "folder")), tmp_path)
    with pytest.raises(InputError, match=r"test\.csv: found among the files of train and of test"):
        check_files(spec_of(SPEC.replace("train.csv", "'*.csv'")), tmp_path)


def test_sound_files_pass_the_check(tmp_path: Path) -> None:
    write(tmp_path, HEADER + GOOD)
    check_files(spec_of(), tmp_path)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(HEADER + GOOD * 99, mtime=0)[:40]])
def test_broken_gzip_is_named(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content, "train.csv.gz")
    with pytest.raises(InputError, match=r"train\.csv\.gz: cannot be read \(.*\), expected a whole CSV file"):
        check_files(spec_of(SPEC.replace("train.csv", "train.csv.gz")), tmp_path)


def test_check_imports_neither_tfx_nor_beam_nor_tensorflow() -> None:
    heavy = "{'tfx', 'apache_beam', 'tensorflow'}"
    code = f"import sys, pipeline.ingest; pipeline.ingest.check_files; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


ROWS = {
    "label 2": (b"u,i,1,1,10,2", "column click: found '2', expected 0 or 1"),
    "label NaN": (b"u,i,1,1,10,NaN", "column click: found 'NaN', expected 0 or 1"),
    "label empty": (b"u,i,1,1,10,", "column click: found an empty cell, expected 0 or 1"),
    "header again": (
        HEADER.strip(),
        "column shop: found 'shop', expected a whole number such as 7, or an empty",
    ),
    "text in int64": (b"u,i,x7,1,10,1", "column shop: found 'x7', expected a whole number such as 7"),
    "fraction in int64": (b"u,i,7.5,1,10,1", "column shop: found '7.5', expected a whole number such as 7"),
    "beyond int64": (b"u,i,9223372036854775808,1,10,1", "column shop: found '9223372036854775808'"),
    "text in numeric": (
        b"u,i,1,NA,10,1",
        "column price: found 'NA', expected a number up to 3.4e38 either way",
    ),
    "infinity": (b"u,i,1,-inf,10,1", "column price: found '-inf', expected a number"),
    "too large": (b"u,i,1,1e39,10,1", "column price: found '1e39', expected a number up to 3.4e38"),
    "no time": (b"u,i,1,1,noon,1", "column ts: found 'noon', expected a number, or a date or timestamp"),
    "bad bytes": (
        b"u,caf\xe9,1,1,10,1",
        r"column item: found 'caf\xe9', expected UTF-8; save the file as UTF-8",
    ),
    "separator in a token": (
        b"u,i^j,1,1,10,1",
        "column item: found 'i^j', expected no '^' in it, the separator of features.before; choose another",
    ),
    "cell too few": (
        b"u,i,1,1,10",
        "found 5 cells, expected 6; correct the row, or put a cell that holds ','",
    ),
    "cell too many": (b"u,i,1,1,10,1,1", "found 7 cells, expected 6; correct the row"),
}


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize(("before", "line"), [(GOOD * 4, 6), (b'"u\n2",i,1,1.5,10,1\n\n' + GOOD * 3, 8)])
def test_first_bad_row_is_named(tmp_path: Path, case: str, before: bytes, line: int) -> None:
    row, message = ROWS[case]
    write(tmp_path, HEADER + before + row + b"\n" + GOOD + row + b"\n")
    with pytest.raises(InputError) as caught:
        read(tmp_path, spec_of())
    assert str(caught.value).startswith(f"{tmp_path / 'train.csv'}:{line}: row 5: {message}")
    assert "\n" not in str(caught.value)


def test_row_is_counted_over_blocks_of_a_large_file(tmp_path: Path) -> None:
    good = GOOD.replace(b"i", b"i" * 1000)
    write(tmp_path, HEADER + good * 20_000 + b"u,i,1,1,10,7\n")
    with pytest.raises(InputError, match=r"train\.csv:20002: row 20001: column click: found '7'"):
        read(tmp_path, spec_of())
    write(tmp_path, HEADER + good * 20_000 + b"u,i,1\n")
    with pytest.raises(InputError, match=r"train\.csv:20002: row 20001: found 3 cells"):
        read(tmp_path, spec_of())


def test_first_of_several_faults_is_named(tmp_path: Path) -> None:
    write(tmp_path, HEADER + GOOD + b"u,i,1,x,10,1\n" + b"u,i,1,1,10,9\n")
    with pytest.raises(InputError, match="row 2: column price: found 'x'"):
        read(tmp_path, spec_of())


def test_header_line_where_the_spec_names_the_columns(tmp_path: Path) -> None:
    write(tmp_path, HEADER + GOOD)
    columns = "csv: {columns: [user, item, shop, price, ts, click]}\n"
    with pytest.raises(InputError, match=r"train\.csv:1: row 1: column shop: found 'shop'.*or csv.columns"):
        read(tmp_path, spec_of(columns + SPEC))


def test_quote_that_is_never_closed(tmp_path: Path) -> None:
    write(tmp_path, HEADER + b'u,"i,1,1,10,1\n' + GOOD * 2_000_000)
    with pytest.raises(
        InputError, match=r"train\.csv: cannot be read as CSV after row 0.*each quote is closed"
    ):
        read(tmp_path, spec_of())


TIME = "splits: {files: '*.csv', by: time, column: ts}"


@pytest.mark.parametrize("mode", ["--direct_running_mode=in_memory", "--direct_running_mode=multi_threading"])
def test_error_of_a_worker_comes_out_of_the_executor(ingest: Ingest, tmp_path: Path, mode: str) -> None:
    for number in (3, 1, 2):
        (tmp_path / f"part-{number}.csv").write_bytes(HEADER + GOOD + f"u,i,1,1,10,{number}9\n".encode())
    with pytest.raises(InputError) as caught:
        ingest(SPEC.replace("test.csv", "part-3.csv").replace("train.csv", "'part-[12].csv'"), mode)
    assert str(caught.value) == (
        f"{tmp_path / 'part-1.csv'}:3: row 2: column click: found '19', expected 0 or 1; "
        "correct the cell or remove the row"
    )


def test_time_that_is_none_comes_out_of_the_first_reading(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path, HEADER + GOOD + b"u,i,1,1,never,1\n")
    with pytest.raises(
        InputError, match=r"train\.csv:3: row 2: column ts: found 'never', expected a number, or a date"
    ):
        ingest(SPEC[: SPEC.index("splits")] + TIME)


def test_split_without_rows_is_refused(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path, HEADER + GOOD * 5)
    with pytest.raises(
        InputError, match="splits: found no row for train among 6 by the time of ts, expected at least"
    ):
        ingest(SPEC[: SPEC.index("splits")] + TIME)


def test_other_errors_are_not_the_users() -> None:
    assert input_error_in(RuntimeError("Traceback\nValueError: InputError: no")) is None
    assert input_error_in(None) is None


def test_input_error_is_found_behind_others() -> None:
    try:
        try:
            raise InputError("a.csv: found 'x' [while running 'Ingest/Write']")
        except InputError as error:
            raise RuntimeError("the component failed") from error
    except RuntimeError as error:
        assert str(input_error_in(error)) == "a.csv: found 'x'"
