"""Histories are what a loop over all earlier rows collects."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.ingest.bad_rows import BadRows
from pipeline.ingest.files import source_files
from pipeline.ingest.rows import RowReader, shuffles
from pipeline.ingest.shards import from_shard, to_shards

Ingest = Callable[..., dict[str, list[dict[str, Any]]]]
SPEC = """
name: h
label: y
features:
  item: {type: categorical}
  liked: {type: sequence, of: item, by: user, time: ts, where: {y: 1, kind: view}, max_length: 2}
  all: {type: sequence, separator: "||", of: item, by: user, time: ts, max_length: 200, vocabulary: item}
  buyers: {type: sequence, of: user, by: item, time: day, where: {price: 2.5}}
  outcomes: {type: sequence, of: y, by: user, time: ts, max_length: 4}
  items: {type: sequence, of: item, by: user, time: ts, where: {kind: view}, max_length: 3, align: seen}
  prices: {type: sequence, separator: "|", of: price, by: user, time: ts, where: {kind: view}, max_length: 3, align: seen}
splits: {files: "rows*.csv", by: time, column: ts, within: user}
"""
HISTORIES = ("liked", "all", "buyers", "outcomes", "items", "prices")
HEADER = "user,item,ts,day,kind,price,y\n"
Cells = tuple[str, str, str, str, str, str, str]
ROWS = st.tuples(
    st.sampled_from(["u1", "u1", "u1", "", "é"]),
    st.sampled_from(["", "i1", "i22", "i333", "007", "ö"]),
    st.sampled_from(["1", "1.0", "2", "2.5", "10", "-3"]),
    st.sampled_from(["2024-01-01", "2024-01-02", "2024-01-02T00:00:00Z", "2024-01-02 01:00"]),
    st.sampled_from(["view", "view", "buy"]),
    st.sampled_from(["2.5", "2.50", "3", ""]),
    st.sampled_from(["0", "1", "1.0"]),
)
DAYS = {"2024-01-01": 0.0, "2024-01-02": 24.0, "2024-01-02T00:00:00Z": 24.0, "2024-01-02 01:00": 25.0}


def naive(rows: list[Cells]) -> Iterator[tuple[str, ...]]:
    """HISTORIES of each row, by the definition."""
    for user, item, ts, day, *_ in rows:
        before = sorted((r for r in rows if float(r[2]) < float(ts)), key=lambda r: float(r[2]))
        own = [r for r in before if r[0] == user != ""]
        seen = [r for r in own if (r[1] or r[5]) and r[4] == "view"][-3:]  # in step: either may be empty
        mine = [r for r in own if r[1] != ""]
        liked = [r[1] for r in mine if float(r[6]) == 1 and r[4] == "view"]
        days_before = sorted((r for r in rows if DAYS[r[3]] < DAYS[day]), key=lambda r: DAYS[r[3]])
        buyers = [r[0] for r in days_before if r[1] == item != "" and r[0] != "" and r[5] in ("2.5", "2.50")]
        one_column = "^".join(liked[-2:]), "||".join([r[1] for r in mine][-200:]), "^".join(buyers[-100:])
        outcomes = "^".join(r[6] for r in own[-4:])
        yield *one_column, outcomes, "^".join(r[1] for r in seen), "|".join(r[5] for r in seen)


def write(folder: Path, rows: list[Cells], files: int) -> None:
    size = -(-len(rows) // files)
    for number in range(files):
        part = rows[number * size : (number + 1) * size] or rows[:0]
        lines = "".join(",".join(row) + "\n" for row in part)
        if lines:
            (folder / f"rows{number}.csv").write_text(HEADER + lines, encoding="utf-8")


def through_shards(spec: DataSpec, folder: Path, shards: int) -> dict[int, tuple[str, ...]]:
    """Histories by row key, made by the steps of the pipeline without Beam between them."""
    steps, reader = shuffles(spec), RowReader(spec)
    batches = [rows for file in source_files(spec, folder) for rows in reader.rows(file, None, BadRows(0))]
    for step in steps:
        pieces: dict[int, list[bytes]] = {}
        for rows in batches:
            for shard, piece in to_shards(rows, step, shards):
                pieces.setdefault(shard, []).append(piece)
        batches = [rows for shard in reversed(pieces.values()) for rows in from_shard(shard[::-1], step)]
    found = {}
    for rows in batches:
        for row in rows.to_pylist():
            found[row["cetnet_row"]] = tuple(row[name].decode() for name in HISTORIES)
    return found


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=1, max_size=40), st.integers(1, 3), st.sampled_from([1, 3, 64]))
def test_histories_are_those_of_a_loop(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Cells], files: int, shards: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    write(folder, rows, files)
    found = through_shards(parse_spec(DataSpec, SPEC, "data.yaml"), folder, shards)
    assert [found[key] for key in sorted(found)] == list(naive(rows))


def test_rows_of_nobody_are_spread_over_the_shards_unless_they_are_cut_together(tmp_path: Path) -> None:
    spec = parse_spec(DataSpec, SPEC, "data.yaml")
    by_user, by_item = shuffles(spec)
    write(tmp_path, [("", "", str(n), "2024-01-01", "view", "", "0") for n in range(800)], 2)
    rows_of: dict[str, dict[int, int]] = {"user": {}, "item": {}}
    for file in source_files(spec, tmp_path):
        for rows in RowReader(spec).rows(file, None, BadRows(0)):
            for step in (by_user, by_item):
                for shard, piece in to_shards(rows, step, 8):
                    found = pa.ipc.open_stream(piece).read_all().num_rows
                    rows_of[step.key][shard] = rows_of[step.key].get(shard, 0) + found
    assert list(rows_of["user"].values()) == [800], "each value of it is cut on its own"
    assert sorted(rows_of["item"]) == list(range(8)) and max(rows_of["item"].values()) <= 200


def test_histories_of_all_splits_and_files_through_the_executor(ingest: Ingest, tmp_path: Path) -> None:
    draw = random.Random(5)
    rows = [
        (
            f"u{draw.randrange(8)}",
            f"i{draw.randrange(30)}",
            str(draw.randrange(100)),
            draw.choice(list(DAYS)),
            draw.choice(["view", "buy"]),
            draw.choice(["2.5", "2.50", "3", ""]),
            draw.choice("01"),
        )
        for _ in range(500)
    ]
    write(tmp_path, rows, 3)
    splits = ingest(SPEC)
    assert all(splits.values())
    found = sorted(
        (row for of_split in splits.values() for row in of_split), key=lambda row: row["cetnet_row"]
    )
    histories = [tuple(row[name].decode() for name in HISTORIES) for row in found]
    assert histories == list(naive(rows))
    assert max(len(history[1].split("||")) for history in histories) > 50


def test_file_splits_share_one_history(ingest: Ingest, tmp_path: Path) -> None:
    spec = """
