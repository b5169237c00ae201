"""Which columns hold several tokens a row, whether in order, and which of them belong together."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from cetnet_keras.spec.features import Role
from cetnet_keras.spec.infer.names import item_word, says_bag, says_history, says_mask, stem
from cetnet_keras.spec.infer.table import Column

_STRONG, _WEAK = "^|;", ", "  # the weak ones stand in plain text as well
_PADDINGS = ("0", "-1", "<pad>", "PAD", "[PAD]", "<PAD>")
_LOOKED_AT = 2_000  # rows whose tokens are compared pairwise
_LONGEST = 100_000  # characters of a cell that is a list and not a document


@dataclass(frozen=True)
class Tokens:
    """A column of several tokens a row.

    Attributes:
        column: the column.
        separator: between two tokens; None where the column holds lists.
        rows: the tokens of each row, padding and empty ones aside.
        padding: the token that stands for none, if there is one.
        ordered: a sequence, else a bag.
        reason: what it was guessed from.
    """

    column: Column
    separator: str | None
    rows: Sequence[Sequence[str]]
    padding: str | None
    ordered: bool
    reason: str

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each token occurs."""
        return Counter(token for row in self.rows for token in row)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """How many tokens each row has."""
        return tuple(map(len, self.rows))

    def share_in(self, values: Mapping[str, int]) -> float:
        """The share of the tokens that are among the values of another column."""
        total = self.counts.total()
        return sum(count for token, count in self.counts.items() if token in values) / total if total else 0.0


def find_tokens(column: Column) -> Tokens | None:
    """The column as lists of tokens; None where its cells hold one value each."""
    if column.lists is not None:
        return None if column.declared == "numbers" else _described(column, None, column.lists)
    if column.declared not in (None, "text"):
        return None
    separator = _separator(column)
    if separator is None:
        return None
    return _described(column, separator, [cell.split(separator) if cell else [] for cell in column.cells])


def _separator(column: Column) -> str | None:
    if any(len(cell) > _LONGEST or cell[:1] in "[{" for cell in column.counts):
        return None  # JSON, or a Python list that was printed
    for separator in _STRONG + _WEAK:
        lengths: Counter[int] = Counter()
        for cell, count in column.counts.items():
            lengths[cell.count(separator)] += count
        several = column.filled - lengths[0]
        enough = 0.5 if separator in _WEAK else 0.01
        if several == 0 or several < enough * column.filled or (len(lengths) == 1 and max(lengths) < 3):
            continue  # one length, and short: parts of a name or a date, not a list
        named = says_history(column.name) or says_bag(column.name)
        if separator in _STRONG or named or _repeats(column, separator):
            return separator
    return None


def _repeats(column: Column, separator: str) -> bool:
    """Whether the tokens are from a vocabulary: most of them are seen in several cells. Sentences have more words."""
    cells = list(column.counts)[:_LOOKED_AT]
    tokens = Counter(token for cell in cells for token in set(cell.split(separator)))
    return len(cells) > 1 and 2 * len(tokens) <= tokens.total()


def _described(column: Column, separator: str | None, lists: Sequence[Sequence[str]]) -> Tokens:
    padding = _padding(lists)
    rows = [[token for token in row if token and token != padding] for row in lists]
    ordered, reason = _order(column, rows)
    return Tokens(column, separator, rows, padding, ordered, reason)


def _padding(lists: Sequence[Sequence[str]]) -> str | None:
    """A token that fills rows up to one length: at one end of all rows alone, never between two other tokens."""
    if len({len(row) for row in lists if row}) != 1:
        return None
    for padding in _PADDINGS:
        padded = [row for row in lists if padding in row]
        ends = all(
            row.index(padding) + row.count(padding) == len(row)
            or not any(t != padding for t in row[: row.count(padding)])
            for row in padded
        )
        if padded and ends:
            return padding
    return None


