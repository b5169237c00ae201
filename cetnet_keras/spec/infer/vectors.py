"""Columns of dense vectors: equally many numbers in every row."""

import re
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
    """Whether every cell holds several numbers, decimals among them."""
    return column.declared == "numbers" or _separator(column) is not None


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
    if column.declared not in (None, "text"):
        return None
    for separator in _SEPARATORS:
        cells = [cell.split(separator) for cell in column.counts if separator in cell]
        if not cells or len(cells) < column.distinct:
            continue
        numbers = [number for cell in cells for number in cell]
        if all(map(_NUMBER.fullmatch, numbers)) and 2 * sum(
            map(bool, map(_FRACTION.fullmatch, numbers))
        ) > len(numbers):
            return separator
    return None
