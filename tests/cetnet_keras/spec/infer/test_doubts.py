"""What comments say of columns that are numbers or times but for some cells. The guess itself stays what it is."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cetnet_keras.spec import DataSpec, RowSplits

Infer = Callable[..., DataSpec]
Write = Callable[..., Path]
Comments = Callable[..., tuple[DataSpec, str]]
ROWS = 400
PRICES = [f"{n / 7:.2f}" for n in range(1, ROWS + 1)]
COUNTS = [str(n % 37) for n in range(ROWS)]
MOMENTS = [datetime(2023, 3, 11, 10) + timedelta(minutes=7 * n) for n in range(ROWS)]
ISO = [moment.isoformat() for moment in MOMENTS]
EPOCHS = [str(1_700_000_000 + 40 * n) for n in range(ROWS)]


@pytest.fixture
def comments(write: Write, inferred: Infer, tmp_path: Path) -> Comments:
    """(name, cells, delimiter) -> the spec of rows with that column, and all its comments as one line."""

    def comments(name: str, cells: list[str], delimiter: str = ",") -> tuple[DataSpec, str]:
        rng = random.Random(7)
        columns = {
            "user": [f"u{n // 8}" for n in range(ROWS)],
            "item": [f"i{rng.randrange(40)}" for _ in range(ROWS)],
            "click": [str(n % 2) for n in range(ROWS)],
        } | {name: cells}
        spec = inferred(
            write(tmp_path / "rows.csv", [list(columns), *zip(*columns.values(), strict=True)], delimiter)
        )
        lines = map(str.strip, (tmp_path / "data.yaml").read_text().splitlines())
        return spec, " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))

    return comments


def with_some(cells: list[str], every: int, *odd: str) -> list[str]:
    """The cells, with the odd ones by turns in each place whose number can be divided by `every`."""
    return [odd[n // every % len(odd)] if n % every == 0 else cell for n, cell in enumerate(cells)]


AMOUNTS = "then {type: numeric}"
NEARLY = {
    "a number but for one word": (
        ("price", with_some(PRICES, ROWS, "N/A")),
        f'1 of 400 filled cells, such as "N/A", is no number: empty it, {AMOUNTS}',
    ),
    "a number but for many words": (
        ("price", with_some(PRICES, 4, "NA", "null", r"\N")),
        f'100 of 400 filled cells, such as "NA", are no number: empty them, {AMOUNTS}',
    ),
    "a number but for a text": (
        ("price", with_some(PRICES, 20, "cheap")),
        f'20 of 400 filled cells, such as "cheap", are no number: correct or empty them, {AMOUNTS}',
    ),
    "a number that is another in each row": (
        ("f", with_some(PRICES, ROWS, "None")),
        f"f is left out: another in each row of the sample, so nothing can be learnt from it. But 1 of 400 filled "
        f'cells, such as "None", is no number: empty it, {AMOUNTS}',
    ),
    "a quantity by its name": (
        ("count", with_some(COUNTS, 10, "nan")),
        f'40 of 400 filled cells, such as "nan", are no number: empty them, {AMOUNTS}',
    ),
    "whole numbers that may be ids": (
        ("f", with_some(COUNTS, 10, "nan")),
        f'40 of 400 filled cells, such as "nan", are no number: empty them, {AMOUNTS} if they are amounts',
    ),
    "an ISO time but for words": (
        ("ts", with_some(ISO, 4, "NULL")),
        '100 of 400 filled cells, such as "NULL", are no time as the others are: empty them, '
        'then {type: timestamp, format: "iso"}',
    ),
    "seconds but for a word": (
        ("ts", with_some(EPOCHS, ROWS, "soon")),
        '1 of 400 filled cells, such as "soon", is no time as the others are: correct or empty it, '
        'then {type: timestamp, format: "seconds"}',
    ),
    "times of another form": (
        ("ts", [moment.strftime("%d/%m/%Y %H:%M") for moment in MOMENTS]),
        'cells such as "11/03/2023 10:00" are not read as times: write all as 2024-05-31T23:59:59 or seconds since '
        "1970, then {type: timestamp}",
    ),
    "dates whose column has another name": (
        ("f", with_some([moment.strftime("%d.%m.%Y") for moment in MOMENTS], 50, "NA")),
        'cells such as "11.03.2023" are not read as times: write all as 2024-05-31T23:59:59, then {type: timestamp}',
    ),
    "names of months": (
        ("created_at", [moment.strftime("%b %d %Y %H:%M") for moment in MOMENTS]),
        'cells such as "Mar 11 2023 10:00" are not read as times: ',
    ),
    "times of two forms": (
        ("ts", [iso if n % 3 else epoch for n, (iso, epoch) in enumerate(zip(ISO, EPOCHS, strict=True))]),
        f'cells such as "{ISO[1]}" and "{EPOCHS[0]}" are no times of one format: write all as ',
    ),
    "ids, a fifth of which are a word for nothing": (
        ("campaign", with_some([f"c{n % 9}" for n in range(ROWS)], 5, "NULL")),
        '10 values. Candidate: named as what is shown (campaign). But "NULL", 20% of the rows, counts as a value '
        "like any other: empty such cells if they say that there is none",
    ),
    "whole numbers that are ids by their name": (
        ("city_id", with_some(COUNTS, 10, "None", r"\N")),
        r'But "None", 5%, "\N", 5% of the rows, counts as a value like any other',
    ),
}


@pytest.mark.parametrize("case", NEARLY)
def test_cells_that_are_in_the_way_are_said_and_the_guess_stays(comments: Comments, case: str) -> None:
    (name, cells), expected = NEARLY[case]
    spec, text = comments(name, cells)
    assert expected in text and text.count(". But ") == 1, text
    feature = spec.features.get(name)
    assert feature is None or feature.type in ("categorical", "bag")


def test_decimals_with_a_comma_are_said(comments: Comments) -> None:
    cells = with_some([price.replace(".", ",") for price in PRICES], 10, "NA")
    _, text = comments("price", cells, ";")
    assert (
        'cells such as "0,29" are numbers if the comma is for decimals: write a point, then {type: numeric}; 40 of '
        '400 filled cells, such as "NA", are no number: empty them' in text
    )


def test_a_word_for_nothing_is_no_user(comments: Comments) -> None:
    users = with_some([f"u{n // 8}" for n in range(ROWS)], 5, "NULL")
    spec, text = comments("user", users)
    assert spec.group == "user"
    assert (
        'count for gAUC; "NULL", 20% of the rows, is ranked as one user: empty such cells, then it is none'
        in text
    )
    assert 'But "NULL", 20% of the rows, counts as a value like any other' in text


def test_a_split_that_mixes_times_that_were_not_read_says_so(comments: Comments) -> None:
    spec, text = comments("ts", [moment.strftime("%d/%m/%Y %H:%M") for moment in MOMENTS])
    assert isinstance(spec.splits, RowSplits) and spec.splits.by == "hash"
    assert "It mixes the times: {by: time, column: ts} would not, once each row has one that is read" in text
    _, text = comments("ts", ISO)
    assert "It mixes the times" not in text


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("price", PRICES),
        ("price", with_some(PRICES, 4, "")),
        ("f", [f"{n:03d}" for n in range(ROWS)]),
        ("f", [("a", "b", "7")[n % 3] for n in range(ROWS)]),
        ("f", with_some(PRICES, 5, "abc")),
        ("city_id", COUNTS),
        ("os_version", [("10.3.1", "9.2.11", "2019.4")[n % 3] for n in range(ROWS)]),
        ("city", with_some([f"c{n % 9}" for n in range(ROWS)], 200, "NA")),
        ("hour", [str(n % 24) for n in range(ROWS)]),
        ("day", [("Monday", "Tuesday", "May")[n % 3] for n in range(ROWS)]),
        ("ts", ISO),
        ("ts", EPOCHS),
        ("item_history", [f"i{n % 40}^i{n % 7}" for n in range(ROWS)]),
    ],
)
def test_nothing_is_said_of_columns_that_are_what_they_seem(
    comments: Comments, name: str, cells: list[str]
) -> None:
    _, text = comments(name, cells)
    assert "But " not in text and "mixes the times" not in text
