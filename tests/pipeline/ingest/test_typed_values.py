"""What is in a cell is in the tf.Example, with the type that the spec gives it."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Ingest = Callable[..., dict[str, list[dict[str, Any]]]]
SPEC = """
name: typed
label: click
group: session
features:
  item: {type: categorical}
  shop: {type: categorical, dtype: int64}
  hour: {type: categorical, identity: 24}
  price: {type: numeric}
  seen: {type: sequence, max_length: 100}
  genres: {type: bag, separator: "|"}
splits: {train: train.csv, eval: eval.csv, test: test.csv}
"""
HEADER = "session,item,unused,shop,hour,price,seen,genres,click\n"
HISTORY = "^".join(f"i{n}" for n in range(150))
ROWS = [
    ["s1", "", "x", "", "", "", "", "", "0"],
    ["s1", "007", "x", "007", "23", "1e-3", HISTORY, "a|b", "1"],
    ["", "1e730941", "x", "-9223372036854775808", "0", "NaN", "1e5^^007", "NA", "1.0"],
    ["s 2", "NA", "x", "9223372036854775807", "5", "-2.5", "null", " ", "0.0"],
    ["ü", "never seen é\u2603", "x", "0", "1", "0", "0", "0", "0"],
]


def write(path: Path, rows: list[list[str]], header: str = HEADER) -> None:
    path.write_text(header + "".join(",".join(row) + "\n" for row in rows), encoding="utf-8")


def expected(row: list[str], key: int) -> dict[str, object]:
    session, item, _, shop, hour, price, seen, genres, click = row
    number = float(price) if price not in ("", "NaN") else None
    return {
        "session": session.encode(),
        "item": item.encode(),
        "shop": int(shop) if shop else None,
        "hour": int(hour) if hour else None,
        "price": None if number is None else float(np.float32(number)),
        "seen": seen.encode(),
        "genres": genres.encode(),
        "click": int(float(click)),
        "cetnet_row": key,
    }


def test_every_value_survives_and_nothing_else_is_kept(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "eval.csv", ROWS[:2])
    write(tmp_path / "test.csv", ROWS[3:])
    splits = ingest(SPEC)
    assert splits["train"] == [expected(row, n) for n, row in enumerate(ROWS, 1)]
    assert splits["eval"] == [expected(row, (1 << 40) + n) for n, row in enumerate(ROWS[:2], 1)]
    assert splits["test"] == [expected(row, (2 << 40) + n) for n, row in enumerate(ROWS[3:], 1)]


def test_type_does_not_depend_on_what_a_file_holds(ingest: Ingest, tmp_path: Path) -> None:
    for name, item in {"train": "7", "eval": "7.5", "test": "seven"}.items():
        write(tmp_path / f"{name}.csv", [["1", item, "", "1", "1", "1", "1", "1", "1"]])
    items = {name: rows[0]["item"] for name, rows in ingest(SPEC).items()}
    assert items == {"train": b"7", "eval": b"7.5", "test": b"seven"}


DIALECTS = {
    "plain": lambda text: text,
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "carriage returns": lambda text: text.replace(b"\n", b"\r\n"),
    "no newline at the end": lambda text: text.rstrip(b"\n"),
    "blank lines": lambda text: text.replace(b"\n", b"\n\n"),
    "columns in another order": lambda text: b"\n".join(
        b",".join(reversed(line.split(b","))) for line in text.splitlines()
    ),
    "an unneeded column twice": lambda text: b"\n".join(line + b",unused" for line in text.splitlines()),
}


def test_every_dialect_gives_the_same_rows(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "plain.csv", ROWS)
    text = (tmp_path / "plain.csv").read_bytes()
    for number, change in enumerate(DIALECTS.values()):
        (tmp_path / f"train_{number}.csv").write_bytes(change(text))
    (tmp_path / "train_x.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "train_y.csv.gz").write_bytes(gzip.compress(text[:100]) + gzip.compress(text[100:]))
    write(tmp_path / "test.csv", ROWS[:1])
    patterns = "train: ['train_*.csv', 'train_*.gz'], eval: plain.csv"
    splits = ingest(SPEC.replace("train: train.csv, eval: eval.csv", patterns))
    files = len(DIALECTS) + 2
    wanted = [expected(row, (file << 40) + n) for file in range(files) for n, row in enumerate(ROWS, 1)]
    assert splits["train"] == wanted
    assert [row["item"] for row in splits["eval"]] == [row[1].encode() for row in ROWS]


def test_quoted_cells_may_hold_delimiters_quotes_and_newlines(ingest: Ingest, tmp_path: Path) -> None:
    quoted = [["s", '"a, ""b""\nc"', "", "1", "1", "1", "1", "1", "1"]]
    for name in ("train", "eval", "test"):
        write(tmp_path / f"{name}.csv", quoted + ROWS[:1])
    rows = ingest(SPEC)["train"]
    assert [row["item"] for row in rows] == [b'a, "b"\nc', b""]
    assert [row["cetnet_row"] for row in rows] == [1, 2]


@pytest.mark.parametrize("absolute", [False, True])
def test_tabs_without_a_header_line(ingest: Ingest, tmp_path: Path, absolute: bool) -> None:
    spec = """
name: criteo
label: label
csv: {delimiter: "\\t", columns: [label, i1, c1, more]}
features: {i1: {type: numeric}, c1: {type: categorical}}
splits: {files: "data/*.tsv", by: hash, column: more, eval: 0.3, test: 0.3}
"""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.tsv").write_text("".join(f"{n % 2}\t\t68fd,{n}\t{n}\n" for n in range(30)), encoding="utf-8")
    splits = ingest(spec.replace("data/*.tsv", f"{folder}/*.tsv") if absolute else spec)
    rows = sorted((row for rows in splits.values() for row in rows), key=lambda row: row["cetnet_row"])
    assert rows == [
        {"label": n % 2, "i1": None, "c1": f"68fd,{n}".encode(), "cetnet_row": n + 1} for n in range(30)
    ]
