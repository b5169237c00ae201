"""What is guessed of single columns, and what the comments say of it."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cetnet_keras.spec import DataSpec, FileSplits, HoldOut, RowSplits

Infer = Callable[..., DataSpec]
Write = Callable[..., Path]
ROWS = 240


@pytest.fixture
def guess(write: Write, inferred: Infer, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a column of one name and values becomes beside a user, an item and a label; None where it is left out."""

    def guess(name: str, values: list[object], **others: list[object]) -> Any:
        rng = random.Random(7)
        columns: dict[str, list[object]] = {
            "user_id": [f"u{n // 8}" for n in range(ROWS)],
            "item_id": [f"i{rng.randrange(40)}" for _ in range(ROWS)],
            name: [values[n % len(values)] for n in range(ROWS)],
            **{other: [cells[n % len(cells)] for n in range(ROWS)] for other, cells in others.items()},
            "label": [n % 2 for n in range(ROWS)],
        }
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        spec = inferred(write(tmp_path / "rows.tsv", rows, "\t"))
        feature = spec.features.get(name)
        return None if feature is None else feature.model_dump(exclude_unset=True)

    return guess


DAYS = [f"2024-05-{day:02d}" for day in range(1, 29)]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("price", ["1.50", "20.25", "3.00"], {"type": "numeric", "transform": "zscore", "role": "candidate"}),
        ("f", ["0.5", "-1.25", ""], {"type": "numeric"}),
        ("age", list(range(18, 70)), {"type": "numeric"}),
        ("n_views", [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 4000], {"type": "numeric", "transform": "log1p"}),
        ("price", ["007", "008"], {"type": "categorical"}),
        ("count", ["1", "2", "NULL"], {"type": "categorical"}),
        ("count", ["1", "2", "inf"], {"type": "categorical"}),
        ("price", [1, 2, 3], {"type": "categorical"}),
        ("age_level", list(range(60)), {"type": "categorical"}),
        ("os_version", ["10.3", "9.2", "11.0"], {"type": "categorical"}),
        ("f", [10**12 + n for n in range(90)], {"type": "categorical"}),
        ("f", ["1e5", "2e5"], {"type": "categorical"}),
        ("f", list(range(1, 100)), {"type": "categorical"}),
        ("c", ["7.0", "8.0", ""], {"type": "categorical"}),
        ("genres", ["Drama|War", "Comedy", "War"], {"type": "bag", "separator": "|"}),
        ("f", ["a;b", "b;a;c", "c"], {"type": "bag", "separator": ";"}),
        ("f", ["a^b^a", "b^a^c", "c"], {"type": "sequence", "separator": "^"}),
        ("f", ["3 1", "1 3 2", "2 3"], {"type": "bag", "separator": " "}),
        ("city", ["San Jose", "New York", "Rome"], {"type": "categorical"}),
        (
            "item_history",
            ["i1^i2", "i3", ""],
            {"type": "sequence", "vocabulary": "item_id", "role": "context"},
        ),
        (
            "clicked_items",
            ["i1,i2", "i3,i1", "i5"],
            {"type": "sequence", "separator": ",", "vocabulary": "item_id"},
        ),
        ("item_history", ["a^b", "c", ""], {"type": "sequence", "separator": "^"}),
        ("emb", ["0.1 0.2 -0.3", "0.5 0.25 1e-05"], {"type": "vector", "dimension": 3, "separator": " "}),
        ("emb", ["0.1 0.2 -0.3", "0.5 0.25"], None),
        ("tokens", ["[1, 2]", "[3]"], None),
        ("d", DAYS, {"type": "timestamp", "format": "iso", "parts": ["weekday"]}),
        (
            "d",
            ["2024-05-31T10:00:00Z", "2024-06-01 11:30:00"],
            {"type": "timestamp", "parts": ["hour", "weekday"]},
        ),
        ("d", ["2024-05-31", "2024-13-01"], {"type": "categorical"}),
        ("ts", [1717171717 + n for n in range(50)], {"type": "timestamp", "format": "seconds"}),
        ("ts", [1717171717000 + n for n in range(50)], {"type": "timestamp", "format": "milliseconds"}),
        ("ts", ["20240531235959", "20240601000000"], {"type": "timestamp", "format": "%Y%m%d%H%M%S"}),
        ("day", [20240531, 20240601], {"type": "timestamp", "format": "%Y%m%d", "parts": ["weekday"]}),
        ("hour", [24053100, 24053123], {"type": "timestamp", "format": "%y%m%d%H"}),
        ("hour", list(range(24)), {"type": "categorical", "role": "context"}),
        ("f", [1717171717 + n for n in range(50)], {"type": "categorical"}),
        ("timestamp", list(range(200)), None),
        ("constant", ["x"], None),
        ("sometimes", ["x", ""], {"type": "categorical"}),
        ("nothing", [""], None),
        ("is_like", [0, 1], None),
        ("sample_weight", [0.5, 1.0], None),
        ("with space", ["a", "b"], None),
        ("User_ID", ["a", "b"], None),
        ("request_no", list(range(ROWS)), None),
        ("site_category", ["a", "b"], {"type": "categorical", "role": "context"}),
        ("brand", ["a", "b"], {"type": "categorical", "role": "candidate"}),
        ("device_model", ["a", "b"], {"type": "categorical", "role": "context"}),
    ],
)
def test_a_column_becomes(
    guess: Callable[..., Any], name: str, values: list[object], expected: dict[str, Any] | None
) -> None:
    found = guess(name, values)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert {key: found.get(key) for key in expected} == expected
        assert found.get("vocabulary") == expected.get("vocabulary")