name: h
label: y
features:
  item: {type: categorical}
  before: {type: sequence, of: item, by: user, time: ts, max_length: 150, vocabulary: item}
splits: {train: a.csv, eval: b.csv, test: b.csv}
"""
    lines = [f"u,i{n},{n},{n % 2}\n" for n in range(160)]
    (tmp_path / "a.csv").write_text("user,item,ts,y\n" + "".join(lines[:-1]))
    (tmp_path / "b.csv").write_text("user,item,ts,y\n" + lines[-1])
    splits = ingest(spec)
    assert splits["test"] == splits["eval"]
    assert splits["test"][0]["before"].decode().split("^") == [f"i{n}" for n in range(9, 159)]
    assert splits["train"][1]["before"] == b"i0"


def test_aligned_histories_keep_the_place_of_an_empty_token(ingest: Ingest, tmp_path: Path) -> None:
    spec = """
name: h
label: y
features:
  ih: {type: sequence, of: item, by: user, time: t, align: h, max_length: 2}
  ch: {type: sequence, of: cate, by: user, time: t, align: h, max_length: 2}
splits: {train: rows.csv, eval: last.csv, test: last.csv}
"""
    rows = ["u,1,A,,0\n", "u,2,B,x,0\n", "u,3,,,0\n", "u,4,,y,1\n"]
    (tmp_path / "rows.csv").write_text("user,t,item,cate,y\n" + "".join(rows))
    (tmp_path / "last.csv").write_text("user,t,item,cate,y\nu,5,D,z,1\n")
    splits = ingest(spec)
    found = [(row["ih"], row["ch"]) for row in (*splits["train"], *splits["test"])]
    assert found == [(b"", b""), (b"A", b""), (b"A^B", b"^x"), (b"A^B", b"^x"), (b"B^", b"x^y")]
