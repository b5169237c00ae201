"""`cetnet predict`: rows in, the same rows and a CTR out; wrong calls and wrong rows are one line."""

import csv
import io
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from cetnet_keras.cli import main
from serving.csv_rows import NO_HEADER
from serving.server import ModelServer

CSV = 'note,price,user,item\n"x, ""y""",1.5,007,7\n,,\u00e9,0\nz,1e3,,-1\n'


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


@pytest.fixture(params=["http", "grpc", "asked REST", "asked gRPC", "model", "version"])
def source(request: pytest.FixtureRequest, server: ModelServer, base_path: Path) -> list[str]:
    return {
        "http": ["--target", f"http://{server.rest_target}", "--name", "clicks"],
        "grpc": ["--target", f"grpc://{server.grpc_target}", "--name", "clicks"],
        "asked REST": ["--target", server.rest_target],
        "asked gRPC": ["--target", server.grpc_target],
        "model": ["--model", str(base_path)],
        "version": ["--model", str(base_path / "1")],
    }[request.param]


def expected_ctr() -> np.ndarray:
    logits = np.float32([1.5, 0, 1000]) / 10 + np.array([3, 2, 0]) + 0.01 * np.array([7, 0, -1])
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_every_source_adds_the_same_ctr_and_leaves_the_rest_alone(rows: Path, source: list[str]) -> None:
    result = run(rows, *source, "--batch-size", 2)
    assert (result.exit_code, result.stderr) == (0, "")
    header, *found = parsed(result.stdout)
    given_header, *given = parsed(CSV)
    assert header == [*given_header, "ctr"]
    assert [row[:-1] for row in found] == given
    np.testing.assert_allclose([float(row[-1]) for row in found], expected_ctr(), rtol=1e-6)


def test_explain_adds_a_column_for_each_member_and_quantity(rows: Path, source: list[str]) -> None:
    result = run(rows, *source, "--explain")
    header, *found = parsed(result.stdout)
    assert header[4:] == [
        *("ctr", "ctr_1", "ctr_2"),
        *("fusion_weight_1", "fusion_weight_2"),
        *("confidence_1", "confidence_2"),
    ]
    values = np.array([row[4:] for row in found], np.float64)
    ctr = expected_ctr()
    np.testing.assert_allclose(values[:, 1], ctr / 2, rtol=1e-6)
    np.testing.assert_allclose(values[:, 2], (1 + ctr) / 2, rtol=1e-6)
    np.testing.assert_allclose(values[:, 3], ctr, rtol=1e-6)


def test_output_replaces_the_file_when_all_is_written(
    rows: Path, server: ModelServer, tmp_path: Path
) -> None:
    output = tmp_path / "scored.csv"
    output.write_text("before")
    bad = tmp_path / "bad.csv"
    bad.write_text("user,item,price\na,1,1\nb,x,1\n")
    failed = run(bad, "--target", server.grpc_target, "--output", output, "--batch-size", 1)
    assert (failed.exit_code, output.read_text()) == (2, "before")
    done = run(rows, "--target", server.grpc_target, "--output", output)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{output}: 3 rows\n")
    assert len(parsed(output.read_text(encoding="utf-8"))) == 4
    assert sorted(path.name for path in tmp_path.glob("scored*")) == ["scored.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; the first line has to name the columns"),
        (b"user,item,price\n", "the file has a header and no rows; there is nothing to predict"),
        (b"user,price\na,1\n", f"column item is missing; the model takes item, price, user; {NO_HEADER}"),
        (
            b"user,item,price,user\na,1,1,b\n",
            f"the header names column user twice; rename one of both; {NO_HEADER}",
        ),
        (b"user,item,price\na,1,1\nb,1\n", "row 2 (line 3): found 2 cells, the header has 3 columns"),
        (b"user,item,price\na,1,1,1\n", "row 1 (line 2): found 4 cells, the header has 3 columns"),
        (
            b'user,item,price\n"a\nb",1,1\nc,1,cheap\n',
            "row 2 (line 4), column price: found 'cheap', expected a number, or nothing where it is missing",
        ),
        (
            b"user,item,price\na,1,inf\n",
            "row 1 (line 2), column price: found 'inf', expected a number, or nothing where it is missing",
        ),
        (
            b"user,item,price\na,1.0,1\n",
            "row 1 (line 2), column item: found '1.0', expected an integer (int64), or nothing "
            "where it is missing",
        ),
        (
            b"user,item,price\na,9223372036854775808,1\n",
            "row 1 (line 2), column item: found '9223372036854775808', expected an integer (int64), or "
            "nothing where it is missing",
        ),
        (
            b"user,item,price\na,1,1\nb\xff,1,1\n",
            "line 3: byte 0xff at position 2 of the line is not UTF-8; convert the file",
        ),
        (b'user,item,price\n"a,1,1\n', "line 2: unexpected end of data; repair the quotes"),
        (
            b"user,item,price,ctr\na,1,1,1\n",
            "there is a column ctr already; rename it, take it out, or give the predictions other names: "
            "--prefix predicted_",
        ),
        (
            b"user;item;price\na;1;1\n",
            "the header has one cell, 'user;item;price', and ';' in it; say what separates the cells: "
            "--delimiter ';'",
        ),
    ],
)
def test_wrong_rows_are_one_line_and_exit_2(
    tmp_path: Path, server: ModelServer, content: bytes, message: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    result = run(path, "--target", server.grpc_target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {path}: {message}\n"


def test_a_byte_order_mark_and_blank_lines_are_skipped(tmp_path: Path, server: ModelServer) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbfuser,item,price\r\n\r\na,1,1\r\n\r\n")
    result = run(path, "--target", server.grpc_target)
    assert [row[:-1] for row in parsed(result.stdout)] == [["user", "item", "price"], ["a", "1", "1"]]


def test_an_empty_integer_cell_is_the_value_that_means_nothing(tmp_path: Path, server: ModelServer) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("user,item,price\na,,1\na,-1,1\n")
    _, empty, minus_one = parsed(run(path, "--target", server.grpc_target).stdout)
    assert empty[-1] == minus_one[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name either --target, a running server, or --model, a pushed model's folder"),
        (["--target", "a:1", "--model", "b"], 2, "name either --target"),
        (["--target", "nowhere"], 2, "target 'nowhere': expected host:port"),
        (["--model", "{tmp}/none"], 2, "{tmp}/none: no such folder"),
        (["--model", "{tmp}"], 2, "{tmp}: found no version in it"),
        (["--target", "{rest}", "--name", "other"], 2, "serves no model 'other'"),
        (["--target", "127.0.0.1:{closed}"], 1, "127.0.0.1:{closed} cannot be reached"),
        (["--target", "grpc://127.0.0.1:{closed}"], 1, "127.0.0.1:{closed} cannot be reached over gRPC"),
        (["--target", "{rest}", "--output", "{tmp}/no/such.csv"], 2, "{tmp}/no/such.csv: cannot be written"),
    ],
)
def test_wrong_calls_are_one_line(
    tmp_path: Path, server: ModelServer, rows: Path, arguments: list[str], code: int, message: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        values = {"tmp": tmp_path, "rest": server.rest_target, "closed": unused.getsockname()[1]}
        result = run(rows, *(argument.format(**values) for argument in arguments))
    assert (result.exit_code, result.stdout) == (code, "")
    assert message.format(**values) in result.stderr and result.stderr.count("\n") == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path / "none.csv", "--target", "a:1")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {tmp_path}/none.csv: cannot be read (No such file or directory); name a CSV file\n"
    )


