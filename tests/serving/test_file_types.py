"""`cetnet predict` on files as ingestion takes them: Parquet of every type, dialects of CSV, gzip, names of outputs."""

import csv
import gzip
from datetime import date, datetime
from pathlib import Path
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from pyarrow import parquet

from cetnet_keras.cells.conversions import conversions
from cetnet_keras.cli import main
from cetnet_keras.spec import load_data_spec
from serving.server import ModelServer

SPEC = """
name: files
label: click
splits: {files: clicks.csv, by: hash, column: user, eval: 0.1, test: 0.1}
csv: {delimiter: ";", columns: [click, at, day, since, user, item, member, price, "tags[2]", seen, emb]}
features:
  at: {type: timestamp, role: context, format: iso}
  day: {type: timestamp, role: context, format: iso, parts: [weekday]}
  since: {type: timestamp, role: context, format: seconds}
  user: {type: categorical, role: context}
  item: {type: categorical, role: candidate, dtype: int64}
  member: {type: categorical, role: context}
  price: {type: numeric, role: candidate, transform: zscore}
  tags: {type: bag, role: candidate, separator: null}
  seen: {type: sequence, role: context, separator: "^"}
  emb: {type: vector, role: candidate, dimension: 3}
"""
AT = [datetime(2024, 1, 1, 0, 6, 40, 7), None, datetime(1969, 12, 31, 23, 59, 59, 500_000)]
TABLE = {
    "click": pa.array([1, 0, 0]),
    "at": pa.array(AT, pa.timestamp("us")),
    "day": pa.array([date(2024, 5, 31), date(1969, 12, 31), None]),
    "since": pa.array(AT, pa.timestamp("us")),
    "user": pa.array([7, None, 2**60]),
    "item": pa.array([7.0, None, 0.0]),
    "member": pa.array([True, False, None]),
    "price": pa.array([3, None, -1], pa.int32()),
    "tags": pa.array([[38, 57], [1, 2], [3, None]], pa.list_(pa.int64())),
    "seen": pa.array([[38, 7], [], [2]], pa.list_(pa.int64())),
    "emb": pa.array([[0.5, 1, 2], None, [1, 2, 3]], pa.list_(pa.float64())),
}
TEXT = (  # the same rows, with what ingestion documents as the text of each type
    "1;2024-01-01T00:06:40.000007;2024-05-31;1704067600;7;7;true;3;38;57;38^7;0.5 1 2\n"
    "0;;1969-12-31;;;;false;;1;2;;\n"
    f"0;1969-12-31T23:59:59.500000;;-1;{2**60};0;;-1;3;;2;1 2 3\n"
)


