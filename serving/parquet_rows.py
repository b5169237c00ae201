"""Rows of a Parquet file, and the same rows with a model's predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

from cetnet_keras.errors import InputError

try:
    import pyarrow
    from pyarrow import parquet
except ImportError as error:
    raise InputError("Parquet files need pyarrow: pip install pyarrow; or give the rows as CSV") from error

from cetnet_keras.spec import DataSpec
from serving.arrays import known_signature
from serving.blocking_client import Client
from serving.cell_inputs import CellInputs
from serving.rows import PredictionColumns


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
        except (pyarrow.ArrowException, OSError) as error:
            self._bytes.close()
            raise InputError(f"{path}: is no Parquet file ({error})") from error
        self.columns: list[str] = self._file.schema_arrow.names

    def batches(self, size: int) -> Iterator[Any]:
        """Arrow tables of up to `size` rows.

        Raises:
            InputError: there is no row at all, or the file is damaged.
        """
        if not self._file.metadata.num_rows:
            raise InputError(f"{self.path}: the file has no rows; there is nothing to predict")
        try:
            for batch in self._file.iter_batches(size):
                yield pyarrow.Table.from_batches([batch])
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{self.path}: cannot be read to its end ({error}); write it again") from error

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()


def add_to_parquet(
    rows: ParquetRows,
    client: Client,
    file: IO[bytes],
    signature: str,
    batch_size: int,
    spec: DataSpec | None = None,
    prefix: str = "",
) -> int:
    """Writes the rows with their predictions as Parquet, a batch at a time, and returns how many.

    Args:
        spec: what the columns mean, beyond what the signature says.
        prefix: of the predictions' columns.
    Raises:
        InputError: the rows do not fit the signature, or have a column of a prediction's name.
    """
    inputs = CellInputs(rows.path, rows.columns, known_signature(client.metadata(), signature).inputs, spec)
    predictions, writer, count = PredictionColumns(rows.path, rows.columns, prefix), None, 0
    with ExitStack() as stack:
        for batch in rows.batches(batch_size):
            cells = {name: batch.column(name).combine_chunks() for name in inputs.names}
            asked = inputs.table(cells, partial(_place, count))
            try:
                outputs = client.predict(asked, signature, batch_size=None)
            except InputError as error:
                place = f"of rows {count + 1} to {count + len(batch)}, " if len(batch) > 1 else ""
                raise InputError(f"{rows.path}: {place}{error}") from error
            for name, values in predictions.of(outputs).items():
                batch = batch.append_column(name, pyarrow.array(values))
            writer = writer or stack.enter_context(parquet.ParquetWriter(file, batch.schema))
            writer.write_table(batch)
            count += len(batch)
    return count


def _place(rows_before: int, position: int) -> str:
    return f"row {rows_before + position + 1}"
