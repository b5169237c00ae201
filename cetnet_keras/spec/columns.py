"""Which columns the keys of a data spec name, and every way in which they can contradict each other."""

import keyword
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cetnet_keras.spec.base import LocatedError
from cetnet_keras.spec.features import (
    BagFeature,
    CategoricalFeature,
    IdFeature,
    PretrainedFeature,
    SequenceFeature,
    VectorFeature,
)
from cetnet_keras.spec.splits import FileSplits, HoldOut, RowSplits

if TYPE_CHECKING:
    from cetnet_keras.spec.data_spec import DataSpec

Loc = tuple[int | str, ...]

ROW_KEY = "cetnet_row"  # number of a row, given by ingestion: a served value and an offline one meet by it
FEATURE_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"  # any other character is lost or refused in a SavedModel signature
# tf.function takes the inputs of a signature as keyword arguments, which Python 3.11 and later do not let it name
# as the language's own words, such as `class`
TAKEN = (ROW_KEY, "self", *keyword.kwlist)
OUTPUTS = ("ctr", "member_ctr", "fusion_weight", "confidence")  # of a served model


def refuse_contradictions(spec: "DataSpec") -> None:
    """Raises LocatedError on the first contradiction between two keys of `spec`."""
    _check_names(spec)
    _check_label_and_group(spec)
    for name, feature in spec.features.items():
        if isinstance(feature, IdFeature):
            _check_vocabulary(spec, name, feature)
        if isinstance(feature, SequenceFeature) and feature.is_history:
            _check_history(spec, name, feature)
        if isinstance(feature, PretrainedFeature):
            _check_pretrained(spec, name, feature)
    _check_alignment(spec)
    _check_slices(spec)
    _check_columns(spec)


def column_uses(spec: "DataSpec") -> Iterator[tuple[Loc, str]]:
    """(where the spec names it, column) of every column; those that ingestion builds are among them."""
    yield ("label",), spec.label
    if spec.group is not None:
        yield ("group",), spec.group
    if spec.weight is not None:
        yield ("weight",), spec.weight
    for position, column in enumerate(spec.id):
        yield ("id", position), column
    for name, feature in spec.features.items():
        if isinstance(feature, PretrainedFeature):
            continue
        yield ("features", name), name
        if isinstance(feature, SequenceFeature):
            for key in ("of", "by", "time"):
                if getattr(feature, key) is not None:
                    yield ("features", name, key), getattr(feature, key)
            for column in feature.where:
                yield ("features", name, "where", column), column
    yield from _split_columns(spec)


def _split_columns(spec: "DataSpec") -> Iterator[tuple[Loc, str]]:
    splits = spec.splits
    if isinstance(splits, FileSplits) and isinstance(splits.eval, HoldOut):
        yield ("splits", "eval", "column"), splits.eval.column
    if isinstance(splits, RowSplits):
        yield ("splits", "column"), splits.column
        if splits.within is not None:
            yield ("splits", "within"), splits.within


def _check_names(spec: "DataSpec") -> None:
    seen: dict[str, str] = {}
    for name in spec.features:
        loc = ("features", name)
        if not re.fullmatch(FEATURE_NAME, name):
            message = "found a name that cannot be an input of a served model, expected letters, digits and _"
            raise LocatedError(loc, f"{message} after a letter; rename the column")
        if name in TAKEN:
            raise LocatedError(loc, "found a name that is taken, expected another; rename the column")
        if (
            name.lower() in seen
        ):  # TensorFlow ignores the case of the inputs of a SavedModel, and refuses the second
            twin = seen[name.lower()]
            raise LocatedError(
                loc, f"found a name that differs from {twin!r} in case alone; rename one of the columns"
            )
        seen[name.lower()] = name


def _check_label_and_group(spec: "DataSpec") -> None:
    if spec.label in spec.features:
        raise LocatedError(("features", spec.label), "found the label among the features; take it out")
    if spec.group == spec.label:
        raise LocatedError(
            ("group",), f"found {spec.group!r}, the label, expected whom a row is about; name that column"
        )
    feature = spec.features.get(spec.group or "")
    if feature is not None and not isinstance(feature, CategoricalFeature):
        message = f"found {spec.group!r}, a {feature.type} feature, expected one value a row to group by"
        raise LocatedError(
            ("group",), f"{message}; name a categorical feature or a column that is no feature"
        )

    if spec.weight is not None and spec.weight in (spec.label, spec.group, *spec.features):
        message = (
            f"found {spec.weight!r}, which is used already, expected a column that only says how much a row"
        )
        raise LocatedError(("weight",), f"{message} counts; name another")
    for position, column in enumerate(spec.id):
        _check_id(spec, position, column)