class Listener(tf.Module):
    """ctr tells apart whatever is heard: a hash of all inputs as text."""

    def serve(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        texts = []
        for name in sorted(inputs):
            value = inputs[name]
            text = value if value.dtype == tf.string else tf.strings.as_string(value)
            texts.append(text if text.shape.rank == 1 else tf.strings.reduce_join(text, 1, separator=","))
        bucket = tf.strings.to_hash_bucket_fast(tf.strings.join(texts, "|"), 1000)
        return {"ctr": tf.cast(bucket, tf.float32) / 1000}


def save_listener(folder: Path, inputs: dict[str, tuple[Any, tf.DType]]) -> Path:
    specs = {name: tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in inputs.items()}
    model = Listener()
    serve = tf.function(model.serve, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(model, str(folder / "1"), signatures={"serving_default": serve})
    return folder


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes the features of SPEC, as a trained one does."""
    folder = tmp_path_factory.mktemp("listener")
    (folder / "data.yaml").write_text(SPEC, encoding="utf-8")
    spec = load_data_spec(folder / "data.yaml")
    kinds = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}
    inputs = {n: ([None, *spec.raw_shapes[n]], kinds[kind]) for n, kind in spec.raw_types.items()}
    return save_listener(folder / "files", inputs).parent


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes what no spec has to explain."""
    inputs = {
        **{name: ([None], tf.string) for name in ("at", "day", "user", "member")},
        "item": ([None], tf.int64),
        "price": ([None], tf.float32),
        "tags": ([None, None], tf.string),
        "emb": ([None, 3], tf.float32),
    }
    return save_listener(tmp_path_factory.mktemp("simple") / "simple", inputs)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def scored(path: Path, *arguments: Any) -> list[float]:
    """The predictions of a Parquet file."""
    output = path.with_name("scored.pq")
    result = run(path, *arguments, "--output", output, "--batch-size", 2)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    found = parquet.read_table(output)
    assert found.drop(["ctr"]).equals(parquet.read_table(path))
    return [round(ctr, 6) for ctr in found["ctr"].to_pylist()]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    parquet.write_table(pa.table(TABLE), tmp_path / "rows.PQ")
    return tmp_path / "rows.PQ"


def test_parquet_of_every_type_is_scored_as_the_same_rows_as_text(
    listener: Path, rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(TEXT)
    call = ["--data", listener / "data.yaml", "--model", listener / "files"]
    result = run(tmp_path / "rows.csv", *call)
    assert result.exit_code == 0, result.output
    header, *lines = csv.reader(result.stdout.splitlines(), delimiter=";")
    assert header[8:10] == ["tags[1]", "tags[2]"] and header[-1] == "ctr"
    assert [";".join(line[:-1]) for line in lines] == TEXT.splitlines()
    expected = [round(float(line[-1]), 6) for line in lines]
    assert len(set(expected)) == 3, "equal predictions would agree whatever is read"
    assert scored(rows, *call) == expected


def test_predict_hears_what_ingestion_hands_to_training(listener: Path, rows: Path) -> None:
    spec = load_data_spec(listener / "data.yaml")
    raw = {n: c.parse(TABLE[n]).to_pylist() for n, c in conversions(spec).items() if n in spec.features}
    missing: dict[str, Any] = {"since": -1, "item": -1, "price": float("nan"), "emb": [float("nan")] * 3}
    filled = {name: [missing[name] if v is None else v for v in values] for name, values in raw.items()}
    kinds = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}
    tensors = {name: tf.constant(values, kinds[spec.raw_types[name]]) for name, values in filled.items()}
    expected = Listener().serve(**tensors)["ctr"].numpy()
    found = scored(rows, "--data", listener / "data.yaml", "--model", listener / "files")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_a_spec_the_signature_says_what_parquet_cells_are(simple: Path, rows: Path) -> None:
    texts = {
        "at": ["2024-01-01T00:06:40.000007", "", "1969-12-31T23:59:59.500000"],
        "day": ["2024-05-31", "1969-12-31", ""],
        "user": ["7", "", str(2**60)],
        "member": ["true", "false", ""],
        "tags": [["38", "57"], ["1", "2"], ["3", ""]],
    }
    numbers = {"item": [7, -1, 0], "price": np.float32([3, np.nan, -1])}
    emb = np.float32([[0.5, 1, 2], [np.nan] * 3, [1, 2, 3]])
    tensors = {
        name: tf.constant(value) for name, value in {**texts, "price": numbers["price"], "emb": emb}.items()
    }
    expected = Listener().serve(**tensors, item=tf.constant(numbers["item"], tf.int64))["ctr"].numpy()
    np.testing.assert_allclose(scored(rows, "--model", simple), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("at", pa.array([[1, 2], [3], []]), "column at: found the type list<int64>, expected text"),
        ("tags", pa.array(["1^2", "3", ""]), "column tags: found the type string, expected a list of text"),
        ("item", TABLE["at"], "column item: found the type timestamp[us], expected a whole number"),
    ],
)
def test_what_only_the_spec_can_say_is_asked_for(
    simple: Path, tmp_path: Path, column: str, values: pa.Array, message: str
) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table(TABLE | {column: values}), path)
    result = run(path, "--model", simple, "--output", tmp_path / "scored.parquet")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"Error: {path}: {message}")
    assert result.stderr.endswith("or name the data spec with --data, which says what it means\n")


def test_a_cell_that_does_not_fit_is_named_by_its_row(listener: Path, tmp_path: Path) -> None:
    call = ["--data", listener / "data.yaml", "--model", listener / "files"]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table(TABLE | {"user": pa.array([1.0, 2.0, 7.5])}), path)
    result = run(path, *call, "--output", tmp_path / "scored.parquet", "--batch-size", 2)
    message = "row 3: column user: found 7.5, expected text, or a whole number that is exact"
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: {path}: {message}; correct the cell or remove the row\n",
    )
    (tmp_path / "rows.csv").write_text(TEXT.replace("1969-12-31;;;;false", "yesterday;;;;false"))
    result = run(tmp_path / "rows.csv", *call)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        f"{tmp_path}/rows.csv: row 2 (line 2): column day: found 'yesterday', expected a date"
        in result.stderr
    )


