"""Cells of any Arrow type as text or numbers, exactly or not at all: which of the two, the spec says.

Each function takes a column of one value a row, or of lists with at most one (as tf.Examples have them), and treats its
cells one by one: it raises pyarrow.ArrowInvalid where a cell does not fit, and UnfitType where no cell of this type would.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

_EXACT = {
    16: 2.0**11,
    32: 2.0**24,
    64: 2.0**53,
}  # below these a float of so many bits holds every whole number
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class UnfitType(TypeError):
    """No value of this type can be what the spec asks for."""


def as_text(column: pa.Array) -> pa.Array:
    """[N] string, empty where there is no value.

    Whole numbers as digits, decimals with the digits they have, booleans as true and false, dates and times as ISO
    (2024-05-31, 2024-05-31T23:59:59, with Z where the type has a zone). A float has to be whole (pandas makes
    floats of whole numbers where some are missing): 7.0 becomes 7, 7.5 is refused.
    """
    column = one_a_row(column)
    kind = column.type
    if types.is_floating(kind):
        column = _whole_floats(column)
    elif types.is_timestamp(kind) or types.is_date(kind):
        column = _iso(column)
    elif types.is_decimal(kind):
        column = pa.array([None if cell is None else f"{cell:f}" for cell in column.to_pylist()], pa.string())
    elif not (_is_text(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind)):
        raise UnfitType(str(kind))
    return column.cast(pa.string()).fill_null("")


def as_digits(column: pa.Array) -> pa.Array:
    """[N] string as `as_text` has it, but floats with the decimals that they have, NaN and infinity by name.

    A whole float that is too large to be exact is refused as there: many numbers may have become this one.
    """
    column = one_a_row(column)
    if not types.is_floating(column.type):
        return as_text(column)
    limit, column = _EXACT[column.type.bit_width], _wide(column)
    if pc.any(pc.greater_equal(pc.abs(column), limit)).as_py():
        raise pa.ArrowInvalid("too large to be exact")
    return column.cast(pa.string()).fill_null("")


def wholes(column: pa.Array) -> pa.Array:
    """[N] int64, null where there is no value; booleans are 0 and 1."""
    column = one_a_row(column)
    kind = column.type
    if _is_text(kind):
        text = as_text(column)
        if pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():
            raise pa.ArrowInvalid("hexadecimal")  # which Arrow would read
        return _without_empty(text).cast(pa.int64())
    return (_whole_floats(column) if types.is_floating(kind) else _number(column)).cast(pa.int64())


def doubles(column: pa.Array) -> pa.Array:
    """[N] float64 as it is written, NaN and infinity too; null where there is no value."""
    column = one_a_row(column)
    if _is_text(column.type):
        return _without_empty(as_text(column)).cast(pa.float64())
    return _number(column).cast(
        pa.float64(), safe=False
    )  # an int64 of 60 bits is rounded, as its text would be


def floats(column: pa.Array) -> pa.Array:
    """[N] finite float32, null where there is no value or NaN."""
    number = doubles(column).cast(pa.float32())
    if pc.any(pc.is_inf(number)).as_py():
        raise pa.ArrowInvalid("infinite, or too large for float32")
    return pc.if_else(pc.is_nan(number), pa.scalar(None, pa.float32()), number)


def labels(column: pa.Array) -> pa.Array:
    """[N] int64, each 0 or 1."""
    column = one_a_row(column)
    known = ["0", "1", "0.0", "1.0"] if _is_text(column.type) else [0.0, 1.0]
    cells = as_text(column) if _is_text(column.type) else doubles(column)
    position = pc.index_in(cells, pa.array(known))
    if position.null_count:
        raise pa.ArrowInvalid("not a label")
    return pc.bit_wise_and(position, 1).cast(pa.int64())


def weights(column: pa.Array) -> pa.Array:
    """[N] float32, each 0 or more."""
    number = floats(column)
    if number.null_count or pc.any(pc.less(number, 0)).as_py():
        raise pa.ArrowInvalid("not a weight")
    return number


def since_1970(column: pa.Array, unit: str) -> pa.Array:
    """[N] int64, of dates and timestamps the s, ms, us or ns since 1970, rounded down; null where there is no value."""
    column = one_a_row(column)
    if types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if not types.is_timestamp(column.type):
        return wholes(column)
    have, want = _PER_SECOND[column.type.unit], _PER_SECOND[unit]
    count = column.cast(pa.int64())
    if want >= have:
        return pc.multiply_checked(count, want // have)
    missing = count.is_null().to_numpy(zero_copy_only=False)
    return pa.array(
        count.fill_null(0).to_numpy() // (have // want), mask=missing
    )  # towards the past, unlike Arrow


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type has several values a row."""
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def parts(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """How many values each row of a list column has [N] int64, and all of them end to end; a null list has none."""
    if is_list(column.type.value_type):
        raise UnfitType(str(column.type))
    lengths = pc.list_value_length(column).fill_null(0).to_numpy().astype(np.int64)
    return lengths, pc.list_flatten(column)


def one_a_row(column: pa.Array) -> pa.Array:
    """[N] of the values themselves, neither in lists nor encoded by a dictionary."""
    if types.is_dictionary(column.type):
        return one_a_row(column.dictionary_decode())
    if is_list(column.type):
        lengths, values = parts(column)
        if (lengths > 1).any():
            raise pa.ArrowInvalid("several values")
        return one_a_row(values.take(pa.array(np.cumsum(lengths) - 1, mask=lengths == 0)))
    return column


def _is_text(kind: pa.DataType) -> bool:
    return (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)  # in UTF-8, or it does not fit
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _number(column: pa.Array) -> pa.Array:
    kind = column.type
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind) or types.is_null(kind):
        return column
    if types.is_floating(kind):
        return _wide(column)
    raise UnfitType(str(kind))


def _wide(column: pa.Array) -> pa.Array:
    if column.type.bit_width > 16:
        return column
    missing = column.is_null().to_numpy(zero_copy_only=False)  # Arrow 10 does not cast half floats
    return pa.array(column.to_numpy(zero_copy_only=False).astype(np.float32), mask=missing)


def _whole_floats(column: pa.Array) -> pa.Array:
    limit, column = _EXACT[column.type.bit_width], _wide(column)
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pc.any(pc.greater_equal(pc.abs(column), limit)).as_py():
        raise pa.ArrowInvalid("too large to be exact")
    return column.cast(pa.int64())  # refuses fractions


def _iso(column: pa.Array) -> pa.Array:
    kind = column.type
    if not types.is_timestamp(kind):
        return column.cast(pa.date32()).cast(pa.string())
    text = pc.replace_substring(column.cast(pa.timestamp(kind.unit)).cast(pa.string()), " ", "T")
    return text if kind.tz is None else pc.binary_join_element_wise(text, "Z", "")


def _without_empty(text: pa.Array) -> pa.Array:
    # not if_else: with null and a slice of strings it gives other strings (apache/arrow issue 49410)
    return pc.replace_with_mask(text, pc.equal(text, ""), pa.scalar(None, text.type))
