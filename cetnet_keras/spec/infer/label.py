"""Which column is the label, and which others a user's reaction can be read from: they are never inputs."""

from collections.abc import Sequence
from typing import NamedTuple

from cetnet_keras.errors import InputError
from cetnet_keras.spec.document import shown
from cetnet_keras.spec.infer.names import LABELS, one_of, rank, says_outcome
from cetnet_keras.spec.infer.table import Column, Table, listed

_BINARY = {"0", "1", "0.0", "1.0"}


class Label(NamedTuple):
    """The label, why it is that, and the other columns that could have been it or happen after the row."""

    name: str
    reason: str
    others: Sequence[str]


def find_label(table: Table, wanted: str | None) -> Label:
    """The column that holds 1 for a click and 0 for none.

    Args:
        wanted: the user's choice.
    Raises:
        InputError: no column qualifies, or `wanted` does not.
    """
    binary = [column for column in table.columns if _is_binary(column)]
    named = sorted(
        (column for column in binary if rank(column.name, LABELS) is not None or says_outcome(column.name)),
        key=lambda column: _likelihood(column.name),
    )
    if wanted is not None:
        chosen = _wanted(table, wanted)
        reason = "as --label says"
    elif named:
        chosen, reason = named[0], "0 and 1, and the likeliest name"
    else:
        raise _not_found(table, binary)
    others = [column.name for column in named if column.name != chosen.name]
    if others:
        reason += f"; {', '.join(others)} could be it too (--label {others[0]})"
    if len(chosen.counts) == 1:
        reason += f"; the sample has no other value than {next(iter(chosen.counts))}"
    else:
        ones = sum(count for cell, count in chosen.counts.items() if float(_as_number(cell)) == 1)
        reason += f"; {ones / max(1, chosen.filled):.1%} are 1"
    return Label(chosen.name, reason, others)


def _likelihood(name: str) -> int:
    found = rank(name, LABELS)
    return len(LABELS) if found is None else found


def _is_binary(column: Column) -> bool:
    values = set(column.counts)
    allowed = {"true", "false"} if column.declared == "boolean" else _BINARY
    return bool(values) and values <= allowed and column.empty == 0 and column.can_be_named


def _as_number(cell: str) -> str:
    return {"true": "1", "false": "0"}.get(cell, cell)


def _wanted(table: Table, wanted: str) -> Column:
    if wanted not in table:
        names = listed([column.name for column in table.columns])
        raise InputError(
            f"{table.path}: found no column {shown(wanted)} for --label, expected one of {names}"
        )
    column = table[wanted]
    if not _is_binary(column):
        odd = next((cell for cell in column.counts if cell not in _BINARY), "an empty cell")
        what = "twice" if column.twin else f"with {shown(odd)} in it"
        cure = "write such a column, or name another by --label"
        raise InputError(f"{table.path}: found column {shown(wanted)} {what}, expected 0 and 1 alone; {cure}")
    return column


def _not_found(table: Table, binary: Sequence[Column]) -> InputError:
    close = [column for column in table.columns if one_of(column.name, LABELS)]
    found = "found no column with the name of a label, such as label, click or clk, that holds 0 and 1 alone"
    if close:
        values = (
            ", ".join(shown(cell) for cell, _ in close[0].counts.most_common(4)) or "lists or empty cells"
        )
        found = f"found {shown(close[0].name)} with the values {values}, expected 0 and 1 alone in a label"
    if not binary:
        return InputError(f"{table.path}: {found}; write a column with 1 for a click and 0 for none")
    names = listed([column.name for column in binary])
    return InputError(f"{table.path}: {found}; name it by --label, one of {names}")
