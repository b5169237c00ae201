"""Makes the features of a data spec of what the columns are."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from cetnet_keras.spec.document import shown
from cetnet_keras.spec.features import (
    BagFeature,
    CategoricalFeature,
    Feature,
    NumericFeature,
    Role,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
    Vocabulary,
)
from cetnet_keras.spec.infer.kinds import Kind, LeftOut, Single
from cetnet_keras.spec.infer.lists import Tokens, alignments, owners
from cetnet_keras.spec.infer.names import says_class
from cetnet_keras.spec.infer.numbers import MANY_WHOLE, Number, is_whole
from cetnet_keras.spec.infer.roles import find_roles
from cetnet_keras.spec.infer.table import Column, Table
from cetnet_keras.spec.infer.times import Time
from cetnet_keras.spec.infer.vectors import Vector

_MANY_VALUES = 1_000  # before rare ones are worth leaving out
_MANY_ROWS = 1_000_000  # a value seen once in a part of fewer may be frequent in the whole
_LONGEST = 100  # tokens that a sequence keeps unless the spec says otherwise

Built = tuple[Feature, str]
"""A feature, and why it is so."""


def build_features(kinds: dict[str, Kind], table: Table, group: str | None) -> dict[str, Built]:
    """The feature of each column that can be one.

    Args:
        kinds: what each column is but the label.
        group: the column of whom a ranking is for.
    """
    used = {name: kind for name, kind in kinds.items() if not isinstance(kind, LeftOut)}
    sequences = {name for name, kind in used.items() if isinstance(kind, Tokens) and kind.ordered}
    roles = find_roles([table[name] for name in used], table[group] if group else None, sequences)
    aligned = alignments(
        [kind for kind in used.values() if isinstance(kind, Tokens) and kind.ordered],
        {name: role for name, (role, _) in roles.items()},
    )
    vocabularies = _Vocabularies(used, table, group)
    built = {}
    for name, kind in used.items():
        role, why = roles[name]
        feature, reason = _feature(table[name], kind, role, vocabularies, aligned.get(name))
        built[name] = (feature, f"{reason}. {role.capitalize()}: {why}")
    return built


class _Vocabularies:
    """Which feature has a vocabulary of its own, with which limits, and who shares it."""

    def __init__(self, kinds: Mapping[str, Kind], table: Table, group: str | None) -> None:
        self._known_rare = table.whole or table.about >= _MANY_ROWS
        tokens = [kind for kind in kinds.values() if isinstance(kind, Tokens)]
        singles = [kind.column for kind in kinds.values() if isinstance(kind, Single)]
        self._owners = owners(tokens, [single for single in singles if single.name != group])
        self._tokens = {several.column.name: several for several in tokens}

    def of(self, name: str, counts: Counter[str]) -> tuple[dict[str, Any], str]:
        """The key `vocabulary` of a feature, if it needs one, and what to say of it."""
        if name in self._owners:
            owner, reason = self._owners[name]
            return {"vocabulary": owner}, f"; ids of {owner}: {reason}"
        limits: dict[str, Any] = {}
        reason = ""
        once = sum(1 for count in counts.values() if count == 1)
        if self._known_rare and len(counts) >= _MANY_VALUES and 2 * once >= len(counts):
            limits["min_count"] = 2
            reason = f"; {once:,} of them once, too rare to learn from"
        sharing = [self._tokens[other] for other, (owner, _) in self._owners.items() if owner == name]
        if any(several.share_in(counts) < 0.9 for several in sharing):
            limits["count"] = "all"
            reason += (
                f"; count: all, as {', '.join(s.column.name for s in sharing)} has ids that are not here"
            )
        return ({"vocabulary": Vocabulary(**limits)} if limits else {}), reason


def _feature(column: Column, kind: Kind, role: Role, vocabularies: _Vocabularies, align: str | None) -> Built:
    if isinstance(kind, Number):
        feature = NumericFeature(type="numeric", role=role, transform="log1p" if kind.skewed else "zscore")
        return feature, f"{kind.reason}; {{type: categorical}} if they are ids"
    if isinstance(kind, Time):
        return _timestamp(kind, role)
    if isinstance(kind, Vector):
        between = {} if kind.separator is None else {"separator": kind.separator}
        return VectorFeature(type="vector", role=role, dimension=kind.dimension, **between), kind.reason
    if isinstance(kind, Tokens):
        return _several(kind, role, vocabularies.of(column.name, kind.counts), align)
    vocabulary, why = vocabularies.of(column.name, column.counts)
    values = f"{column.distinct:,} values" + (f", {column.empty:,} cells empty" if column.empty else "")
    if is_whole(column) and column.distinct >= MANY_WHOLE and not says_class(column.name):
        why += "; whole numbers may be ids, {type: numeric} if they are amounts"
    return CategoricalFeature(type="categorical", role=role, **vocabulary), values + why


def _timestamp(time: Time, role: Role) -> Built:
    parts: list[Literal["hour", "weekday", "weekend"]] = ["hour", "weekday"] if time.has_hour else ["weekday"]
    feature = TimestampFeature(type="timestamp", role=role, format=time.format or "iso", parts=parts)
    return feature, f"{time.reason}; add utc_offset if the hours of the users are not those of the times"


def _several(tokens: Tokens, role: Role, shared: tuple[dict[str, Any], str], align: str | None) -> Built:
    column, (vocabulary, why) = tokens.column, shared
    given: dict[str, Any] = {"role": role, "separator": tokens.separator, **vocabulary}
    reason = f"{len(tokens.counts):,} different tokens, {tokens.reason}{why}"
    if tokens.padding is not None:
        given["padding"] = tokens.padding
        reason += f"; {shown(tokens.padding)} fills up rows"
    longest = max(map(len, column.lists or ()), default=0)
    if column.declared is None and 0 < longest < _LONGEST:
        given["max_length"] = longest
    if not tokens.ordered:
        return BagFeature(type="bag", **given), f"{reason}; {{type: sequence}} if the order is of time"
    if align is not None:
        given["align"] = align
        reason += "; aligned, for others are as long in every row"
    reason += "; the oldest has to be first, {type: bag} if the order says nothing"
    return SequenceFeature(type="sequence", **given), reason
