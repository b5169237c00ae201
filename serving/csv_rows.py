"""Rows of a CSV file, of any dialect that a data spec can describe."""

from __future__ import annotations

import csv
import gzip
import itertools
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cetnet_keras.errors import InputError

if TYPE_CHECKING:
    from cetnet_keras.spec import CsvFormat

_GZIP = b"\x1f\x8b"  # what a compressed file begins with
NO_HEADER = "if the file has no header line, write one (`cetnet predict` also takes its names from csv.columns of --data)"
_LIKELY = (",", ";", "\t", "|")


class Row(NamedTuple):
    """A data row: its number counts from 1 after the header, its line is where it ends in the file."""

    number: int
    line: int
    cells: list[str]

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"row {self.number} (line {self.line})"


class CsvRows:
    """A CSV file, read row by row; one that is compressed with gzip is told by its first bytes.

    Args:
        path: of the file, UTF-8 (a byte order mark is skipped).
        dialect: delimiter, quotes and names of the columns.
    Attributes:
        columns: a name for each cell of a row; those of a list in several cells are `name[1]`, `name[2]`, ...
        places: by the name of a column, its first cell and how many it has.
    Raises:
        InputError: it is missing, empty, no UTF-8, or its header names a column twice.
    """

    def __init__(self, path: Path, dialect: CsvFormat) -> None:
        self.path, self.dialect = path, dialect
        try:
            self._opened = path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); name a CSV file") from error
        try:
            compressed = self._opened.peek(len(_GZIP)).startswith(_GZIP)
            self._file: Iterable[bytes] = gzip.GzipFile(fileobj=self._opened) if compressed else self._opened
            # not strict, an unclosed quote would swallow the rest of the file
            self._reader = csv.reader(self._lines(), strict=True, **csv_options(dialect))
            header = self._header() if dialect.has_header else None
            self.columns, self.places = self._named(header)
        except BaseException:
            self._opened.close()
            raise

    def batches(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time.

        Raises:
            InputError: a row is ragged or badly quoted, a byte is no UTF-8, or there is no row at all.
        """
        rows = self._rows()
        batch = list(itertools.islice(rows, size))
        if not batch:
            found = "the file has a header and no rows" if self.dialect.has_header else "the file is empty"
            raise InputError(f"{self.path}: {found}; there is nothing to predict")
        while batch:
            yield batch
            batch = list(itertools.islice(rows, size))

    def __enter__(self) -> CsvRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _header(self) -> list[str]:
        header = self._next_row()
        if not header:
            raise InputError(f"{self.path}: the file is empty; the first line has to name the columns")
        other = next((text for text in _LIKELY if text in header[0]), None)
        if len(header) == 1 and other is not None and not self.dialect.layout:
            found = f"the header has one cell, {header[0][:60]!r}, and {other!r} in it"
            raise InputError(f"{self.path}: {found}; say what separates the cells: --delimiter {other!r}")
        return header

    def _named(self, header: list[str] | None) -> tuple[list[str], dict[str, tuple[int, int]]]:
        layout = [(column.name, column.cells) for column in self.dialect.layout]
        cells = sum(count for _, count in layout)
        if layout and header is not None and len(header) != cells:
            found = f"the header has {len(header)} cells, csv.columns of the data spec names {cells}"
            raise InputError(f"{self.path}: {found}; correct one of both")
        names = layout or [(name, 1) for name in header or ()]
        columns: list[str] = []
        places: dict[str, tuple[int, int]] = {}
        for name, count in names:
            if name in places:
                found = f"the header names column {name or repr(name)} twice; rename one of both"
                raise InputError(f"{self.path}: {found}; {NO_HEADER}")
            places[name] = len(columns), count
            columns += [name] if count == 1 else [f"{name}[{cell}]" for cell in range(1, count + 1)]
        return columns, places

    def _lines(self) -> Iterator[str]:
        number = 0
        try:
            for number, line in enumerate(self._file, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x} at position {error.start + 1} of the line"
            raise InputError(f"{self.path}: line {number}: {found} is not UTF-8; convert the file") from error
        except (OSError, EOFError, zlib.error) as error:
            found = f"cannot be read after line {number} ({error})"
            raise InputError(f"{self.path}: {found}, expected a whole file; write it again") from error

    def _next_row(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise InputError(
                f"{self.path}: line {self._reader.line_num}: {error}; repair the quotes"
            ) from error

    def _rows(self) -> Iterator[Row]:
        width, number = len(self.columns), 0
        while (cells := self._next_row()) is not None:
            if not cells and width > 1:  # a blank line
                continue
            number += 1
            row = Row(number, self._reader.line_num, cells or [""])
            if len(row.cells) != width:
                has = "the header has" if self.dialect.has_header else "csv.columns of the data spec has"
                raise InputError(
                    f"{self.path}: {row.place}: found {len(row.cells)} cells, {has} {width} columns"
                )
            yield row


def csv_options(dialect: CsvFormat) -> dict[str, Any]:
    """What Python's csv reader and writer take for a dialect."""
    quotes = {"quoting": csv.QUOTE_NONE} if dialect.quote is None else {}
    return {"delimiter": dialect.delimiter, "quotechar": dialect.quote, **quotes}