def _order(column: Column, rows: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Whether the tokens are in order of time, and why."""
    several = [row for row in rows if len(row) > 1][:_LOOKED_AT]
    longest = max(map(len, rows), default=0)
    if says_history(column.name):
        return True, f"up to {longest} a row; in order, for the name says earlier behaviour"
    if says_bag(column.name):
        return False, f"up to {longest} a row; without order, for the name says a set"
    if any(len(set(row)) < len(row) for row in several):
        return True, f"up to {longest} a row, some of them twice, so no set but in order"
    if longest <= 10 or item_word(column.name):
        return False, f"up to {longest} a row, none of them twice, so without order"
    if several and _one_order(several):
        return False, f"up to {longest} a row, always sorted alike, so without order"
    return True, f"up to {longest} a row, not sorted, so in order of time"


def _one_order(rows: Sequence[Sequence[str]]) -> bool:
    """Whether any two tokens that meet in several rows stand in the same order, as in a sorted set."""
    pairs: Counter[tuple[str, str]] = Counter(pair for row in rows for pair in pairwise(row[:20]))
    both = sum(min(count, pairs[second, first]) for (first, second), count in pairs.items())
    return both == 0 and any(count > 1 for count in pairs.values())


def is_mask(column: Column) -> bool:
    """Whether a column of lists says, by 0 and 1, which cells of others are filled."""
    values = {token for row in column.lists or () for token in row}
    return says_mask(column.name) and values <= {"0", "1", "0.0", "1.0"}


def owners(tokens: Sequence[Tokens], singles: Sequence[Column]) -> dict[str, tuple[str, str]]:
    """The column of single values whose vocabulary a column of tokens shares, with the reason.

    Args:
        tokens: the sequences and bags.
        singles: the categorical columns but that of the group, whose values are no tokens.
    """
    found = {several.column.name: _owner(several, singles) for several in tokens}
    return {name: owner for name, owner in found.items() if owner is not None}


def _owner(several: Tokens, singles: Sequence[Column]) -> tuple[str, str] | None:
    """By name, if any token agrees; by values alone where they agree well and the name says nothing else."""
    about = stem(several.column.name)
    alike = [single for single in singles if about and stem(single.name) == about]
    if alike:
        best = max(alike, key=lambda single: several.share_in(single.counts))
        share = several.share_in(best.counts)
        return (best.name, f"named alike, it has {share:.0%} of the tokens") if share else None
    if not several.ordered or item_word(several.column.name):
        return None
    likely = [single for single in singles if item_word(single.name) and single.distinct >= 20]
    likely = [single for single in likely if several.share_in(single.counts) >= 0.5]
    # ids that are counted from 1 agree with any others a little
    likely = [single for single in likely if _jaccard(several, single) >= 0.3]
    if not likely:
        return None
    best = max(likely, key=lambda single: _jaccard(several, single))
    return best.name, f"it has {several.share_in(best.counts):.0%} of the tokens"


def _jaccard(several: Tokens, single: Column) -> float:
    both = len(several.counts.keys() & single.counts.keys())
    return both / max(1, len(several.counts.keys() | single.counts.keys()))


def alignments(sequences: Sequence[Tokens], roles: Mapping[str, Role]) -> dict[str, str]:
    """The name under which sequences are one behaviour: those that have equally many tokens in every row."""
    alike: dict[object, list[Tokens]] = defaultdict(list)
    for one in sequences:
        if max(one.lengths, default=0) > 1:
            cells = max(map(len, one.column.lists or ()), default=0)
            alike[one.lengths, one.padding, cells, roles[one.column.name]].append(one)
    found: dict[str, str] = {}
    for several in alike.values():
        if len(several) > 1:
            name = _shared_word([one.column.name for one in several], taken=set(found.values()))
            found |= {one.column.name: name for one in several}
    return found


def _shared_word(names: Sequence[str], taken: set[str]) -> str:
    """The word that all names have, such as history; else the first name."""
    first, *others = [name.split("_") for name in names]
    shared = [word for word in first if word and all(word in other for other in others)]
    return next((word for word in reversed(shared) if word not in taken), names[0])
