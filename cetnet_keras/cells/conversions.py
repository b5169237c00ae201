"""What becomes of each column, by what the spec says that it is: the values that its tf.Examples hold."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cetnet_keras.cells.scalars import (
    UnfitType,
    as_text,
    doubles,
    floats,
    is_list,
    labels,
    parts,
    since_1970,
    weights,
    wholes,
)
from cetnet_keras.cells.times import A_DATE, date_keys
from cetnet_keras.spec import (
    BagFeature,
    CategoricalFeature,
    DataSpec,
    NumericFeature,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
)
from cetnet_keras.spec.features import SINCE_1970
from cetnet_keras.spec.raw import MISSING

_UNITS = dict(zip(SINCE_1970, ("s", "ms", "us", "ns"), strict=True))


class Conversion(NamedTuple):
    """Turns the cells of a column into the values of its feature.

    `parse` raises pyarrow.ArrowInvalid where a cell does not fit, and UnfitType where none of the column's type would.
    """

    parse: Callable[[pa.Array], pa.Array]
    expected: str
    cure: str = "correct the cell or remove the row"


TEXT = Conversion(lambda column: as_text(column).cast(pa.binary()), "text, or a whole number that is exact")
WHOLE = Conversion(wholes, "a whole number such as 7, or an empty cell")
FLOAT = Conversion(floats, "a number up to 3.4e38 either way, or an empty cell")
_LABEL = Conversion(labels, "0 or 1")
_WEIGHT = Conversion(weights, "a number, 0 or more")


def conversions(spec: DataSpec, of_examples: bool = False) -> dict[str, Conversion]:
    """The conversion of each column that a tf.Example has, histories left out: they are built.

    Args:
        of_examples: the columns come from tf.Examples: where tokens are joined, a single value is the joined text.
    """
    read = {n: f for n, f in spec.features.items() if n in spec.raw_types and n not in spec.histories}
    found = {name: conversion_of(feature, of_examples) for name, feature in read.items()}
    found[spec.label] = _LABEL
    if spec.weight is not None:
        found[spec.weight] = _WEIGHT
    for column in (spec.group, *spec.id):
        if column is not None:
            found.setdefault(column, TEXT)
    return found


def conversion_of(feature: object, of_examples: bool = False) -> Conversion:
    """The conversion of a feature's column; see `conversions`."""
    if isinstance(feature, CategoricalFeature):
        return WHOLE if feature.dtype == "int64" else TEXT
    if isinstance(feature, NumericFeature):
        return FLOAT
    if isinstance(feature, TimestampFeature):
        return _of_timestamp(feature)
    if isinstance(feature, VectorFeature):
        return vector(feature.dimension, feature.separator)
    if isinstance(feature, SequenceFeature | BagFeature):
        return _of_tokens(feature, of_examples)
    raise TypeError(f"a feature of type {type(feature).__name__} is no column")


def vector(dimension: int, separator: str) -> Conversion:
    """The conversion of a column of `dimension` numbers a row, a list or a text that `separator` divides."""
    numbers = f"{dimension} finite numbers, separated by {separator!r} where they are one text"
    return Conversion(partial(_vectors, dimension, separator), f"{numbers}, or nothing")


def _of_timestamp(feature: TimestampFeature) -> Conversion:
    if feature.format in _UNITS:
        expected = f"a whole number of {feature.format} since 1970, or an empty cell"
        return Conversion(partial(since_1970, unit=_UNITS[feature.format]), expected)
    layout = None if feature.format == "iso" else feature.format
    return Conversion(partial(_dates, layout), f"{a_date(layout)}, or an empty cell")


def a_date(layout: str | None) -> str:
    """What to expect of a date, for an error; None stands for ISO."""
    return A_DATE if layout is None else f"a date of 1700 to 2199 in digits as {layout} describes them"


def _of_tokens(feature: SequenceFeature | BagFeature, of_examples: bool) -> Conversion:
    whole = feature.dtype == "int64"
    if feature.separator is None:
        return WHOLE_LIST if whole else TEXT_LIST
    parse = partial(_joined, feature.separator, whole, of_examples)
    if whole:
        return Conversion(parse, "whole numbers such as 7 between its separators, or an empty cell")
    expected = f"tokens without {feature.separator!r}, which separates them, or an empty cell"
    return Conversion(parse, expected, "choose another separator, or correct the cell")


def _dates(layout: str | None, column: pa.Array) -> pa.Array:
    if layout is not None and (pa.types.is_temporal(column.type)):
        raise UnfitType(str(column.type))  # it has no digits; `format: iso` takes it
    text = as_text(column)
    date_keys(text.filter(pc.not_equal(text, "")), layout)
    return text.cast(pa.binary())


def _joined(separator: str, whole: bool, of_examples: bool, column: pa.Array) -> pa.Array:
    """[N] binary: tokens as one text. A list is joined, text is joined already."""
    if is_list(column.type):
        lengths, values = parts(column)
        tokens = as_text(values)
        split = pc.match_substring(tokens, separator).to_numpy(zero_copy_only=False)
        if (split & (np.repeat(lengths, lengths) > of_examples)).any():
            raise pa.ArrowInvalid("a separator in a token")
        text = pc.binary_join(_lists(lengths, tokens), separator)
    else:
        text = as_text(column)
    if whole:
        wholes(pc.list_flatten(pc.split_pattern(text, separator)))
    return text.cast(pa.binary())


def _text_lists(column: pa.Array) -> pa.Array:
    """[N] lists of binary; a missing token is an empty one, so that it keeps its place."""
    lengths, values = _of_lists(column)
    return _lists(lengths, as_text(values).cast(pa.binary()))


def _whole_lists(column: pa.Array) -> pa.Array:
    """[N] lists of int64; a missing token is -1, so that it keeps its place."""
    lengths, values = _of_lists(column)
    return _lists(lengths, wholes(values).fill_null(MISSING["int64"]))


def _of_lists(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.int64), pa.nulls(0)
    if not is_list(column.type):
        raise UnfitType(str(column.type))
    return parts(column)


def _vectors(dimension: int, separator: str, column: pa.Array) -> pa.Array:
    """[N] lists of `dimension` float32, null where there is no number at all."""
    if not is_list(column.type):
        column = pc.split_pattern(as_text(column), separator)
    lengths, values = parts(column)
    number = doubles(values).cast(pa.float32())
    ends = np.cumsum(lengths)
    empty = np.concatenate([[0], np.cumsum(number.is_null().to_numpy(zero_copy_only=False))])
    empty_of_row = empty[ends] - empty[ends - lengths]
    missing = empty_of_row == lengths
    if not (missing | ((lengths == dimension) & (empty_of_row == 0))).all():
        raise pa.ArrowInvalid("not as many numbers")
    number = number.drop_null()
    if not np.isfinite(number.to_numpy()).all():
        raise pa.ArrowInvalid("not finite, or too large for float32")
    return _lists(np.where(missing, 0, dimension), number, missing)


def _lists(lengths: np.ndarray, values: pa.Array, missing: np.ndarray | None = None) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    absent = None if missing is None or not missing.any() else np.append(missing, False)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32(), mask=absent), values)


TEXT_LIST = Conversion(_text_lists, "a list of text, or of whole numbers that are exact")
WHOLE_LIST = Conversion(_whole_lists, "a list of whole numbers")
