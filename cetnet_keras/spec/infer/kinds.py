"""What each column of the sample is: a time, a list, a number, an id; or nothing that a model should see."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cetnet_keras.spec.columns import FEATURE_NAME, OUTPUTS, TAKEN
from cetnet_keras.spec.document import shown
from cetnet_keras.spec.infer.label import Label
from cetnet_keras.spec.infer.lists import Tokens, find_tokens, is_mask
from cetnet_keras.spec.infer.names import ROW_IDS, WEIGHTS, one_of, words
from cetnet_keras.spec.infer.numbers import Number, find_numbers
from cetnet_keras.spec.infer.table import Column, Table
from cetnet_keras.spec.infer.times import Time, find_time
from cetnet_keras.spec.infer.vectors import Vector, find_vector, is_of_numbers

_ROWS_OF_AN_ID = 100  # in fewer rows anything may be another in each


class LeftOut(NamedTuple):
    """A column that is no feature, and why."""

    reason: str
    is_row_id: bool = False
    has_only_ids: bool = False  # another in each row


class Single(NamedTuple):
    """A column of one id or class a row."""

    column: Column


Kind = LeftOut | Single | Number | Time | Tokens | Vector


def find_kinds(table: Table, label: Label, group: str | None) -> dict[str, Kind]:
    """What each column is but the label, in the order of the file."""
    columns = [column for column in table.columns if column.name != label.name]
    kinds: dict[str, Kind] = {}
    for column in columns:
        reason = _why_not(column, label, list(kinds))
        kinds[column.name] = LeftOut(reason) if reason else _several_or_time(column)
    numbers = find_numbers([kind.column for kind in kinds.values() if isinstance(kind, Single)])
    for column in columns:
        if column.name in numbers:
            kinds[column.name] = numbers[column.name]
        elif isinstance(kinds[column.name], Single) and _is_row_id(column, table) and column.name != group:
            kinds[column.name] = _row_id(column)
    return kinds


def _why_not(column: Column, label: Label, before: Sequence[str]) -> str | None:
    """Why a column cannot be a feature, by its name and by what it lacks."""
    name = column.name
    rename = "rename it in the file, or name all columns by --columns"
    if column.twin:
        return f"another column has the name {shown(name)} too; {rename}"
    if name in label.others:
        return "0 and 1 as well, by its name another label: it is known only after the row was shown"
    if one_of(name, WEIGHTS):
        return f"by its name how much a row counts; if so, add `weight: {name}` as a line of its own"
    if name in TAKEN or not re.fullmatch(FEATURE_NAME, name):
        expected = "letters, digits and _ after a letter"
        return f"the name cannot be an input of a served model, expected {expected}; {rename}"
    twin = next((other for other in before if other.lower() == name.lower()), None)
    if twin is not None:
        return f"the name differs from {twin} in case alone; {rename}"
    return _why_empty(column)


def _why_empty(column: Column) -> str | None:
    if column.declared == "other":
        return "values of several parts, or bytes; write text, a number or a list"
    if column.lists is None:
        if not column.counts:
            return "empty in every row of the sample"
        if column.distinct == 1 and not column.empty:
            time = find_time(column)
            cure = f"; else {{type: timestamp, format: {shown(time.format)}}}" if time and time.format else ""
            return f"the same in every row of the sample, {shown(next(iter(column.counts)))}{cure}"
        if all(re.fullmatch(r"[\[({].*[\])}]", cell, re.S) for cell in column.counts):
            return "lists or objects in brackets; write tokens joined by ^, then it is a sequence or bag"
        return None
    if len({tuple(row) for row in column.lists}) == 1:
        return "the same list in every row of the sample"
    return "0 and 1 that say where other lists are filled, as `padding` does" if is_mask(column) else None


def _several_or_time(column: Column) -> Kind:
    time = find_time(column)
    if time is not None:
        return time if time.format else LeftOut(f"{time.reason}: it orders rows, but has no hour or weekday")
    if is_of_numbers(column):
        cure = "write equally many in every row, then they are a vector"
        return find_vector(column) or LeftOut(f"lists of decimals, not all of one length; {cure}")
    return find_tokens(column) or Single(column)


def _is_row_id(column: Column, table: Table) -> bool:
    return column.distinct == table.rows >= _ROWS_OF_AN_ID


def _row_id(column: Column) -> LeftOut:
    reason = "another in each row of the sample, so nothing can be learnt from it"
    named = one_of(column.name, ROW_IDS) or words(column.name)[-1] in ("id", "uuid", "key")
    if named and column.name not in OUTPUTS and not column.name.startswith("ctr_"):
        return LeftOut(f"{reason}; `id` carries it to the predictions", is_row_id=True, has_only_ids=True)
    return LeftOut(reason, has_only_ids=True)


def left_out(kinds: dict[str, Kind]) -> dict[str, LeftOut]:
    """The columns that are no features."""
    return {name: kind for name, kind in kinds.items() if isinstance(kind, LeftOut)}


def taken_for_ids(kinds: dict[str, Kind], table: Table) -> list[Column]:
    """The columns in which no number and no time was seen."""
    return [
        table[name]
        for name, kind in kinds.items()
        if isinstance(kind, Single | Tokens) or (isinstance(kind, LeftOut) and kind.has_only_ids)
    ]


def times_of(kinds: dict[str, Kind], table: Table) -> list[Time]:
    """The time columns, those that name a moment first: the first may cut the rows."""
    found = [find_time(table[name]) for name, kind in kinds.items() if isinstance(kind, Time | LeftOut)]
    times = [time for time in found if time is not None and time.column.can_be_named]
    return sorted(times, key=lambda time: (time.format is None, -time.column.distinct))
