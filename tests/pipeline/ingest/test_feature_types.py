"""Times, vectors, lists, weights and id columns of CSV files are in the tf.Example as the spec describes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.ingest import check_files

Ingest = Callable[..., dict[str, list[dict[str, Any]]]]
SPEC = """
name: typed
label: click
weight: w
id: [request, item]
csv: {header: true, columns: [request, "seen[3]", "codes[2]", "joined[2]", item, hour, at, moment, v, "u[2]", w, click]}
features:
  seen: {type: sequence, separator: null}
  codes: {type: bag, separator: null, dtype: int64}
  joined: {type: sequence, separator: "|"}
  item: {type: categorical}
  hour: {type: timestamp, format: "%y%m%d%H"}
  at: {type: timestamp, format: milliseconds}
  moment: {type: timestamp}
  v: {type: vector, dimension: 3}
  u: {type: vector, dimension: 2}
  image: {type: pretrained, of: item, file: images.npz, dimension: 2}
splits: {train: train.csv, eval: test.csv, test: test.csv}
"""
HEADER = "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\n"
FULL = "r1,x,,007,5,-7,p,q,i1,14102100,-1,2024-05-31T23:59:59.5+02:00,1 -2.5 1e3,0.5,2,0.25,1\n"
EMPTY = ",,,,,,,,,,,,,,,0,0\n"


def write(folder: Path, train: str) -> None:
    (folder / "train.csv").write_text(HEADER + train)
    (folder / "test.csv").write_text(HEADER + FULL)


def test_every_type_of_cell_is_in_the_example(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path, FULL + EMPTY)
    full, empty = ingest(SPEC)["train"]
    assert full == {
        "request": b"r1",
        "seen": [b"x", b"", b"007"],
        "codes": [5, -7],
        "joined": b"p|q",
        "item": b"i1",
        "hour": b"14102100",
        "at": -1,
        "moment": b"2024-05-31T23:59:59.5+02:00",
        "v": [1.0, -2.5, 1000.0],
        "u": [0.5, 2.0],
        "w": 0.25,
        "click": 1,
        "cetnet_row": 1,
    }
    nothing = dict.fromkeys(("request", "item", "hour", "moment"), b"") | {"at": None, "v": [], "u": []}
    lists = {"seen": [b"", b"", b""], "codes": [-1, -1], "joined": b"|"}
    assert empty == nothing | lists | {"w": 0.0, "click": 0, "cetnet_row": 2}


CELLS = {
    "token with its separator": ("p,q", "p|p,q", "column joined: found ['p|p', 'q'], expected tokens without '|'"),
    "token that is no number": ("5,-7", "5,x", "column codes: found ['5', 'x'], expected a list of whole numbers"),
    "digits too few": (",14102100,", ",1410210,", "column hour: found '1410210', expected a date of 1700 to 2199"),
    "no such day": (",14102100,", ",14023000,", "column hour: found '14023000', expected a date"),
    "no such hour": (",14102100,", ",14102124,", "column hour: found '14102124', expected a date"),
    "milliseconds with a fraction": (",-1,", ",1.5,", "column at: found '1.5', expected a whole number of milli"),
    "a number for a date": ("2024-05-31T23:59:59.5+02:00", "1717", "column moment: found '1717', expected a date"),
    "number too few": ("1 -2.5 1e3", "1 -2.5", "column v: found '1 -2.5', expected 3 finite numbers, separated"),
    "NaN in a vector": ("1 -2.5 1e3", "1 nan 1e3", "column v: found '1 nan 1e3', expected 3 finite numbers"),
    "infinity in a vector": ("1 -2.5 1e3", "1 2 1e39", "column v: found '1 2 1e39', expected 3 finite numbers"),
    "a cell of a vector empty": ("0.5,2", "0.5,", "column u: found ['0.5', ''], expected 2 finite numbers"),
    "negative weight": ("0.25,1", "-0.25,1", "column w: found '-0.25', expected a number, 0 or more"),
    "missing weight": ("0.25,1", ",1", "column w: found an empty cell, expected a number, 0 or more"),
    "NaN for a weight": ("0.25,1", "nan,1", "column w: found 'nan', expected a number, 0 or more"),
    "infinite weight": ("0.25,1", "inf,1", "column w: found 'inf', expected a number, 0 or more"),
}  # fmt: skip


@pytest.mark.parametrize("case", CELLS)
def test_cell_that_does_not_fit_is_named(
    tmp_path: Path, read_all: Callable[[DataSpec, Path], list[Any]], case: str
) -> None:
    old, new, message = CELLS[case]
    assert old in FULL
    write(tmp_path, FULL + EMPTY + FULL.replace(old, new) + FULL)
    with pytest.raises(InputError) as caught:
        read_all(parse_spec(DataSpec, SPEC, "data.yaml"), tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'train.csv'}:4: row 3: {message}")


def test_one_cell_cannot_hold_a_list(tmp_path: Path) -> None:
    spec = parse_spec(DataSpec, SPEC.replace('"seen[3]"', "s1, s2, seen"), "data.yaml")
    write(tmp_path, FULL)
    with pytest.raises(
        InputError, match="column seen: separator is null, but a CSV cell cannot hold a list; name"
    ):
        check_files(spec, tmp_path)


def test_header_line_has_as_many_cells_as_the_spec_says(tmp_path: Path) -> None:
    spec = parse_spec(DataSpec, SPEC.replace("seen[3]", "seen[4]"), "data.yaml")
    write(tmp_path, FULL)
    with pytest.raises(
        InputError, match=r"train.csv: found 17 cells in the header line, expected 18 as csv.col"
    ):
        check_files(spec, tmp_path)