def _check_id(spec: "DataSpec", position: int, column: str) -> None:
    loc = ("id", position)
    if column in spec.id[:position]:
        raise LocatedError(loc, f"found {column!r} again; name it once")
    if column in (spec.label, spec.weight, *OUTPUTS) or column.startswith("ctr_"):
        is_taken = "which is the label, the weight or an output of a served model"
        raise LocatedError(loc, f"found {column!r}, {is_taken}; leave it out")
    if not re.fullmatch(FEATURE_NAME, column):
        message = (
            f"found {column!r}, which cannot be an output of a served model, expected letters, digits and _"
        )
        raise LocatedError(loc, f"{message} after a letter; rename the column")
    if spec.raw_shapes.get(column, ()) != ():
        message = f"found {column!r}, a {spec.features[column].type} feature, expected one value a row"
        raise LocatedError(loc, f"{message}; name another column")


def _check_pretrained(spec: "DataSpec", name: str, feature: PretrainedFeature) -> None:
    loc, target = ("features", name), spec.features.get(feature.of)
    if not isinstance(target, IdFeature):
        known = [n for n, f in spec.features.items() if isinstance(f, IdFeature)]
        what = "which is no feature" if target is None else f"a {target.type} feature"
        message = (
            f"found {feature.of!r}, {what}, expected one that has ids: {', '.join(known) or 'there is none'}"
        )
        raise LocatedError((*loc, "of"), f"{message}; name one of them")
    owner = spec.owner(feature.of)
    if getattr(spec.features[owner], "hash_buckets", None) is not None:
        message = f"found {feature.of!r}, whose ids are hashes, expected a vocabulary or an identity"
        raise LocatedError((*loc, "of"), f"{message}; take hash_buckets out of {owner!r}")
    first = spec.owner(name)
    for key in ("dimension", "trainable"):
        found, expected = getattr(feature, key), getattr(spec.features[first], key)
        if found != expected:
            message = f"found {found}, expected {expected} as in {first!r}, which has the same file"
            raise LocatedError((*loc, key), f"{message}; make them equal")


def _check_vocabulary(spec: "DataSpec", name: str, feature: IdFeature) -> None:
    owner = feature.vocabulary
    if not isinstance(owner, str):
        return
    loc, target = ("features", name, "vocabulary"), spec.features.get(owner)
    if target is None:
        known = [
            n
            for n, f in spec.features.items()
            if isinstance(f, IdFeature) and not isinstance(f.vocabulary, str)
        ]
        problem = (
            f"which is no feature; features with a vocabulary of their own: {', '.join(known) or 'none'}"
        )
    elif owner == name:
        problem = "the feature itself; remove the key to give it a vocabulary of its own"
    elif not isinstance(target, IdFeature):
        problem = (
            f"a {target.type} feature, expected one that has ids; name a categorical, sequence or bag feature"
        )
    elif isinstance(target.vocabulary, str):
        cure = "give one of the two its own" if target.vocabulary == name else f"name {target.vocabulary!r}"
        problem = f"which shares a vocabulary itself, expected one that has its own; {cure}"
    elif target.dtype != feature.dtype:
        found = f"found {feature.dtype} ids in the vocabulary of {owner!r}, expected {target.dtype}"
        raise LocatedError((*loc[:-1], "dtype"), f"{found}; write dtype: {target.dtype}")
    else:
        return
    raise LocatedError(loc, f"found {owner!r}, {problem}")


def _check_history(spec: "DataSpec", name: str, history: SequenceFeature) -> None:
    loc, columns = ("features", name), (history.of, history.by, history.time)
    if len(set(columns)) < 3:
        found = ", ".join(
            f"{key}: {column}" for key, column in zip(("of", "by", "time"), columns, strict=True)
        )
        raise LocatedError(
            (*loc, "time"), f"found {found}, expected three different columns; correct one of them"
        )
    collected = spec.features.get(history.of or "")
    if collected is None or name == history.of:
        return
    if not isinstance(collected, CategoricalFeature):
        message = f"found {history.of!r}, a {collected.type} feature, expected one token a row"
        raise LocatedError(
            (*loc, "of"), f"{message}; name a categorical feature or a column that is no feature"
        )
    if isinstance(history.vocabulary, str) and spec.owner(name) != spec.owner(str(history.of)):
        message = f"found {history.vocabulary!r}, but the tokens are those of {history.of!r}"
        raise LocatedError(
            (*loc, "vocabulary"), f"{message}; write vocabulary: {spec.owner(str(history.of))}"
        )


