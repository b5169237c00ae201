"""Parquet: the schema, and the rows as a stream of record batches."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cetnet_keras.cells.scalars import is_list
from cetnet_keras.errors import InputError
from pipeline.ingest.batches import Batch, Column

_ROWS = 8192  # a batch: lists and vectors are wide
_BUFFER = 1 << 20  # bytes read at a time of a column: without it a whole row group of each is in memory


def columns_of(path: str) -> list[Column]:
    """The columns of a file, from its footer. Raises InputError where it has none that can be read."""
    with _opened(path) as file:
        return [Column(field.name, is_list(field.type), field.type) for field in file.schema_arrow]


def read_batches(path: str, needed: list[str]) -> Iterator[Batch]:
    """Streams the needed columns of a Parquet file, each of which it has once, in the file's order of rows.

    Raises:
        InputError: the file cannot be read to its end.
    """
    row = 1
    with _opened(path) as file:
        try:
            for batch in file.iter_batches(_ROWS, columns=needed, use_threads=False):
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                yield Batch(np.arange(row, row + batch.num_rows, dtype=np.int64), columns, [])
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error, f" after row {row - 1}") from error


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    try:
        file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error
    with file:
        yield file


def _broken(path: str, error: Exception, where: str = "") -> InputError:
    found = f"cannot be read as Parquet{where} ({str(error).splitlines()[0]})"
    return InputError(f"{path}: {found}, expected a whole Parquet file; write it again")
