"""Whom a ranking is for, and which columns say what is shown (candidate) and which who looks and when (context)."""

from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from typing import NamedTuple

from cetnet_keras.spec.features import Role
from cetnet_keras.spec.infer.doubts import frequent_words
from cetnet_keras.spec.infer.names import USERS, item_word, place_word, rank, says_history, user_word
from cetnet_keras.spec.infer.table import Column, Table

_ENOUGH = 50  # rows whose key stands in other rows too, to say that it determines something


class Group(NamedTuple):
    """The column that gAUC is computed within, None if there is none, and why."""

    name: str | None
    reason: str


def find_group(table: Table, label: str) -> Group:
    """A column that names the user, the session or the request, if its values divide the rows into rankings."""
    columns = [column for column in table.columns if column.can_be_named and column.name != label]
    named = [column for column in columns if rank(column.name, USERS) is not None]
    declined = []
    for column in sorted(named, key=lambda column: rank(column.name, USERS) or 0):
        value, share = column.top
        if share > 0.5:
            declined.append(f"{column.name} is {value or 'empty'} in {share:.0%} of the rows")
        elif table.whole and column.distinct == table.rows:
            declined.append(f"{column.name} is another in every row")
        else:
            mixed = _share_in_mixed_groups(column, table[label])
            where = "" if table.whole else " of the sample"
            reason = f"the name says who looks; {mixed:.0%} of the rows{where} count for gAUC"
            if words := frequent_words(column):
                reason += f"; {words} of the rows, is ranked as one {column.name}: empty such cells, then it is none"
            return Group(column.name, reason)
    reason = "; ".join(declined) or "no column has the name of a user or session"
    return Group(None, f"no group: {reason}. With one, gAUC says how well the rows of each are ranked")


def _share_in_mixed_groups(column: Column, label: Column) -> float:
    """Rows whose group has both labels: gAUC leaves the others out."""
    seen: dict[str, set[str]] = defaultdict(set)
    for key, value in zip(column.cells, label.cells, strict=True):
        seen[key].add(value)
    mixed = sum(column.counts[key] for key, values in seen.items() if key and len(values) > 1)
    return mixed / max(1, len(column.cells))


def find_roles(
    columns: Sequence[Column], group: Column | None, sequences: Container[str]
) -> dict[str, tuple[Role, str]]:
    """The role of each column, with the reason: its name first, then what determines its values.

    Args:
        sequences: the names of columns with several tokens a row in order.
    """
    found: dict[str, tuple[Role, str]] = {}
    for column in columns:
        word = item_word(column.name)
        if column.name in sequences and (says_history(column.name) or not word):
            found[column.name] = ("context", "earlier behaviour is known before the candidates")
        elif (group is not None and column.name == group.name) or user_word(column.name):
            found[column.name] = ("context", "named as who looks")
        elif place_word(column.name):
            found[column.name] = ("context", "named as where it is shown")
        elif word:
            found[column.name] = ("candidate", f"named as what is shown ({word})")
    shown = [c for c in columns if found.get(c.name, ("",))[0] == "candidate" and c.lists is None]
    item = max(shown, key=lambda column: column.distinct, default=None)
    for column in columns:
        if column.name not in found:
            found[column.name] = _role_by_rows(column, item, group)
    return found


def _role_by_rows(column: Column, item: Column | None, group: Column | None) -> tuple[Role, str]:
    by_user = group is not None and _determines(group, column)
    if item is not None and not by_user and _determines(item, column):
        return "candidate", f"one value for each {item.name}"
    if group is not None and by_user:
        return "context", f"one value for each {group.name}"
    return "context", "the default"


def _determines(key: Column, column: Column) -> bool:
    """Whether rows with one key have one value, though the rows have several."""
    if column.lists is not None or key.lists is not None or column.top[1] > 0.9 or key is column:
        return False
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for owner, cell in zip(key.cells, column.cells, strict=True):
        if key.counts[owner] > 1:
            values[owner][cell] += 1
    rows = sum(counts.total() for counts in values.values())
    agreeing = sum(max(counts.values()) for counts in values.values())
    return rows >= _ENOUGH and agreeing >= 0.995 * rows
