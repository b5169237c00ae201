"""Rows of a Parquet file, and the same rows with a model's predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from cetnet_keras.errors import InputError
from serving.blocking_client import Client
from serving.rows import PredictionColumns

try:
    import pyarrow
    from pyarrow import parquet
except ImportError as error:
    raise InputError("Parquet files need pyarrow: pip install pyarrow; or give the rows as CSV") from error


class ParquetRows:
    """A Parquet file, read a batch at a time.

    Args:
        path: of the file.
    Raises:
        InputError: it is missing or no Parquet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); name a Parquet file") from error
        try:
            self._file = parquet.ParquetFile(self._bytes)
        except pyarrow.ArrowInvalid as error:
            self._bytes.close()
            raise InputError(f"{path}: is no Parquet file ({error})") from error
        self.columns: list[str] = self._file.schema_arrow.names

    def batches(self, size: int) -> Iterator[Any]:
        """Arrow tables of up to `size` rows.

        Raises:
            InputError: there is no row at all.
        """
        if not self._file.metadata.num_rows:
            raise InputError(f"{self.path}: the file has no rows; there is nothing to predict")
        for batch in self._file.iter_batches(size):
            yield pyarrow.Table.from_batches([batch])

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()


def add_to_parquet(
    rows: ParquetRows, client: Client, file: IO[bytes], signature: str, batch_size: int
) -> int:
    """Writes the rows with their predictions as Parquet, a batch at a time, and returns how many.

    Raises:
        InputError: the rows do not fit the signature, or have a column of a prediction's name.
    """
    predictions, writer, count = PredictionColumns(rows.path, rows.columns), None, 0
    for batch in rows.batches(batch_size):
        try:
            outputs = client.predict(batch, signature, batch_size=None)
        except InputError as error:
            place = f"of rows {count + 1} to {count + len(batch)}, " if len(batch) > 1 else ""
            raise InputError(f"{rows.path}: {place}{error}") from error
        for name, values in predictions.of(outputs).items():
            batch = batch.append_column(name, pyarrow.array(values))
        writer = writer or parquet.ParquetWriter(file, batch.schema)
        writer.write_table(batch)
        count += len(batch)
    if writer:
        writer.close()
    return count
