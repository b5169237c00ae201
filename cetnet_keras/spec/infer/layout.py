"""The layout of a CSV file: delimiter, quotes, header line; and the names that `--columns` gives."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from cetnet_keras.errors import InputError
from cetnet_keras.spec.data_spec import CsvFormat
from cetnet_keras.spec.document import shown

_DELIMITERS = ",\t;|"
_LINES = 200  # what a delimiter is guessed from
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_VALUE = re.compile(
    r"(?=.*[0-9])([0-9A-Fa-f]{8,}|[0-9]{4}-[0-9]{2}-[0-9]{2}.*)|nan|null|none|true|false", re.I
)
_RANGE = re.compile(r"(.*?)([0-9]+)\.\.(.*?)([0-9]+)")
_MOST_COLUMNS = 100_000


class NumberedRow(NamedTuple):
    """The cells of a row, and the line on which it ends."""

    line: int
    cells: list[str]


def read_rows(
    text: str, dialect: CsvFormat, limit: int | None = None, strict: bool = False
) -> Iterator[NumberedRow]:
    """The rows of a text as `csv.reader` has them; blank lines are none.

    Args:
        strict: refuse letters between a closing quote and the next delimiter, and a quote that is not closed.
    Raises:
        csv.Error: the text is not CSV.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or '"',
        quoting=csv.QUOTE_NONE if dialect.quote is None else csv.QUOTE_MINIMAL,
        strict=strict,
    )
    yield from islice((NumberedRow(reader.line_num, cells) for cells in reader if cells), limit)


def guess_dialect(text: str, width: int | None) -> CsvFormat:
    """The delimiter and the quotes that divide most rows into one number of cells, the larger if two do.

    Args:
        text: the beginning of a file.
        width: how many cells a row should have, if that is known.
    """
    scored = []
    for delimiter in _DELIMITERS:
        for dialect in (CsvFormat(delimiter=delimiter), CsvFormat(delimiter=delimiter, quote=None)):
            usual, share = _usual_width(text, dialect, _LINES)
            scored.append(((usual == width, usual > 1, share, usual), dialect))
    best = max(score for score, _ in scored)
    return next(dialect for score, dialect in scored if score == best)


def has_plain_quotes(text: str, dialect: CsvFormat) -> bool:
    """Whether quotes are letters like any other: rows are even without a meaning of theirs, and not clean with it."""
    if dialect.quote is None or dialect.quote not in text:
        return dialect.quote is None
    try:
        even = len({len(row.cells) for row in read_rows(text, dialect, strict=True)}) <= 1
    except csv.Error:
        even = False
    return not even and _usual_width(text, dialect.model_copy(update={"quote": None}))[1] == 1


def _usual_width(text: str, dialect: CsvFormat, limit: int | None = None) -> tuple[int, float]:
    """The number of cells that most rows have, and their share; (0, 0) for what is not CSV."""
    try:
        widths = Counter(len(row.cells) for row in read_rows(text, dialect, limit))
    except csv.Error:
        return 0, 0.0
    usual, rows = widths.most_common(1)[0] if widths else (0, 0)
    return usual, rows / max(1, widths.total())


def is_header(first: Sequence[str]) -> bool:
    """Whether the first row is of names: no number, hash or date among them, and none empty but the first.

    A row of clicks has a 0 or a 1 at least, its label; an index without a name comes first (pandas writes one).
    """
    names = [cell.strip() for cell in first]
    return any(names) and all(
        (name or position == 0) and not _NUMBER.fullmatch(name) and not _VALUE.fullmatch(name)
        for position, name in enumerate(names)
    )


def read_columns(text: str) -> list[str]:
    """The names of `--columns`: divided by commas, `NAME[50]` for 50 cells that are a list, `I1..I13` for thirteen.

    Raises:
        InputError: an empty name, one that is given twice, or a range that cannot be counted.
    """
    names = [name for part in text.split(",") for name in _counted(part.strip(), text)]
    plain = [re.sub(r"\[[0-9]+\]$", "", name) for name in names]
    again = [name for name, count in Counter(plain).items() if count > 1]
    if again:
        raise InputError(
            f"--columns: found {shown(again[0])} twice, expected each name once; rename one of them"
        )
    return names


def _counted(name: str, text: str) -> list[str]:
    if not name:
        raise InputError(f"--columns: found an empty name in {shown(text)}; give each column a name")
    found = _RANGE.fullmatch(name)
    if found is None:
        return [name]
    prefix, start, other, end = found.groups()
    if other not in (prefix, "") or not 0 <= int(end) - int(start) < _MOST_COLUMNS:
        raise InputError(
            f"--columns: found {shown(name)}, expected a range such as I1..I13; write the names out"
        )
    return [f"{prefix}{number}" for number in range(int(start), int(end) + 1)]


def no_header_error(path: object, first: Sequence[str]) -> InputError:
    """For a file without a header line and without `--columns`."""
    cells = ", ".join(shown(cell[:20]) for cell in first[:8])
    more = f", ... ({len(first)} cells)" if len(first) > 8 else ""
    cure = "name the columns, as in --columns label,user_id,I1..I13,history[50],... (history: 50 cells, one list)"
    return InputError(f"{path}:1: found no header line but the cells {cells}{more}, expected names; {cure}")
