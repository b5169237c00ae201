"""Which columns are times, and how they are written."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import NamedTuple

from cetnet_keras.spec.infer.names import says_time
from cetnet_keras.spec.infer.table import Column

_ISO = re.compile(
    r"(1[7-9]|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[-+][0-9]{2}(:?[0-9]{2})?)?)?"
)
_EPOCHS = {"seconds": (9, 10), "milliseconds": (12, 13), "microseconds": (15, 16), "nanoseconds": (18, 19)}
_DIGITS = {
    "%Y%m%d%H%M%S": 14,
    "%Y%m%d%H%M": 12,
    "%Y%m%d%H": 10,
    "%Y%m%d": 8,
    "%y%m%d%H": 8,
}  # the first that fits: 20141021 is a day of 2014, 14102100 an hour of it
_MANY = 100  # values that whole numbers need to be a clock of some kind, and not an hour or a weekday


class Time(NamedTuple):
    """A time column. Without a format it is a number that orders the rows and names no hour or day."""

    column: Column
    format: str | None
    has_hour: bool
    reason: str


def find_time(column: Column) -> Time | None:
    """How the times of a column are written, None where they are none: its name and every cell have to agree."""
    if column.lists is not None or not column.counts:
        return None
    if column.declared == "time":
        return Time(column, "iso", _has_hour(column), "a date or time by the schema of the file")
    named = says_time(column.name)
    for layout, reads in LAYOUTS.items():
        if (named or layout == "iso") and _all(column, reads):
            return _time(column, layout)
    if named and column.distinct >= _MANY and _all(column, lambda cell: _is_whole(cell) and len(cell) < 19):
        return Time(column, None, False, "named as a time, whole numbers that are no date")
    return None


def _time(column: Column, layout: str) -> Time:
    example = next(iter(column.counts))
    if layout == "iso":
        return Time(column, layout, _has_hour(column), f"dates or times such as {example}")
    if layout in _DIGITS:
        return Time(column, layout, "%H" in layout, f"named as a time, with digits such as {example}")
    return Time(column, layout, True, f"named as a time, {layout} since 1970 such as {example}")


def cuts_rows(column: Column) -> bool:
    """Whether the times of a column can divide the rows: one in every row, and no single one in many of them."""
    return column.empty == 0 and column.distinct >= 20 and column.top[1] <= 0.1


def _all(column: Column, holds: Callable[[str], bool]) -> bool:
    return all(holds(cell) for cell in column.counts)


def _is_whole(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal()


def _has_hour(column: Column) -> bool:
    return any(len(cell) > 10 for cell in column.counts)


def _is_iso(cell: str) -> bool:
    if not _ISO.fullmatch(cell):
        return False
    try:
        datetime.strptime(cell[:10] + cell[11:16], "%Y-%m-%d%H:%M" if len(cell) > 10 else "%Y-%m-%d")
    except ValueError:
        return False
    return True


def _is_digits(cell: str, layout: str, length: int) -> bool:
    if (
        len(cell) != length
        or not _is_whole(cell)
        or (layout.startswith("%Y") and not "1970" <= cell[:4] <= "2099")
    ):
        return False
    try:
        datetime.strptime(cell, layout)
    except ValueError:
        return False
    return True


def _is_epoch(cell: str, lengths: tuple[int, ...]) -> bool:
    return len(cell) in lengths and _is_whole(cell) and cell[0] != "0"


LAYOUTS: dict[str, Callable[[str], bool]] = {
    "iso": _is_iso,
    **{layout: partial(_is_digits, layout=layout, length=length) for layout, length in _DIGITS.items()},
    **{unit: partial(_is_epoch, lengths=lengths) for unit, lengths in _EPOCHS.items()},
}
"""Whether a cell is a time of each format, the likeliest first."""
