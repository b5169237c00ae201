"""Rows in the forms that callers have them: dicts, pandas DataFrames, Arrow tables, or columns already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from reprlib import repr  # a row may be long
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cetnet_keras.errors import InputError
from serving.metadata import MISSING, TensorInfo, numpy_type

if TYPE_CHECKING:
    import pandas
    import pyarrow

Table: TypeAlias = (
    "Mapping[str, Any] | Sequence[Mapping[str, Any]] | pandas.DataFrame | pyarrow.Table | pyarrow.RecordBatch"
)

_EXACT = 2**53  # from here on a float64 skips whole numbers


def columns_of(table: Table, known: Mapping[str, TensorInfo], taker: str) -> dict[str, Any]:
    """A list or array for each input in `known`, an entry a row; neither types nor lengths are checked.

    A dict of columns has to hold exactly these names. Rows and frames may hold more, which is left out.

    Args:
        table: a dict of columns, a list of dicts (one a row), a pandas DataFrame or an Arrow table.
        known: the inputs to find.
        taker: who takes them, for messages, e.g. "signature explain".
    Raises:
        InputError: a column is missing, unknown or there twice, a row lacks a key, or it is no table.
    """
    if isinstance(table, Mapping):
        _check_names(table, known, taker, unknown=sorted(table.keys() - known.keys()))
        return {name: _column(name, table[name], info) for name, info in known.items()}
    if isinstance(table, list | tuple):
        return _columns_of_rows(table, known, taker)
    frame: Any = table
    package = type(table).__module__.partition(".")[0]
    if package == "pandas" and hasattr(table, "columns"):
        _check_names(frame.columns, known, taker)
        return {name: _column(name, frame[name], info) for name, info in known.items()}
    if package == "pyarrow" and hasattr(table, "schema"):
        names = frame.schema.names
        _check_names(names, known, taker)
        return {name: _column(name, frame.column(names.index(name)), info) for name, info in known.items()}
    raise InputError(
        f"{taker}: found inputs of type {type(table).__name__}; give a dict of columns, a list of dicts, "
        "a pandas DataFrame or an Arrow table"
    )


def length_of(values: Any) -> int:
    """How many entries a list or array has; 0 where it is a single value."""
    return len(values) if isinstance(values, list | tuple) or np.ndim(values) else 0


def _check_names(
    found: Iterable[str], known: Mapping[str, TensorInfo], taker: str, unknown: Sequence[str] = ()
) -> None:
    names = list(found)
    missing = sorted(known.keys() - set(names))
    if missing or unknown:
        raise InputError(
            f"{taker} takes {', '.join(sorted(known))}; "
            f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        )
    twice = [name for name in known if names.count(name) > 1]
    if twice:
        raise InputError(f"{taker}: two columns are called {twice[0]}; rename one of both")


def _columns_of_rows(
    rows: Sequence[Mapping[str, Any]], known: Mapping[str, TensorInfo], taker: str
) -> dict[str, list[Any]]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise InputError(
                f"{taker}, row {number}: found {repr(row)}, expected a dict of the row's features"
            )
        lacking = [name for name in known if name not in row]
        if lacking:  # read as nothing known, a misspelt key would cost quality in silence
            raise InputError(
                f"{taker}, row {number}: {lacking[0]} is missing; give None where nothing is known of it"
            )
    return {name: [row[name] for row in rows] for name in known}


def _column(name: str, column: Any, info: TensorInfo) -> np.ndarray | list[Any] | tuple[Any, ...]:
    if isinstance(column, list | tuple):
        return column
    package = type(column).__module__.partition(".")[0]
    if package == "pandas" and hasattr(column, "to_numpy"):
        return _pandas_column(name, column, info)
    if package == "pyarrow" and hasattr(column, "to_pylist"):
        return _arrow_column(column)
    return np.asarray(column)


def _pandas_column(name: str, column: Any, info: TensorInfo) -> np.ndarray:
    """pandas keeps whole numbers with gaps as floats; where the signature takes integers they are such again.

    Of Int64 it keeps them as they are, but from release 2.2 on makes floats of them for NumPy.
    """
    exact = not isinstance(column.dtype, np.dtype) and column.hasnans
    values: np.ndarray = column.to_numpy(dtype=object) if exact else column.to_numpy()
    kind = np.dtype(numpy_type(info.dtype) or np.object_).kind
    if kind != "i" or values.dtype.kind != "f":
        return values
    gaps = np.isnan(values)
    whole = gaps | ((values == np.floor(values)) & (np.abs(values) < _EXACT))
    if not whole.all():
        row = int(np.argmin(whole))
        raise InputError(
            f"input {name}, row {row + 1}: found {values[row]}, the signature takes {info.dtype}; "
            "keep the column as Int64, which has gaps without floats"
        )
    return np.where(gaps, MISSING[kind], values).astype(np.int64)


def _arrow_column(column: Any) -> np.ndarray | list[Any]:
    from pyarrow import types

    if types.is_primitive(column.type) and not column.null_count:
        return np.asarray(column)
    found: list[Any] = column.to_pylist()
    return found
