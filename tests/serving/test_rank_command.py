"""`cetnet rank`: one user's features and a CSV of candidates in, the best of them out."""

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cetnet_keras.cli import main
from cetnet_keras.errors import InputError
from serving.metadata import TensorInfo
from serving.server import ModelServer
from serving.user_features import user_features

CSV = 'title,item\n"A, ""a""",1\nB,\nC,3\nD,3\nE,2\n'
KNOWN = {
    "user": TensorInfo("string", (-1,)),
    "age": TensorInfo("int64", (-1,)),
    "score": TensorInfo("float", (-1,)),
    "history": TensorInfo("string", (-1, -1)),
}


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["rank", *map(str, arguments)])


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


@pytest.fixture(params=["REST", "gRPC", "model"])
def source(request: pytest.FixtureRequest, server: ModelServer, base_path: Path) -> list[str]:
    return {
        "REST": ["--target", server.rest_target],
        "gRPC": ["--target", server.grpc_target],
        "model": ["--model", str(base_path)],
    }[request.param]


def test_the_best_come_first_and_equal_ones_in_the_order_of_the_file(items: Path, source: list[str]) -> None:
    result = run("--user", "user=ab", "--candidates", items, "--top", 4, *source)
    assert (result.exit_code, result.stderr) == (0, "")
    header, *found = csv.reader(io.StringIO(result.stdout))
    assert header == ["title", "item", "ctr"]
    assert [row[:2] for row in found] == [["C", "3"], ["D", "3"], ["E", "2"], ['A, "a"', "1"]]
    ctr = 1 / (1 + np.exp(-(2 + np.array([3, 3, 2, 1]))))
    np.testing.assert_allclose([float(row[2]) for row in found], ctr, rtol=1e-6)


def test_all_candidates_are_shown_where_there_are_fewer(items: Path, source: list[str]) -> None:
    result = run("--user", '{"user": null}', "--candidates", items, *source)
    assert [line.split(",")[-2] for line in result.stdout.splitlines()] == ["item", "3", "3", "2", "1", ""]


def test_candidates_may_have_any_delimiter_be_compressed_and_have_a_ctr(
    items: Path, source: list[str], tmp_path: Path
) -> None:
    text = run("--user", "user=ab", "--candidates", items, *source, "--top", 2).stdout
    scored = tmp_path / "scored.csv.gz"  # has a ctr already
    scored.write_bytes(gzip.compress(text.replace(",", "|").encode()))
    call = ["--user", "user=ab", "--candidates", scored, *source, "--delimiter", "|"]
    assert run(*call).exit_code == 2
    header, *best = run(*call, "--prefix", "new_").stdout.splitlines()
    assert header.split("|")[-2:] == ["ctr", "new_ctr"] and len(best) == 2
    assert all(line.split("|")[-1] == line.split("|")[-2] for line in best)


def test_output_is_a_file_that_replaces_another(items: Path, source: list[str], tmp_path: Path) -> None:
    output = tmp_path / "best.csv"
    output.write_text("before")
    failed = run("--user", "usr=ab", "--candidates", items, *source, "--output", output)
    assert (failed.exit_code, output.read_text()) == (2, "before")
    done = run("--user", "user=ab", "--candidates", items, *source, "--output", output, "--top", 2)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{output}: 2 rows\n")
    assert len(output.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--user", "usr=ab"], 2, "the context of signature rank takes user; missing: user, unknown: usr"),
        (["--user", "user"], 2, "--user 'user': expected NAME=VALUE, a JSON object, or @FILE with one"),
        (["--user", '{"user": 7}'], 2, "input user, row 1: found 7 (int), the signature takes string"),
        (["--user", "user=a", "--user", "user=b"], 2, "--user: user is given twice; take one out"),
        (["--user", "user=a", "--candidates", "{tmp}/none.csv"], 2, "none.csv: cannot be read (No such file"),
        (
            ["--user", "user=a", "--candidates", "{tmp}/no_item.csv"],
            2,
            "column item is missing; the model takes item",
        ),
        (
            ["--user", "user=a", "--candidates", "{tmp}/bad.csv"],
            2,
            "row 2 (line 3), column item: found 'x', expected an",
        ),
        (
            ["--user", "user=a", "--candidates", "{tmp}/scored.csv"],
            2,
            "there is a column ctr already; rename it",
        ),
        (
            ["--user", "user=a", "--candidates", "items.pq"],
            2,
            "items.pq: found Parquet by its name, expected CSV;",
        ),
        (
            ["--user", "user=a", "--output", "best.pq"],
            2,
            "whose rows are written as CSV; give --output a name",
        ),
        (["--user", "user=a", "--name", "other"], 2, "serves no model 'other'"),
        (["--user", "user=a", "--model", "x"], 2, "name either --target, a running server, or --model"),
        (["--user", "user=a", "--target", "127.0.0.1:1"], 1, "127.0.0.1:1 cannot be reached"),
    ],
)
def test_wrong_calls_are_one_line(
    items: Path, tmp_path: Path, server: ModelServer, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "no_item.csv").write_text("id\n1\n")
    (tmp_path / "bad.csv").write_text("item\n1\nx\n")
    (tmp_path / "scored.csv").write_text("item,ctr\n1,1\n")
    defaults = ["--candidates", str(items), "--target", server.grpc_target]
    result = run(*defaults, *(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_a_user_is_named_by_values_json_and_files_together(tmp_path: Path) -> None:
    path = tmp_path / "user.json"
    path.write_text(json.dumps({"history": ["a", "b"], "score": None}), encoding="utf-8-sig")
    found = user_features(["user=a=b", "age= 49 ", f"@{path}"], KNOWN)
    assert found == {"user": "a=b", "age": 49, "history": ["a", "b"], "score": None}
    unknown = user_features(["user=", "age=", "score=", "other=x"], KNOWN)
    assert np.isnan(unknown.pop("score")) and unknown == {"user": "", "age": -1, "other": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age=x", r"--user age: found 'x', expected an integer \(int64\), or nothing where it is missing"),
        ("score=high", r"--user score: found 'high', expected a number, or nothing where it is missing"),
        ("history=a", r"--user history: the model takes a list; give it as JSON: '\{\"history\": \[...\]\}'"),
        ('{"user": ["a"]}', "--user: user is a list; expected one value, for one user"),
        ("{user: a}", r"--user: no JSON object \(Expecting property name"),
        (
            "@{tmp}/none.json",
            r"none.json: cannot be read \(No such file or directory\); name a file with a JSON",
        ),
        ("@{tmp}/list.json", "list.json: found a JSON list, expected an object"),
        ("@{tmp}/latin.json", "latin.json: cannot be read .*codec can't decode"),
    ],
)
def test_a_user_that_cannot_be_read_is_one_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "latin.json").write_bytes(b'{"user": "\xe9"}')
    with pytest.raises(InputError, match=message):
        user_features([text.replace("{tmp}", str(tmp_path))], KNOWN)


def test_as_a_process_only_rows_are_on_standard_output(base_path: Path, items: Path) -> None:
    command = [Path(sys.executable).with_name("cetnet"), "rank", "--user", "user=ab", "--candidates", items]
    done = subprocess.run([*command, "--model", base_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("title,item,ctr\nC,3,0.99")
