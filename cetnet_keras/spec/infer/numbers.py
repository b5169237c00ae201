"""Which columns are numbers. In doubt they are ids: a count read as an id costs little, an id read as a number all."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cetnet_keras.spec.infer.names import family, says_class, says_number
from cetnet_keras.spec.infer.table import Column

_NUMBER = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?|\.[0-9]+)")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.0+)?")  # longer ones are ids, or hashes
_FRACTION = re.compile(r".*\.0*[1-9][0-9]*.*")
_LARGEST = 3e38  # of a float32, nearly
MANY_WHOLE = 10
"""Values that whole numbers need before they may be amounts."""
_MANY = 50  # values that a count without a telling name needs


class Number(NamedTuple):
    """A numeric column, and why."""

    skewed: bool
    reason: str


def find_numbers(columns: Sequence[Column]) -> dict[str, Number]:
    """The columns that are numbers.

    Three kinds of evidence, each alone sufficient: decimals; whole numbers named as a quantity; whole numbers that are
    spread as counts are and can be missing or below zero. Of numbered columns (I1 to I13) that hold whole numbers all
    are counts if half are.

    Args:
        columns: those that are not known to be anything else.
    """
    found = {column.name: number for column in columns if (number := _number(column)) is not None}
    families: dict[str, list[Column]] = {}
    for column in columns:
        if (shared := family(column.name)) and is_whole(column):
            families.setdefault(shared, []).append(column)
    for shared, members in families.items():
        counts = [column for column in members if column.name in found]
        if len(members) > 2 and 2 * len(counts) >= len(members):
            for column in members:
                reason = f"whole numbers; counts, as {counts[0].name} and others of the name {shared} are"
                found.setdefault(column.name, Number(_is_skewed(column), reason))
    return found


def _number(column: Column) -> Number | None:
    if (
        column.lists is not None
        or not column.counts
        or column.declared in ("text", "boolean", "time", "other")
    ):
        return None
    if not all(map(fits, column.counts)) or says_class(column.name):
        return None
    if column.declared == "number":
        return Number(_is_skewed(column), "numbers by the schema of the file")
    fractions = [cell for cell in column.counts if _FRACTION.fullmatch(cell)]
    if sum(column.counts[cell] for cell in fractions) >= 0.05 * column.filled:
        return Number(_is_skewed(column), f"decimals such as {fractions[0]}")
    if not is_whole(column):
        return None
    if says_number(column.name) and column.distinct >= MANY_WHOLE:
        return Number(
            _is_skewed(column), f"{column.distinct:,} whole numbers, and a name that says a quantity"
        )
    return _count(column)


def fits(cell: str) -> bool:
    """Whether a cell is written as numbers are, and not as ids."""
    return len(cell) < 40 and _NUMBER.fullmatch(cell) is not None and abs(float(cell)) < _LARGEST


def is_whole(column: Column) -> bool:
    """Whether every cell is a whole number of at most nine digits, written as numbers are, or empty."""
    return column.lists is None and bool(column.counts) and all(map(_WHOLE.fullmatch, column.counts))


def _count(column: Column) -> Number | None:
    """A count by its values alone: mostly 0, 1 or 2 with a long tail, and some missing or below zero."""
    numbers = {int(float(cell)): count for cell, count in column.counts.items()}
    below = [number for number in numbers if number < 0]
    small = max(numbers, key=lambda number: numbers[number])
    can_be_none = column.empty >= 0.01 * len(column.cells) or len(below) > 1
    if len(numbers) < _MANY or 0 not in numbers or not -1 <= small <= 3 or not can_be_none:
        return None
    if not _is_skewed(column):
        return None
    return Number(
        True, f"{len(numbers):,} whole numbers from {min(numbers)} on, mostly small, some missing: counts"
    )


def _is_skewed(column: Column) -> bool:
    """Whether the largest value is far above the usual one: more than 20 times the median."""
    values = sorted((float(cell), count) for cell, count in column.counts.items())
    seen, median = 0, 0.0
    for value, count in values:
        seen += count
        if 2 * seen >= column.filled:
            median = value
            break
    return values[-1][0] > 20 * max(1.0, abs(median)) and values[0][0] > -values[-1][0]
