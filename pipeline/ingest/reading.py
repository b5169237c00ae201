"""Reads a file as a stream of record batches of strings; other formats than CSV would join here."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from cetnet_keras.errors import InputError
from cetnet_keras.spec import CsvFormat
from pipeline.ingest.files import check_columns, column_names, row_error, shown

_BLOCK = 8 << 20  # bytes of text a batch: memory does not grow with the file, and no row may be longer


def read_batches(path: str, needed: dict[str, str], dialect: CsvFormat) -> Iterator[pa.RecordBatch]:
    """Streams the needed columns of a CSV file, in the file's order of rows.

    Every cell stays the text that it is: no type is inferred, `NA` is a token, an empty cell an empty string.
    A file whose name ends in .gz is decompressed, a byte order mark is skipped, blank lines are no rows.

    Args:
        needed: the columns to read, each with what asks for it (for the error if it is missing).
        dialect: delimiter and, for files without a header line, the names of the columns.
    Yields:
        record batches of string columns, in the order of `needed`.
    Raises:
        InputError: names the file and, where it is one row's fault, row and column.
    """
    found = column_names(path, dialect)
    check_columns(path, found, needed, dialect)
    names = [
        name if name in needed else f"{name}/{n}" for n, name in enumerate(found)
    ]  # not needed may repeat
    ragged: list[Any] = []
    row = 0
    try:
        with pa.input_stream(path, compression="gzip" if path.endswith(".gz") else None) as stream:
            for batch in _open(stream, names, list(needed), dialect, ragged):
                yield _as_text(batch, path, row + 1, dialect)
                row += batch.num_rows
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        if ragged:
            number = ragged[0].number - (0 if dialect.columns else 1)
            message = f"found {ragged[0].actual_columns} cells, expected {ragged[0].expected_columns}"
            cure = f"correct the row, or put a cell that holds {dialect.delimiter!r} in quotes"
            raise row_error(path, number, dialect, f"{message}; {cure}") from error
        reason = f"cannot be read as CSV after row {row} ({str(error).splitlines()[0]})"
        raise InputError(f"{path}: {reason}; check that it is whole and each quote is closed") from error


def _open(
    stream: pa.NativeFile, names: list[str], needed: list[str], dialect: CsvFormat, ragged: list[Any]
) -> pa_csv.CSVStreamingReader:
    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    return pa_csv.open_csv(
        stream,
        read_options=pa_csv.ReadOptions(
            use_threads=False,  # with threads Arrow does not know the number of a ragged row
            block_size=_BLOCK,
            column_names=names,
            skip_rows_after_names=0 if dialect.columns else 1,  # the header, which `names` stands for
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=refuse
        ),
        convert_options=pa_csv.ConvertOptions(
            include_columns=needed,
            column_types=dict.fromkeys(needed, pa.binary()),  # checked later: Arrow would not name the row
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def _as_text(batch: pa.RecordBatch, path: str, first_row: int, dialect: CsvFormat) -> pa.RecordBatch:
    names = batch.schema.names
    try:
        return pa.RecordBatch.from_arrays([column.cast(pa.string()) for column in batch.columns], names)
    except pa.ArrowInvalid:
        for offset, cells in enumerate(zip(*(column.to_pylist() for column in batch.columns), strict=True)):
            for name, cell in zip(names, cells, strict=True):
                try:
                    cell.decode("utf-8")
                except UnicodeDecodeError as error:
                    message = f"column {name}: found {shown(cell)}, expected UTF-8; save the file as UTF-8"
                    raise row_error(path, first_row + offset, dialect, message) from error
        raise
