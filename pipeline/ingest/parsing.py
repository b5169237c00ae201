"""Parses a whole column at once and still knows which cell was at fault."""

from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

Parsed = TypeVar("Parsed")


def parse_column(text: pa.Array, parse: Callable[[pa.Array], Parsed]) -> tuple[Parsed | None, int | None]:
    """Parses the cells of a column.

    Args:
        text: [N] string.
        parse: turns any stretch of cells into values; raises pyarrow.ArrowInvalid if one of them cannot be.
    Returns:
        what `parse` makes of all cells, and None; or None and the position of the first cell that it refuses.
    """
    try:
        return parse(text), None
    except pa.ArrowInvalid:
        low, high = 0, len(text)  # text[:low] parses, text[low:high] holds the first cell that does not
    while high - low > 1:
        middle = (low + high) // 2
        try:
            parse(text[low:middle])
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return None, low
