"""Parses a whole column at once and still knows which of its cells are at fault."""

from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

Parsed = TypeVar("Parsed")


def parse_column(
    column: pa.Array, parse: Callable[[pa.Array], Parsed], limit: int = 1
) -> tuple[Parsed | None, list[int]]:
    """Parses the cells of a column.

    Args:
        column: [N] cells.
        parse: turns any stretch of cells into values; raises pyarrow.ArrowInvalid if one of them cannot be.
        limit: how many bad cells to look for, 1 or more.
    Returns:
        what `parse` makes of all cells, and no position; or None and the positions of the first cells that it
        refuses, ascending. Columns without a bad cell are parsed once; each bad one costs a search by halves.
    """
    try:
        return parse(column), []
    except pa.ArrowInvalid:
        return None, _misfits(column, parse, limit)


def _misfits(column: pa.Array, parse: Callable[[pa.Array], Parsed], limit: int) -> list[int]:
    """The first bad cells of a column that is known to have one."""
    if len(column) == 1:
        return [0]
    half = len(column) // 2
    left, right = column[:half], column[half:]
    found = [] if _fits(left, parse) else _misfits(left, parse, limit)
    if not found or (len(found) < limit and not _fits(right, parse)):
        found += [half + position for position in _misfits(right, parse, limit - len(found))]
    return found


def _fits(column: pa.Array, parse: Callable[[pa.Array], Parsed]) -> bool:
    try:
        parse(column)
    except pa.ArrowInvalid:
        return False
    return True
