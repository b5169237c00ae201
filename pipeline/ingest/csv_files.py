"""CSV: the header line, and the rows as a stream of record batches."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from cetnet_keras.errors import InputError
from cetnet_keras.spec import CsvFormat
from cetnet_keras.spec.data_spec import CsvColumn
from pipeline.ingest.batches import Batch, Column, Fault

_BLOCK = 1 << 20  # bytes of text a batch, which no row may be longer than; Arrow reads 32 of them ahead
_RAGGED_BYTES = re.compile(
    r"Row #(\d+): Expected (\d+) columns, got (\d+)"
)  # pyarrow cannot show us this row
_UNREADABLE = (OSError, EOFError, zlib.error, csv.Error)


def columns_of(path: str, dialect: CsvFormat) -> list[Column]:
    """The columns of a file, from its header line or from the spec.

    Raises:
        InputError: no text, no header, no row, or a header line that is not as long as the spec says.
    """
    return [Column(name, cells > 1) for name, cells in _layout(path, dialect)]


def _layout(path: str, dialect: CsvFormat) -> list[CsvColumn]:
    header = None
    with _open_text(path) as text:
        try:
            if dialect.has_header:
                header = next((cells for cells in _reader(text, dialect) if cells), None)
            has_rows = any(line.strip("\r\n") for line in text)
        except _UNREADABLE as error:
            found = f"cannot be read ({error}), expected a whole CSV file"
            raise InputError(f"{path}: {found}; write it again") from error
    if dialect.has_header and header is None:
        found = "found an empty file, expected a header line and rows"
        raise InputError(f"{path}: {found}; write it again, or take it out of the splits")
    if any("\udc80" <= letter <= "\udcff" for name in header or () for letter in name):
        raise InputError(f"{path}:1: found bytes that are not UTF-8, expected names; save the file as UTF-8")
    if not has_rows:
        found = f"found no rows{' below the header' if header else ''}, expected at least one"
        raise InputError(f"{path}: {found}; write it again, or take it out of the splits")
    layout = list(dialect.layout) or [CsvColumn(name, 1) for name in header or ()]
    cells = sum(column.cells for column in layout)
    if header is not None and len(header) != cells:
        found = f"found {len(header)} cells in the header line, expected {cells} as csv.columns has"
        raise InputError(f"{path}: {found}; correct csv.columns")
    return layout


def read_batches(path: str, needed: list[str], dialect: CsvFormat, limit: int) -> Iterator[Batch]:
    """Streams the needed columns of a CSV file, in the file's order of rows.

    Every cell stays the bytes that it is: no type is inferred, `NA` is a token, an empty cell an empty string. A list
    in several cells becomes a list column. A file whose name ends in .gz is decompressed, a byte order mark is skipped,
    blank lines are no rows. Rows with too few or too many cells are faults.

    Args:
        needed: the columns to read, each of which the file has once.
        limit: faults to tell of; more are skipped in silence, for whoever asks refuses the file then.
    Raises:
        InputError: the file cannot be read to its end.
    """
    layout = _layout(path, dialect)
    cells = {column.name: _cell_names(column) for column in layout if column.name in needed}
    names = [  # those that are not needed may repeat
        name
        for place, column in enumerate(layout)
        for name in cells.get(column.name, [f"{column.name}/{place}/{n}" for n in range(column.cells)])
    ]
    ragged: list[_Ragged] = []  # Arrow may be a block ahead with them
    row, told = 1, 0  # the number of the next row, and how many of the ragged ones were handed over
    try:
        with pa.input_stream(path, compression="gzip" if _is_gzip(path) else None) as stream:
            wanted = [name for group in cells.values() for name in group]
            for block in _open(stream, names, wanted, dialect, ragged, limit):
                number = _numbers(row, block.num_rows, [fault.row for fault in ragged[told:]])
                row = int(number[-1]) + 1 if len(number) else row
                passed = [fault.refused(dialect) for fault in ragged[told:] if fault.row < row]
                told += len(passed)
                yield Batch(number, {name: _column(block, group) for name, group in cells.items()}, passed)
    except (pa.ArrowInvalid, OSError) as error:
        unread = _RAGGED_BYTES.search(str(error))
        if unread:
            ragged_row, expected, found = map(int, unread.groups())
            message = (
                f"found {found} cells, expected {expected}, and bytes that are not UTF-8; correct the row"
            )
            raise row_error(path, ragged_row - dialect.has_header, dialect, message) from error
        reason = f"cannot be read as CSV after row {row - 1} ({str(error).splitlines()[0]})"
        raise InputError(f"{path}: {reason}; check that it is whole and each quote is closed") from error
    if ragged[told:]:  # after the last row that is one
        yield Batch(np.zeros(0, np.int64), {}, [fault.refused(dialect) for fault in ragged[told:]])


class _Ragged(NamedTuple):
    row: int
    cells: int
    expected: int

    def refused(self, dialect: CsvFormat) -> Fault:
        message = f"found {self.cells} cells, expected {self.expected}; correct the row"
        if dialect.quote is not None:
            around = "quotes" if dialect.quote == '"' else dialect.quote
            message += f", or put a cell that holds {dialect.delimiter!r} in {around}"
        return Fault(self.row, message)


def _cell_names(column: CsvColumn) -> list[str]:
    return [column.name] if column.cells == 1 else [f"{column.name}/[{n}]" for n in range(column.cells)]


def _numbers(first: int, rows: int, ragged: list[int]) -> np.ndarray:
    """[rows] the numbers of the rows of a block that begins with number `first`, those of ragged ones left out."""
    number = np.arange(first, first + rows + len(ragged), dtype=np.int64)
    return number[~np.isin(number, ragged)][:rows]


def _column(block: pa.RecordBatch, cells: list[str]) -> pa.Array:
    arrays = [block.column(block.schema.get_field_index(name)) for name in cells]
    if len(arrays) == 1:
        return arrays[0]
    order = np.arange(len(arrays) * block.num_rows).reshape(len(arrays), -1).T.ravel()
    offsets = np.arange(block.num_rows + 1, dtype=np.int32) * len(arrays)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.concat_arrays(arrays).take(pa.array(order)))


def _open(
    stream: pa.NativeFile,
    names: list[str],
    needed: list[str],
    dialect: CsvFormat,
    ragged: list[_Ragged],
    limit: int,
) -> pa_csv.CSVStreamingReader:
    header = int(dialect.has_header)

    def skip(row: Any) -> str:
        if len(ragged) < limit:
            ragged.append(_Ragged(row.number - header, row.actual_columns, row.expected_columns))
        return "skip"

    return pa_csv.open_csv(
        stream,
        read_options=pa_csv.ReadOptions(
            use_threads=False,  # with threads Arrow does not know the number of a ragged row
            block_size=_BLOCK,
            column_names=names,
            skip_rows_after_names=header,  # which `names` stands for
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            newlines_in_values=dialect.quote is not None,
            invalid_row_handler=skip,
        ),
        convert_options=pa_csv.ConvertOptions(
            include_columns=needed,
            column_types=dict.fromkeys(needed, pa.binary()),  # checked later: Arrow would not name the row
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def row_error(path: str, row: int, dialect: CsvFormat, message: str) -> InputError:
    """An error about a data row, counted from 1, with its line where that can be told."""
    line = _line_of(path, row, dialect)
    return InputError(f"{path}{f':{line}' if line else ''}: row {row}: {message}")


def _line_of(path: str, row: int, dialect: CsvFormat) -> int | None:
    """The line on which a data row ends."""
    wanted = row + dialect.has_header
    try:
        with _open_text(path) as text:
            reader = _reader(text, dialect)
            for cells in reader:
                wanted -= bool(cells)
                if wanted == 0:
                    return int(reader.line_num)
    except _UNREADABLE:
        pass
    return None


def _reader(text: TextIO, dialect: CsvFormat) -> Any:
    quoting: dict[str, Any] = {"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE}
    return csv.reader(text, delimiter=dialect.delimiter, **quoting)


def _is_gzip(path: str) -> bool:
    return path.lower().endswith(".gz")


@contextmanager
def _open_text(path: str) -> Iterator[TextIO]:
    """Opens a file for Python's csv reader; a byte that is not UTF-8 becomes one of U+DC80 to U+DCFF."""
    opener: Any = gzip.open if _is_gzip(path) else open
    try:
        text = opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    with text:
        yield text
