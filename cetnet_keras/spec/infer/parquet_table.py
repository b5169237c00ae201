"""Reads a sample of a Parquet file. What its schema says is a strong hint, and no more: ids are stored as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cetnet_keras.errors import InputError
from cetnet_keras.spec.infer.csv_table import FIRST_ROWS, PLACE_ROWS
from cetnet_keras.spec.infer.parts import FIRST_BYTES, PLACE_BYTES, PLACES
from cetnet_keras.spec.infer.table import Column, Declared, Table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 500  # vectors are wide: of more rows even one batch would be large


def parquet_table(path: Path, names: Sequence[str] | None, beginning_only: bool = False) -> Table:
    """Reads the first rows of a Parquet file, and the first ones of row groups further on.

    Args:
        names: has to be None: a Parquet file has its own.
        beginning_only: read no further than the first rows.
    Raises:
        InputError: pyarrow is not installed, the file is no Parquet, or it has no rows.
    """
    if names is not None:
        raise InputError(f"{path}: found --columns, but a Parquet file has names of its own; leave it out")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: reading Parquet needs pyarrow; pip install pyarrow") from error
    try:
        with pq.ParquetFile(path) as file:
            batches = list(_batches(file, beginning_only))
            schema, about = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        found = f"cannot be read as Parquet ({str(error).splitlines()[0]})"
        raise InputError(f"{path}: {found}; check that it is whole") from error
    if not any(batch.num_rows for batch in batches):
        raise InputError(f"{path}: found no rows, expected at least one; write it again")
    sample = pa.Table.from_batches(batches, schema)
    columns = [_column(field, sample.column(at), schema.names) for at, field in enumerate(schema)]
    return Table(str(path), columns, sample.num_rows, sample.num_rows == about, about)


def _batches(file: pq.ParquetFile, beginning_only: bool) -> Iterator[pa.RecordBatch]:
    if beginning_only:
        yield from _first_of(file.iter_batches(_BATCH_ROWS), PLACE_ROWS, PLACE_BYTES)
        return
    yield from _first_of(file.iter_batches(_BATCH_ROWS), FIRST_ROWS, FIRST_BYTES)
    groups = file.num_row_groups
    before = 0  # rows in the groups before
    for group in range(groups):
        rows = file.metadata.row_group(group).num_rows
        if before >= FIRST_ROWS and group % max(1, groups // PLACES) == 0:
            yield from _first_of(file.iter_batches(_BATCH_ROWS, row_groups=[group]), PLACE_ROWS, PLACE_BYTES)
        before += rows


def _first_of(batches: Iterator[pa.RecordBatch], rows: int, size: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, rows)
        rows, size = rows - batch.num_rows, size - batch.nbytes
        if rows <= 0 or size <= 0:
            return


def _column(field: pa.Field, values: pa.ChunkedArray, names: Sequence[str]) -> Column:
    declared, twin = _declared(field.type), names.count(field.name) > 1
    if declared in ("list", "numbers"):
        lists = [[_text(value) for value in row or ()] for row in values.to_pylist()]
        return Column(field.name, (), lists, declared, twin)
    cells = [] if declared == "other" else [_text(value) for value in values.to_pylist()]
    return Column(field.name, cells, declared=declared, twin=twin)


def _declared(kind: pa.DataType) -> Declared:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _declared(kind.value_type)
        return {"text": "list", "whole": "list", "number": "numbers"}.get(inner, "other")  # type: ignore[return-value]
    tests: list[tuple[Declared, bool]] = [
        ("boolean", types.is_boolean(kind)),
        ("whole", types.is_integer(kind)),
        ("number", types.is_floating(kind) or types.is_decimal(kind)),
        ("time", types.is_timestamp(kind) or types.is_date(kind)),
        ("text", types.is_string(kind) or types.is_large_string(kind)),
    ]
    return next((declared for declared, holds in tests if holds), "other")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