def test_a_half_copied_version_is_one_line_and_exit_1(base_path: Path, rows: Path) -> None:
    (base_path / "1" / "variables" / "variables.index").unlink()
    result = run(rows, "--model", base_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {base_path}/1 has no variables/variables.index")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("explain", [[], ["--explain"]])
def test_parquet_rows_are_written_as_parquet_with_the_same_ctr(
    tmp_path: Path, source: list[str], explain: list[str]
) -> None:
    table = pa.table(
        {
            "note": ["x", None, "z"],
            "price": pa.array([1.5, None, 1e3], pa.float64()),
            "user": ["007", "\u00e9", None],
            "item": pa.array([7, 0, None], pa.int32()),
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet")
    output = tmp_path / "scored.parquet"
    result = run(tmp_path / "rows.parquet", *source, *explain, "--output", output, "--batch-size", 2)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{output}: 3 rows\n")
    found = parquet.read_table(output)
    assert found.select(table.column_names).equals(table)
    assert found.column_names[4:] == (
        ["ctr"]
        if not explain
        else [
            *("ctr", "ctr_1", "ctr_2"),
            *("fusion_weight_1", "fusion_weight_2"),
            *("confidence_1", "confidence_2"),
        ]
    )
    np.testing.assert_allclose(found["ctr"], expected_ctr(), rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"user": ["a"], "item": [1]}, "column price is missing; the model takes item, price, user; add it"),
        (
            {"user": ["a"] * 3, "item": [1] * 3, "price": ["1", "2", "x"]},
            "row 3: column price: found 'x', expected a number up to 3.4e38 either way, or an empty cell",
        ),
        (
            {"user": ["a"], "item": [1], "price": [1.0], "ctr": [1.0]},
            "there is a column ctr already; rename it",
        ),
        ({"user": [], "item": [], "price": []}, "the file has no rows; there is nothing to predict"),
    ],
)
def test_wrong_parquet_rows_are_one_line_and_leave_no_file(
    tmp_path: Path, server: ModelServer, table: dict[str, Any], message: str
) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table(table), path)
    output = tmp_path / "scored.parquet"
    result = run(path, "--target", server.grpc_target, "--output", output, "--batch-size", 2)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"Error: {path}: ") and message in result.stderr
    assert [found.name for found in tmp_path.iterdir()] == ["rows.parquet"]


def test_parquet_that_is_none_or_has_nowhere_to_go_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    missing = run(path, "--target", "a:1")
    assert (missing.exit_code, missing.stderr) == (
        2,
        f"Error: {path}: cannot be read (No such file or directory); name a Parquet file\n",
    )
    path.write_text("user,item\n")
    wrong = run(path, "--target", "a:1")
    assert wrong.exit_code == 2 and wrong.stderr.startswith(f"Error: {path}: is no Parquet file (")
    parquet.write_table(pa.table({"user": ["a"]}), path)
    nowhere = run(path, "--target", "a:1")
    assert (nowhere.exit_code, nowhere.stderr) == (
        2,
        f"Error: {path}: name a file for the rows and their predictions with --output\n",
    )


def test_as_a_process_only_rows_are_on_standard_output(base_path: Path, rows: Path) -> None:
    command = [Path(sys.executable).with_name("cetnet"), "predict", rows, "--model", base_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    header, *found = parsed(done.stdout)
    assert header[-1] == "ctr" and len(found) == 3


@pytest.mark.parametrize("arguments", [["serve", "--help"], ["predict", "--help"], ["rank", "--help"]])
def test_help_shows_an_example_and_loads_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import sys
from cetnet_keras.cli import main
try:
    main({arguments!r}, standalone_mode=False)
finally:
    heavy = {{"tensorflow", "grpc", "httpx", "numpy", "pyarrow", "uvicorn"}} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"cetnet {arguments[0]} " in done.stdout and "Example:" in done.stdout
