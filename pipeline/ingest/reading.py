"""Reads files of every format: their columns, and their rows a batch at a time."""

from collections.abc import Iterator

from cetnet_keras.errors import InputError
from cetnet_keras.formats import format_of
from cetnet_keras.spec import CsvFormat
from pipeline.ingest import csv_files, parquet_files, tfrecord_files
from pipeline.ingest.batches import Batch, Column


def columns_of(path: str, dialect: CsvFormat) -> list[Column]:
    """The columns of a file, from its beginning. Raises InputError where it cannot be read."""
    if format_of(path) == "CSV":
        return csv_files.columns_of(path, dialect)
    return (parquet_files if format_of(path) == "Parquet" else tfrecord_files).columns_of(path)


def read_batches(path: str, needed: list[str], dialect: CsvFormat, limit: int = 1) -> Iterator[Batch]:
    """Streams the needed columns of a file, in its order of rows; however large it is, a part of it is in memory.

    Args:
        needed: the columns to read, each of which the file has once.
        limit: faults to tell of, at least.
    Raises:
        InputError: the file cannot be read to its end.
    """
    if format_of(path) == "CSV":
        return csv_files.read_batches(path, needed, dialect, limit)
    if format_of(path) == "Parquet":
        return parquet_files.read_batches(path, needed)
    return tfrecord_files.read_batches(path, needed, limit)


def row_error(path: str, row: int, dialect: CsvFormat, message: str) -> InputError:
    """An error about a data row, counted from 1; `message` says what was found and expected, and the cure."""
    if format_of(path) == "CSV":
        return csv_files.row_error(path, row, dialect, message)
    return InputError(f"{path}: row {row}: {message}")
