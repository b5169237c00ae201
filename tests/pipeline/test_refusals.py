"""Wrong input to `cetnet run`: exit code 2 and one line that says where and what, and what was made before stays."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DATA = """\
name: clicks
label: click
group: user
features:
  user: {type: categorical}
  item: {type: categorical, role: candidate}
  price: {type: numeric, role: candidate}
  seen: {type: sequence, vocabulary: item}
  hour: {type: bag, dtype: int64}
splits: {files: clicks.csv, by: time, column: ts, within: user, eval: 0.2, test: 0.2}
"""
MODEL = """\
members:
  - {type: din, hidden: [8]}
training: {batch_size: 64}
"""
SAID = {"metrics.json", "report.html"}  # what a run says of itself


@pytest.fixture
def folder(project: Callable[..., Path]) -> Path:
    """Sound data and specs, to be spoilt."""
    return project(data=DATA, model=MODEL)


@pytest.fixture
def output(first_run: Any) -> Iterator[Path]:
    """DIR of an earlier run. All that was in it has to be in it afterwards, but for logs and the ledger of runs."""
    before = contents(first_run.output)
    yield first_run.output
    after = contents(first_run.output)
    assert {path: after.get(path) for path in before} == before
    assert {"metrics.json", f"serving/clicks/{first_run.versions[0]}/saved_model.pb"} <= set(before)


@pytest.fixture
def begun(first_output: Path) -> Iterator[Path]:
    """DIR of an earlier run, where another begins: what the earlier one said of itself is gone, and nothing else."""
    before = contents(first_output)
    yield first_output
    after = contents(first_output)
    assert not SAID & set(after), "they would be taken for those of the run that was refused"
    assert {path: after.get(path) for path in before if path not in SAID} == {
        path: digest for path, digest in before.items() if path not in SAID
    }


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(("log.txt", "metadata.sqlite"))
    }


def refusal(run_cetnet: Any, folder: Path, output: Path) -> str:
    """The one line that a run ends with."""
    paths = ("--data", folder / "data.yaml", "--model", folder / "model.yaml", "--output", output)
    result = run_cetnet("run", *paths)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    return str(result.stderr)


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def cut(lines: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        kept = (folder / "clicks.csv").read_bytes().splitlines(keepends=True)[:lines]
        (folder / "clicks.csv").write_bytes(b"".join(kept))

    return spoil


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def row(number: int, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    """Changes the cells of a data row, counted from 1."""

    def spoil(folder: Path) -> None:
        lines = (folder / "clicks.csv").read_bytes().splitlines()
        lines[number] = b",".join(change(lines[number].split(b",")))
        (folder / "clicks.csv").write_bytes(b"\n".join(lines) + b"\n")

    return spoil


def header(old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        first, _, rest = (folder / "clicks.csv").read_bytes().partition(b"\n")
        assert old in first
        (folder / "clicks.csv").write_bytes(first.replace(old, new, 1) + b"\n" + rest)

    return spoil


def days_in_parquet(folder: Path) -> None:
    """Two files a writer made, whose idea of a price changed between them."""
    rows = {"user": ["u", "v"], "item": ["i", "j"], "seen": ["i", ""], "hour": ["1", "2"], "ts": [1, 2]}
    for day, price in (("day_1", [1.0, 2.0]), ("day_2", [[1.0], [2.0]])):
        pq.write_table(pa.table(rows | {"price": price, "click": [0, 1]}), folder / f"{day}.parquet")
    replaced("data.yaml", "files: clicks.csv", 'files: "day_*.parquet"')(folder)


BEFORE_TFX: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no data spec": (removed("data.yaml"), ["data.yaml: cannot be read", "No such file"]),
    "no model spec": (removed("model.yaml"), ["model.yaml: cannot be read", "No such file"]),
    "no data": (removed("clicks.csv"), ["clicks.csv: found no file", "check the path"]),
    "an empty file": (cut(0), ["clicks.csv: found an empty file"]),
    "a header alone": (cut(1), ["clicks.csv: found no rows below the header"]),
    "a missing column": (
        replaced("clicks.csv", "price", "prize"),
        ["clicks.csv: found no column 'price'", "features.price", "did you mean 'prize'?"],
    ),
    "a column twice": (header(b"price", b"item"), ["clicks.csv: found column 'item' 2 times, expected once"]),
    "Parquet of another schema": (
        days_in_parquet,
        ["day_2.parquet: column price: found the type list<", "expected one value a row"],
    ),
    "a member without the sequence it needs": (
        lambda folder: [
            replaced("model.yaml", "din, hidden: [8]", "interformer")(folder),
            replaced("data.yaml", "  seen: {type: sequence, vocabulary: item}\n", "")(folder),
        ],
        [
            "model.yaml:2: members.0.type: interformer needs a sequence and another feature; ",
            "the data spec has no sequence: add one, or name another member",
        ],
    ),
    "a header that is not UTF-8": (
        lambda folder: written("clicks.csv", b"\xff" + (folder / "clicks.csv").read_bytes())(folder),
        ["clicks.csv:1: found bytes that are not UTF-8"],
    ),
    "a binary data spec": (
        written("data.yaml", b"\x7fELF\xff\xfe\x00"),
        ["data.yaml:1", "0xff", "not UTF-8"],
    ),
    "a binary model spec": (written("model.yaml", b"PK\x03\x04\x9c"), ["model.yaml:1", "0x9c", "not UTF-8"]),
    "broken YAML": (replaced("data.yaml", "features:", "features: ["), ["data.yaml:"]),
    "an unknown key": (
        replaced("data.yaml", "group:", "groups:"),
        ["data.yaml:3: groups: unknown key", "group?"],
    ),
    "an unknown key of the model": (
        replaced("model.yaml", "batch_size", "batchsize"),
        ["model.yaml:3: training.batchsize: unknown key", "batch_size?"],
    ),
    "a wrong type": (
        replaced("model.yaml", "batch_size: 64", "batch_size: many"),
        ["model.yaml:3: training.batch_size: ", 'found "many", expected a whole number'],
    ),
    "a list for a mapping": (
        replaced("data.yaml", "{type: numeric, role: candidate}", "[numeric]"),
        ["data.yaml:7"],
    ),
    "a vocabulary that does not exist": (
        replaced("data.yaml", "vocabulary: item", "vocabulary: itm"),
        ["data.yaml:8: features.seen.vocabulary: found 'itm'", "item"],
    ),
    "an unknown member": (
        replaced("model.yaml", "type: din", "type: dinn"),
        ["model.yaml:2: members.0.type", "din?"],
    ),
    "an unknown option of a member": (
        replaced("model.yaml", "hidden:", "hiden:"),
        ["model.yaml:2: members.0.hiden: unknown option", "hidden?"],
    ),
    "an option that a member refuses": (
        replaced("model.yaml", "hidden: [8]", "hidden: [-8]"),
        ["model.yaml:2: members.0"],
    ),
}


@pytest.mark.parametrize("case", BEFORE_TFX)
def test_what_is_wrong_at_first_sight_is_said_before_anything_runs(
    folder: Path, output: Path, run_cetnet: Any, case: str
) -> None:
    spoil, words = BEFORE_TFX[case]
    spoil(folder)
    error = refusal(run_cetnet, folder, output)
    assert str(folder) in error and all(word in error for word in words), error


IN_ROWS: dict[str, tuple[Callable[[Path], None], str]] = {
    "label": (row(7, lambda cells: [*cells[:-1], b"2"]), "row 7: column click: found '2', expected 0 or 1"),
    "NaN label": (
        row(8, lambda cells: [*cells[:-1], b"nan"]),
        "row 8: column click: found 'nan', expected 0 or 1",
    ),
    "infinity": (
        row(2, lambda cells: [*cells[:6], b"-inf", *cells[7:]]),
        "row 2: column price: found '-inf', expected a number up to 3.4e38",
    ),
    "time": (
        row(6, lambda cells: [cells[0], b"31.5.24", *cells[2:]]),
        "row 6: column ts: found '31.5.24'",
    ),
    "ragged": (row(9, lambda cells: [*cells, b"more"]), "row 9: found 16 cells, expected 15"),
    "encoding": (
        row(5, lambda cells: [b"caf\xe9", *cells[1:]]),
        r"row 5: column user: found 'caf\xe9', expected UTF-8",
    ),
    "token": (
        row(4, lambda cells: [*cells[:4], b"7^0x7", *cells[5:]]),
        "row 4: column hour: found '7^0x7', expected whole numbers",
    ),
    "number": (
        row(3, lambda cells: [*cells[:6], b"cheap", *cells[7:]]),
        "row 3: column price: found 'cheap'",
    ),
}


@pytest.mark.parametrize("case", IN_ROWS)
def test_what_is_found_in_a_row_names_file_line_and_row(
    folder: Path, begun: Path, run_cetnet: Any, case: str
) -> None:
    spoil, words = IN_ROWS[case]
    spoil(folder)
    error = refusal(run_cetnet, folder, begun)
    number = int(words.split()[1].rstrip(":"))
    assert error.startswith(f"Error: {folder / 'clicks.csv'}:{number + 1}: {words}"), error
    assert "Traceback" in (begun / "log.txt").read_text(encoding="utf-8", errors="replace")


def test_columns_that_nothing_uses_are_named_once_and_do_no_harm(folder: Path, run_cetnet: Any) -> None:
    spec = (
        (folder / "data.yaml")
        .read_text(encoding="utf-8")
        .replace("  price: {type: numeric, role: candidate}\n", "")
    )
    (folder / "data.yaml").write_text(spec, encoding="utf-8")
    row(1, lambda cells: [*cells[:-1], b"2"])(folder)  # so that the run ends with the first file
    paths = ("--data", folder / "data.yaml", "--model", folder / "model.yaml", "--output", folder / "run")
    result = run_cetnet("run", *paths)
    assert "column click: found '2'" in result.stderr
    assert result.stdout.count("price") == 1 and "does not use" in result.stdout


def test_an_output_that_cannot_be_written_is_refused(folder: Path, run_cetnet: Any) -> None:
    output = Path("/proc/cetnet")  # where not even root makes folders
    assert not output.parent.is_dir() or str(output) in refusal(run_cetnet, folder, output)


def test_a_full_disk_is_said_in_a_line(folder: Path) -> None:
    """On a real file system of 400 KB, which ends with the process that mounted it."""
    disk = folder / "disk"
    disk.mkdir()
    small = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=400k tmpfs "$0" && exec "$@"',
    ]
    if subprocess.run([*small, disk, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a user mount a tmpfs")
    files = ["--data", folder / "data.yaml", "--model", folder / "model.yaml", "--output", disk / "run"]
    cetnet = [sys.executable, "-m", "cetnet_keras.cli", "run", *files]
    ended = subprocess.run([*small, disk, *cetnet], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("Error: ") and ended.stderr.count("\n") == 1
    assert ("disk" in ended.stderr.lower() and "full" in ended.stderr) or "No space left" in ended.stderr


def test_an_output_that_is_a_file_is_refused(folder: Path, run_cetnet: Any) -> None:
    (folder / "taken").write_text("not to be lost", encoding="utf-8")
    for output in (folder / "taken", folder / "taken" / "below"):
        error = refusal(run_cetnet, folder, output)
        assert str(output) in error and "name another --output" in error
    assert (folder / "taken").read_text(encoding="utf-8") == "not to be lost"


def test_a_folder_of_artifacts_that_cannot_be_made_is_refused(folder: Path, run_cetnet: Any) -> None:
    output = folder / "run"
    output.mkdir()
    (output / "tfx").write_text("not to be lost", encoding="utf-8")
    error = refusal(run_cetnet, folder, output)
    assert str(output / "tfx") in error and "name another --output" in error
    assert (output / "tfx").read_text(encoding="utf-8") == "not to be lost"