def _check_alignment(spec: "DataSpec") -> None:
    """Members pair the tokens of aligned sequences by position: what moves positions has to be equal."""
    behaviours: dict[str, list[str]] = {}
    for name, feature in spec.features.items():
        if isinstance(feature, SequenceFeature) and feature.align is not None:
            behaviours.setdefault(feature.align, []).append(name)
    for align, (first, *others) in behaviours.items():
        if not others:
            message = f"found {align!r} on this sequence alone, expected two or more sequences with one name"
            raise LocatedError(("features", first, "align"), f"{message}; correct it or remove the key")
        for other in others:
            for key in ("role", "max_length", "padding", "by", "time", "where"):
                found, expected = (getattr(spec.features[name], key) for name in (other, first))
                if found != expected:
                    message = f"found {_shown(found)}, expected {_shown(expected)} as in {first!r}"
                    message += f", which is aligned with it by {align!r}; make them equal"
                    raise LocatedError(("features", other, key), message)


def _check_slices(spec: "DataSpec") -> None:
    sliceable = [n for n, f in spec.features.items() if isinstance(f, CategoricalFeature | BagFeature)]
    written = spec.slices if "slices" in spec.model_fields_set else []
    for position, keys in enumerate(written):
        loc = ("slices", position)
        for key in keys:
            if key not in sliceable:
                known = ", ".join(sliceable) or "there is none"
                message = f"found {key!r}, expected a categorical or bag feature: {known}"
                raise LocatedError(loc, f"{message}; name one of them or remove the slice")
        if len(set(keys)) < len(keys) or sorted(keys) in [sorted(other) for other in written[:position]]:
            raise LocatedError(
                loc, f"found [{', '.join(keys)}], which repeats itself or a slice before it; remove it"
            )


def _check_columns(spec: "DataSpec") -> None:
    layout = spec.csv.layout
    columns = [column.name for column in layout]
    for position, column in enumerate(layout):
        loc: Loc = ("csv", "columns", position)
        if column.name in columns[:position]:
            raise LocatedError(loc, f"found {column.name!r} again; give each column its own name")
        if column.name in spec.histories:
            message = f"found {column.name!r}, which the spec builds from earlier rows; rename one of the two"
            raise LocatedError(loc, message)
    lists = {column.name for column in layout if column.cells > 1}
    for use, name in column_uses(spec):
        _check_use(spec, use, name, columns, lists)


def _check_use(spec: "DataSpec", loc: Loc, column: str, columns: list[str], lists: set[str]) -> None:
    if column == ROW_KEY:
        message = f"found {ROW_KEY!r}, which is taken, expected another name; rename the column"
        raise LocatedError(loc, message)
    if column == spec.label and loc[0] == "splits":
        message = f"found {column!r}, the label, expected a column that says nothing of it; name another"
        raise LocatedError(loc, message)
    if column in spec.histories:
        if loc != ("features", column):
            message = f"found {column!r}, which is built from earlier rows, expected a column of the files"
            raise LocatedError(loc, f"{message}; name another")
        return
    if columns and column not in columns:
        message = f"found {column!r}, which is none of csv.columns: {', '.join(columns)}"
        raise LocatedError(loc, f"{message}; correct the name or add the column there")
    if isinstance(spec.features.get(column), PretrainedFeature):
        message = f"found {column!r}, a pretrained feature, expected a column of the files"
        raise LocatedError(loc, f"{message}; name another")
    takes_lists = isinstance(spec.features.get(column), SequenceFeature | BagFeature | VectorFeature)
    if column in lists and not (takes_lists and loc == ("features", column)):
        message = f"found {column!r}, which is a list of cells in csv.columns, expected one cell a row"
        raise LocatedError(loc, f"{message}; make it a sequence, bag or vector feature, or name its cells")


def _shown(value: object) -> str:
    return "nothing" if value is None or value == {} else str(value)