def test_what_has_one_value_for_each_item_is_about_the_item(
    write: Write, inferred: Infer, tmp_path: Path
) -> None:
    rng = random.Random(3)
    rows = [(n % 2, f"u{n % 9}", rng.randrange(30)) for n in range(ROWS)]
    table = [("click", "uid", "goods", "f1", "f2"), *((*row, f"x{row[2] % 4}", f"y{row[1]}") for row in rows)]
    spec = inferred(write(tmp_path / "a.csv", table))
    assert spec.group == "uid"
    assert spec.with_role("candidate") == ("goods", "f1")


def test_a_history_with_any_name_shares_the_ids_of_the_items(
    write: Write, inferred: Infer, tmp_path: Path
) -> None:
    rng = random.Random(4)
    header = ("click", "item_id", "city", "before", "cate_history")
    rows = []
    for n in range(ROWS):
        items = [rng.randrange(60) for _ in range(rng.randrange(2, 9))]
        cells = ("^".join(map(str, items)), "^".join(str(item % 7) for item in items))
        rows.append((n % 2, rng.randrange(60), rng.randrange(60), *cells))
    spec = inferred(write(tmp_path / "a.csv", [header, *rows]))
    assert spec.owner("before") == "item_id"
    assert spec.owner("cate_history") == "cate_history", "its ids are numbers that items have too"


def test_rows_with_times_are_cut_by_time(write: Write, inferred: Infer, tmp_path: Path) -> None:
    rows = [(n % 2, f"u{n % 40}", n % 7, 1717171717 + 60 * n) for n in range(ROWS)]
    spec = inferred(write(tmp_path / "a.csv", [("click", "user_id", "item_id", "ts"), *rows]))
    assert spec.splits == RowSplits(files="a.csv", by="time", column="ts", eval=0.1, test=0.1)
    few = [(*row[:3], 1717171717 + row[1].count("1")) for row in rows]
    spec = inferred(write(tmp_path / "b.csv", [("click", "user_id", "item_id", "ts"), *few]))
    assert spec.splits == RowSplits(files="b.csv", by="hash", column="user_id", eval=0.1, test=0.1)


