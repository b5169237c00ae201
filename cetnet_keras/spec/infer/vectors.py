"""Columns of dense vectors: equally many numbers in every row."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cetnet_keras.spec.infer.table import Column

_FRACTION = re.compile(r"-?[0-9]*\.[0-9]+([eE][-+]?[0-9]{1,2})?")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,2})?|-?\.[0-9]+")
_SEPARATORS = " ,|;^"


class Vector(NamedTuple):
    """A vector column: how many numbers, what stands between two of them (None: the column holds lists), and why."""

    dimension: int
    separator: str | None
    reason: str


def is_of_numbers(column: Column) -> bool:
    """Whether every cell holds several numbers, most of them decimals."""
    if column.lists is None:
        return _separator(column) is not None
    return column.declared == "numbers" or _are_decimals([number for row in column.lists for number in row])


def find_vector(column: Column) -> Vector | None:
    """The vector that a column of numbers holds; None where rows have different lengths."""
    separator = _separator(column)
    rows = column.lists if separator is None else [cell.split(separator) for cell in column.cells]
    lengths = {len(row) for row in rows or ()}
    if len(lengths) != 1 or lengths == {0}:
        return None
    dimension = lengths.pop()
    return Vector(dimension, separator, f"{dimension} numbers in every row")


def _separator(column: Column) -> str | None:
    if column.lists is not None or column.declared not in (None, "text"):
        return None
    for separator in _SEPARATORS:
        cells = [cell.split(separator) for cell in column.counts if separator in cell]
        if not cells or len(cells) < column.distinct:
            continue
        if _are_decimals([number for cell in cells for number in cell]):
            return separator
    return None


def _are_decimals(numbers: Sequence[str]) -> bool:
    """Whether all are numbers and more than half of them have a fraction."""
    fractions = sum(1 for number in numbers if _FRACTION.fullmatch(number))
    return 2 * fractions > len(numbers) and all(map(_NUMBER.fullmatch, numbers))
