"""Columns that are numbers or times but for some cells. The guess stays what it is; the comment says what is in the way."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cetnet_keras.spec.document import printable, shown
from cetnet_keras.spec.infer.names import says_class, says_time
from cetnet_keras.spec.infer.numbers import MANY_WHOLE, find_numbers, fits, is_whole
from cetnet_keras.spec.infer.table import Column
from cetnet_keras.spec.infer.times import LAYOUTS, find_time

_NOTHING = frozenset(
    ("null", "none", "nil", "na", "n/a", "#n/a", "<na>", "nan", "nat", "\\n", "undefined", "-")
)
_MOST = 0.9  # of the cells that hold more than a word for nothing
_FREQUENT = 0.01  # of the rows: a word in fewer hardly counts, whatever it means
_LONGEST = 60  # characters of a date, with the names of day and month
_YEAR = "(19|20)[0-9]{2}"
_PART = "[0-9]{1,2}"
_DATE = re.compile(rf"({_YEAR}[-/.]{_PART}[-/.]{_PART}|{_PART}[-/.]{_PART}[-/.]{_YEAR})(?![0-9]).*")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_LIKE_A_TIME = re.compile(
    rf"[0-9]{{1,4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,4}}.*|[0-9]{{8,}}([.][0-9]+)?|.*\b({_MONTHS}).*[0-9].*",
    re.I,
)


@dataclass(frozen=True)
class Doubt:
    """What the comment of a column says besides its guess.

    Attributes:
        text: what is in the way, and how to mend it.
        is_time: whether the column is one of times, but for that.
    """

    text: str
    is_time: bool = False


def find_doubts(columns: Sequence[Column]) -> dict[str, Doubt]:
    """The doubts about columns, by name.

    Args:
        columns: those that were taken for ids or tokens.
    """
    found: dict[str, Doubt] = {}
    for column in columns:
        text = _nearly_a_time(column) or _unread_times(column)
        if text is not None:
            found[column.name] = Doubt(text, is_time=True)
    others = {column.name: column for column in columns if column.name not in found}
    mended = [
        one for column in others.values() if (one := _Mended.of(_with_points(column), fits)) is not None
    ]
    numbers = find_numbers([one.column for one in mended])
    for one in mended:
        name = one.column.name
        if (text := _nearly_a_number(others[name], one, name in numbers)) is not None:
            found[name] = Doubt(text)
    for column in columns:
        if column.name not in found and (words := frequent_words(column)):
            mend = "empty such cells if they say that there is none"
            found[column.name] = Doubt(f"{words} of the rows, counts as a value like any other: {mend}")
    return found


def frequent_words(column: Column) -> str | None:
    """Words for nothing that stand in many rows, with their share, such as `"NULL", 20%`; None where there is none."""
    words = {cell: count / len(column.cells) for cell, count in column.counts.items() if _is_nothing(cell)}
    frequent = sorted((-share, word) for word, share in words.items() if share >= _FREQUENT)
    return ", ".join(f"{_quoted(word)}, {-share:.0%}" for share, word in frequent) or None


def _is_nothing(cell: str) -> bool:
    return cell.strip().lower() in _NOTHING


def _quoted(cell: str) -> str:
    return f'"{printable(cell if len(cell) <= 40 else f"{cell[:37]}...")}"'


@dataclass(frozen=True)
class _Mended:
    """A column of which most cells fit: what it would be without the others.

    Attributes:
        column: with the cells that do not fit emptied.
        odd: those cells, with how often each of them is there.
        filled: rows with a value, these among them.
    """

    column: Column
    odd: Counter[str]
    filled: int

    @classmethod
    def of(cls, column: Column, holds: Callable[[str], bool]) -> "_Mended | None":
        """None where fewer than most cells fit, words for nothing aside, or the cells are lists."""
        if column.lists is not None:
            return None
        odd = Counter({cell: count for cell, count in column.counts.items() if not holds(cell)})
        words = sum(count for cell, count in odd.items() if _is_nothing(cell))
        saying = column.filled - words
        fitting = column.filled - odd.total()
        if fitting == 0 or fitting < _MOST * saying:
            return None
        mended = replace(column, cells=["" if cell in odd else cell for cell in column.cells])
        return cls(mended, odd, column.filled)

    def says(self, what: str) -> str:
        """Which cells are in the way, and what to do with them."""
        number, example = self.odd.total(), _quoted(self.odd.most_common(1)[0][0])
        verb, them = ("is", "it") if number == 1 else ("are", "them")
        mend = "empty" if all(map(_is_nothing, self.odd)) else "correct or empty"
        return (
            f"{number:,} of {self.filled:,} filled cells, such as {example}, {verb} no {what}: {mend} {them}"
        )


def _nearly_a_time(column: Column) -> str | None:
    for reads in LAYOUTS.values():
        mended = _Mended.of(column, reads)
        time = find_time(mended.column) if mended is not None else None
        if mended is not None and time is not None and time.format is not None:
            return f"{mended.says('time as the others are')}, then {{type: timestamp, format: {shown(time.format)}}}"
    return None


def _unread_times(column: Column) -> str | None:
    """Of a column whose cells look like dates, by its name or their years, but are written in no way that is read."""
    named = says_time(column.name)
    like_a_time = _LIKE_A_TIME if named else _DATE
    dates = _Mended.of(column, lambda cell: len(cell) <= _LONGEST and like_a_time.fullmatch(cell) is not None)
    if dates is None:
        return None
    iso = [cell for cell in dates.column.counts if LAYOUTS["iso"](cell)]
    others = [cell for cell in dates.column.counts if not LAYOUTS["iso"](cell)]
    if not others:
        return None
    unread = next((cell for cell in others if not any(reads(cell) for reads in LAYOUTS.values())), others[0])
    if iso:
        found = f"cells such as {_quoted(iso[0])} and {_quoted(unread)} are no times of one format"
    else:
        found = f"cells such as {_quoted(unread)} are not read as times"
    readable = "2024-05-31T23:59:59 or seconds since 1970" if named else "2024-05-31T23:59:59"
    return f"{found}: write all as {readable}, then {{type: timestamp}}"


def _with_points(column: Column) -> Column:
    """The column with a point in numbers that have a comma."""
    if column.lists is not None:
        return column
    pointed = {
        cell: point for cell in column.counts if "," in cell and fits(point := cell.replace(",", ".", 1))
    }
    return replace(column, cells=[pointed.get(cell, cell) for cell in column.cells]) if pointed else column


def _nearly_a_number(column: Column, mended: _Mended, is_number: bool) -> str | None:
    name, values = column.name, mended.column
    if not is_number and (not is_whole(values) or values.distinct < MANY_WHOLE or says_class(name)):
        return None
    what_then = "then {type: numeric}" if is_number else "then {type: numeric} if they are amounts"
    comma = next((cell for cell in column.counts if "," in cell and cell not in mended.odd), None)
    if comma is None:
        return f"{mended.says('number')}, {what_then}" if mended.odd else None
    text = (
        f"cells such as {_quoted(comma)} are numbers if the comma is for decimals: write a point, {what_then}"
    )
    return f"{text}; {mended.says('number')}" if mended.odd else text