def test_files_are_named_for_their_split(write: Write, inferred: Infer, tmp_path: Path) -> None:
    rows = [("label", "user_id", "f"), *((n % 2, f"u{n % 50}", n % 5) for n in range(100))]
    names = ("train/part-1.csv", "train/part-2.csv", "test/part-1.csv", "clicks_val.csv", "a[1].csv", "b.csv")
    files = {name: write(tmp_path / name, rows) for name in names}
    held_out = HoldOut(by="hash", column="user_id", fraction=0.1)
    train = ["train/part-1.csv", "train/part-2.csv"]
    spec = inferred(*(files[name] for name in names[:3]))
    assert spec.splits == FileSplits(train=train, eval=held_out, test="test/part-1.csv")
    spec = inferred(*(files[name] for name in names[:4]))
    assert spec.splits == FileSplits(train=train, eval="clicks_val.csv", test="test/part-1.csv")
    spec = inferred(files["train/part-1.csv"], files["clicks_val.csv"])
    assert spec.splits == FileSplits(train=train[0], eval=held_out, test="clicks_val.csv")
    spec = inferred(tmp_path / "train/*.csv", files["test/part-1.csv"])
    assert spec.splits == FileSplits(train="train/*.csv", eval=held_out, test="test/part-1.csv")
    spec = inferred(files["a[1].csv"], files["b.csv"])
    assert isinstance(spec.splits, RowSplits)
    assert spec.splits.files == ["a[[]1].csv", "b.csv"], "brackets would be a pattern"


def test_rare_values_share_a_row(write: Write, inferred: Infer, tmp_path: Path) -> None:
    rows = [(n % 2, n % 9, n if n < 900 else n % 300 + 10_000) for n in range(1800)]
    spec = inferred(write(tmp_path / "a.csv", [("label", "f", "code"), *rows]))
    assert spec.vocabulary("code").min_count == 2
    assert spec.vocabulary("f").min_count == 1


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_a_delimiter_is_found(write: Write, inferred: Infer, tmp_path: Path, delimiter: str) -> None:
    rows = [("label", "name", "f"), *((n % 2, '"a,b;c|d\t"', "x y"[n % 3]) for n in range(50))]
    spec = inferred(write(tmp_path / "a.csv", rows, delimiter), label="label")
    assert spec.csv.delimiter == delimiter
    assert spec.csv.quote == '"'


def test_quotes_that_are_letters_are_found(write: Write, inferred: Infer, tmp_path: Path) -> None:
    rows = [
        ("label", "screen", "f"),
        *((n % 2, f'"{n % 9} inch' if n % 3 else "none", n % 4) for n in range(60)),
    ]
    spec = inferred(write(tmp_path / "a.csv", rows))
    assert spec.csv.quote is None
    assert list(spec.features) == ["screen", "f"]


def test_columns_replace_a_header(write: Write, inferred: Infer, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", [("the label", "user id", "x"), *((n % 2, n % 7, n % 3) for n in range(50))]
    )
    spec = inferred(path, columns="label,user_id,f")
    assert (spec.csv.header, spec.csv.columns, list(spec.features)) == (
        True,
        ["label", "user_id", "f"],
        ["user_id", "f"],
    )


def test_a_large_file_is_sampled_from_end_to_end(write: Write, inferred: Infer, tmp_path: Path) -> None:
    """Half of the rows have another kind of value; the beginning alone would make the column a number."""
    rows = [(n % 2, f"u{n % 999}", "1.5" if n < 50_000 else "x", "y" * 60) for n in range(100_000)]
    for name in ("a.csv", "a.csv.gz"):
        spec = inferred(write(tmp_path / name, [("label", "user_id", "f", "g"), *rows]))
        assert spec.features["f"].type == "categorical"
        text = (tmp_path / "data.yaml").read_text()
        about = re.search(r"of about ([0-9,]+) rows", text)
        assert about and 80_000 < int(about[1].replace(",", "")) < 120_000
        assert "g is left out: the same in every row" in text
