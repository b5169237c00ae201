"""Reads a sample of a CSV file."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cetnet_keras.errors import InputError
from cetnet_keras.spec.data_spec import CsvFormat
from cetnet_keras.spec.document import shown
from cetnet_keras.spec.infer.layout import (
    NumberedRow,
    guess_dialect,
    has_plain_quotes,
    is_header,
    no_header_error,
    read_rows,
)
from cetnet_keras.spec.infer.parts import PLACES, read_parts
from cetnet_keras.spec.infer.table import Column, Table

FIRST_ROWS = 20_000
"""Rows of the sample from the beginning of a file."""
PLACE_ROWS = 2_000
"""Rows from each place further on."""


def csv_table(path: Path, names: Sequence[str] | None, beginning_only: bool = False) -> Table:
    """Reads the first rows of a CSV file, and rows from several places further on.

    Args:
        path: plain or, with a name that ends in .gz, compressed.
        names: of the columns, as `read_columns` gives them; None where the header line has them.
        beginning_only: read no further than the first rows.
    Raises:
        InputError: no text in UTF-8, no header and no names, no rows, or rows of different lengths.
    """
    parts = read_parts(path, beginning_only)
    text = _decoded(parts.first, path)
    layout = CsvFormat(columns=list(names)).layout if names else ()
    width = sum(column.cells for column in layout) or None
    dialect, rows = _first_rows(path, text, width)
    if parts.share < 1:
        rows = rows[:-1] or rows  # the text may end within a quoted cell
    first = rows[0].cells
    header = is_header(first)
    if names is None and not header:
        raise no_header_error(path, first)
    _refuse_ragged(path, rows, width or len(first), dialect, names)
    rows = rows[1:] if header else rows
    if not rows:
        raise InputError(f"{path}: found no rows below the header, expected at least one; write it again")
    cells = [row.cells for row in (*rows[:FIRST_ROWS], *_spread(rows[FIRST_ROWS:]))]
    cells += [row for part in parts.further for row in _further_rows(part, dialect, width or len(first))]
    whole = parts.share == 1 and len(cells) == len(rows)
    if names:
        dialect = dialect.model_copy(update={"header": header, "columns": list(names)})
    columns = _columns(dialect, first, cells)
    return Table(str(path), columns, len(cells), whole, round(len(rows) / parts.share), dialect)


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"found the byte 0x{content[error.start]:02x}, which is not UTF-8"
        raise InputError(f"{path}:{line}: {found}, expected CSV text; save the file as UTF-8") from error


def _first_rows(path: Path, text: str, width: int | None) -> tuple[CsvFormat, list[NumberedRow]]:
    """The dialect and at least one row."""
    dialect = guess_dialect(text, width)
    if has_plain_quotes(text, dialect):
        dialect = dialect.model_copy(update={"quote": None})
    try:
        rows = list(read_rows(text, dialect))
    except csv.Error as error:
        found = f"cannot be read as CSV ({error})"
        raise InputError(f"{path}: {found}; check that it is whole and each quote is closed") from error
    if not rows:
        raise InputError(f"{path}: found no rows, expected at least one; write it again")
    return dialect, rows


def _refuse_ragged(
    path: Path, rows: list[NumberedRow], width: int, dialect: CsvFormat, names: Sequence[str] | None
) -> None:
    if width == 1:
        known = "a comma, tab, semicolon or pipe"
        found = f"found one cell a row, such as {shown(rows[0].cells[0])}, expected cells with {known} between them"
        raise InputError(f"{path}: {found}; write the file so")
    lengths = Counter(len(row.cells) for row in rows)
    if names is not None and width not in lengths:
        usual = lengths.most_common(1)[0][0]
        cells = ", ".join(shown(cell[:20]) for cell in rows[0].cells[:6])
        found = f"found {usual} cells a row ({cells}, ...), expected {width} as in --columns"
        raise InputError(f"{path}:{rows[0].line}: {found}; correct the names")
    for row in rows:
        if len(row.cells) != width:
            cure = f"correct the row, or put a cell that holds {shown(dialect.delimiter)} in quotes"
            found = f"found {len(row.cells)} cells, expected {width}"
            raise InputError(f"{path}:{row.line}: {found}; {cure}")


def _spread(rows: list[NumberedRow]) -> list[NumberedRow]:
    """As many rows as there would be from further on in a file that was not read to its end."""
    return rows[:: max(1, -(-len(rows) // (PLACES * PLACE_ROWS)))]


def _further_rows(part: bytes, dialect: CsvFormat, width: int) -> list[list[str]]:
    """Rows of a part that may begin within a quoted cell: those that have another length, or no sense, are left."""
    try:
        rows = list(read_rows(part.decode("utf-8"), dialect, PLACE_ROWS))
    except (UnicodeDecodeError, csv.Error):
        return []  # `cetnet run` names the row
    return [row.cells for row in rows if len(row.cells) == width]


def _columns(dialect: CsvFormat, first: Sequence[str], rows: list[list[str]]) -> list[Column]:
    columns = list(zip(*rows, strict=True))
    if not dialect.columns:
        names = Counter(first)
        return [Column(name, cells, twin=names[name] > 1) for name, cells in zip(first, columns, strict=True)]
    found, at = [], 0
    for name, cells in dialect.layout:
        if cells == 1:
            found.append(Column(name, columns[at]))
        else:
            lists = [list(row) for row in zip(*columns[at : at + cells], strict=True)]
            found.append(Column(name, (), lists))
        at += cells
    return found