# CSV

ROWS = [["user", "item", "price"], ["a;", "1", "0.5"], ["b", "", ""]]


def written(path: Path, delimiter: str) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(ROWS)
    return path


@pytest.mark.parametrize(("given", "delimiter"), [(";", ";"), ("\\t", "\t"), ("\t", "\t"), ("|", "|")])
def test_a_delimiter_that_is_given_is_that_of_the_output_too(
    server: ModelServer, tmp_path: Path, given: str, delimiter: str
) -> None:
    plain = run(written(tmp_path / "plain.csv", ","), "--target", server.grpc_target)
    result = run(
        written(tmp_path / "rows.csv", delimiter), "--delimiter", given, "--target", server.grpc_target
    )
    assert result.exit_code == 0, result.output
    found = list(csv.reader(result.stdout.splitlines(), delimiter=delimiter))
    assert found == list(csv.reader(plain.stdout.splitlines()))


def test_gzip_is_told_by_its_content_and_written_by_name(server: ModelServer, tmp_path: Path) -> None:
    plain = run(written(tmp_path / "plain.csv", ","), "--target", server.grpc_target).stdout
    for name in ("rows.csv.gz", "rows.csv"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes()))
        result = run(tmp_path / name, "--target", server.grpc_target)
        assert (result.exit_code, result.stdout) == (0, plain)
    output = tmp_path / "scored.csv.gz"
    assert run(tmp_path / "rows.csv.gz", "--target", server.grpc_target, "--output", output).exit_code == 0
    assert gzip.decompress(output.read_bytes()).decode() == plain


def test_half_a_gzip_file_is_one_line(server: ModelServer, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"user,item,price\n" + b"a,1,2\n" * 9)[:-9])
    result = run(path, "--target", server.grpc_target)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{path}: cannot be read after line" in result.stderr and "write it again" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["rows.csv", "--output", "scored.parquet"],
            "whose rows are written as CSV; give --output a name such",
        ),
        (
            ["rows.parquet", "--output", "scored.csv"],
            "whose rows are written as Parquet; give --output a name",
        ),
        (["rows.tfrecord"], "found TFRecord by its name, expected CSV or Parquet"),
        (["rows.csv", "--delimiter", "ab"], "--delimiter: found 'ab', expected one ASCII character"),
        (["rows.csv", "--delimiter", '"'], "--delimiter: found '\"', expected one ASCII character"),
        (["rows.parquet", "--delimiter", ";", "--output", "s.pq"], "a Parquet file has none; leave it out"),
        (["rows.csv", "--data", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "rows.csv", ",")
    parquet.write_table(pa.table({"user": ["a"], "item": [1], "price": [1.0]}), tmp_path / "rows.parquet")
    before = sorted(tmp_path.iterdir())
    result = run(*arguments, "--target", server.grpc_target)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr and sorted(tmp_path.iterdir()) == before


# Names of outputs


def test_a_feature_that_is_called_as_an_output_can_be_asked(tmp_path: Path) -> None:
    model = save_listener(tmp_path / "model", {"ctr": ([None], tf.float32), "user": ([None], tf.string)})
    (tmp_path / "rows.csv").write_text("ctr,user\n0.5,a\n")
    refused = run(tmp_path / "rows.csv", "--model", model)
    assert refused.exit_code == 2 and "--prefix predicted_" in refused.stderr
    result = run(tmp_path / "rows.csv", "--model", model, "--prefix", "predicted_")
    header, row = csv.reader(result.stdout.splitlines())
    assert (header, row[:2]) == (["ctr", "user", "predicted_ctr"], ["0.5", "a"])
    parquet.write_table(pa.table({"ctr": [0.5], "user": ["a"]}), tmp_path / "rows.parquet")
    output = tmp_path / "scored.parquet"
    done = run(tmp_path / "rows.parquet", "--model", model, "--prefix", "predicted_", "--output", output)
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(parquet.read_table(output)["predicted_ctr"], [float(row[2])], atol=1e-6)
