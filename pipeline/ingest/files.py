"""Which files a data spec names, which columns they need to have, and a cheap check of both."""

import csv
import difflib
import glob
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cetnet_keras.errors import InputError
from cetnet_keras.spec import CsvFormat, DataSpec, FileSplits, HoldOut, RowSplits
from cetnet_keras.spec.columns import column_uses

SPLITS = ("train", "eval", "test")
TRAIN, EVAL, TEST = 1, 2, 4  # one bit a split: eval and test may be the same file

_UNREADABLE = (OSError, EOFError, zlib.error, csv.Error)


@dataclass(frozen=True)
class SourceFile:
    """A file to read."""

    index: int  # counts over all splits; the upper part of the keys of its rows
    path: str
    splits: int  # a set of bits; rows that are divided later have all of them


def split_patterns(spec: DataSpec) -> dict[str, list[str]]:
    """The file patterns that each split is read from; a split cut out of other files has theirs.

    Raises:
        InputError: the spec says nothing about splits.
    """
    splits = spec.splits
    if splits is None:
        raise InputError("data spec: splits: missing, expected files for train, eval and test; add the key")
    if isinstance(splits, RowSplits):
        found = dict.fromkeys(SPLITS, splits.files)
    else:
        eval_files = splits.train if isinstance(splits.eval, HoldOut) else splits.eval
        found = {"train": splits.train, "eval": eval_files, "test": splits.test}
    return {name: [files] if isinstance(files, str) else files for name, files in found.items()}


def source_files(spec: DataSpec, base: Path) -> list[SourceFile]:
    """The files of all splits, each once: train, eval, test, in the order of the patterns, then by name.

    Args:
        base: the folder of the spec; relative patterns start there.
    Raises:
        InputError: a pattern matches no file.
    """
    bits: dict[str, int] = {}
    for bit, (name, patterns) in zip((TRAIN, EVAL, TEST), split_patterns(spec).items(), strict=True):
        if name == "eval" and isinstance(spec.splits, FileSplits) and isinstance(spec.splits.eval, HoldOut):
            continue  # its rows are found among those of train
        for pattern in patterns:
            for path in _matches(pattern, base):
                bits[path] = bits.get(path, 0) | bit
                if isinstance(spec.splits, FileSplits) and bits[path] & TRAIN and bits[path] != TRAIN:
                    found = f"found among the files of train and of {name}, expected in one of them"
                    raise InputError(f"{path}: {found}; nothing is measured on what was learnt")
    return [SourceFile(index, path, splits) for index, (path, splits) in enumerate(bits.items())]


def _matches(pattern: str, base: Path) -> list[str]:
    found = sorted(glob.glob(str(Path(glob.escape(str(base))) / pattern)))
    files = [path for path in found if Path(path).is_file()]
    if files:
        return files
    if found:
        raise InputError(f"{base / pattern}: found a folder, expected files; name them: {pattern}/*.csv")
    advice = "check the path, which starts at the folder of the data spec"
    raise InputError(f"{base / pattern}: found no file, expected at least one; {advice}")


def needed_columns(spec: DataSpec) -> dict[str, str]:
    """The columns that are read from the files, each with the key of the spec that asks for it first."""
    needed: dict[str, str] = {}
    for loc, column in column_uses(spec):
        if loc != ("features", column) or column not in spec.histories:  # a history is built, not read
            needed.setdefault(column, ".".join(map(str, loc)))
    return needed


def check_files(spec: DataSpec, base: Path) -> None:
    """Looks at the beginning of every file: it exists, and has each needed column once and a row.

    Args:
        base: the folder of the spec; relative patterns start there.
    Raises:
        InputError: names the file, what was found, what was expected and what to do.
    """
    needed = needed_columns(spec)
    for file in source_files(spec, base):
        check_columns(file.path, column_names(file.path, spec.csv), needed, spec.csv)


def column_names(path: str, dialect: CsvFormat) -> list[str]:
    """The columns of a file, from its header line or, without one, from the spec.

    Raises:
        InputError: no text, no header or no row.
    """
    with open_text(path) as text:
        try:
            header = (cells for cells in csv.reader(text, delimiter=dialect.delimiter) if cells)
            names = dialect.columns or next(header, None)
            has_rows = any(line.strip("\r\n") for line in text)
        except _UNREADABLE as error:
            found = f"cannot be read ({error}), expected a whole CSV file"
            raise InputError(f"{path}: {found}; write it again") from error
    if names is None:
        found = "found an empty file, expected a header line and rows"
        raise InputError(f"{path}: {found}; write it again, or take it out of the splits")
    if any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
        raise InputError(f"{path}:1: found bytes that are not UTF-8, expected names; save the file as UTF-8")
    if not has_rows:
        found = f"found no rows{'' if dialect.columns else ' below the header'}, expected at least one"
        raise InputError(f"{path}: {found}; write it again, or take it out of the splits")
    return list(names)


def check_columns(path: str, found: list[str], needed: dict[str, str], dialect: CsvFormat) -> None:
    """Raises InputError where a needed column is missing or stands twice."""
    for name, reason in needed.items():
        times = found.count(name)
        if times > 1:
            raise InputError(f"{path}: found column {name!r} {times} times, expected once; rename the others")
        if times == 0:
            lack = f"found no column {name!r}, expected it for {reason}"
            raise InputError(f"{path}: {lack}; {_advice(name, found, dialect)}")


def _advice(name: str, found: list[str], dialect: CsvFormat) -> str:
    close = difflib.get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    columns = ", ".join(found[:12])[:300] + (f", ... ({len(found)} columns)" if len(found) > 12 else "")
    if dialect.columns:
        return f"{hint}csv.columns has: {columns}"
    if len(found) == 1:
        return f"the file has one column, {found[0][:60]!r}: set csv.delimiter to what separates its cells"
    return f"{hint}The file has: {columns}. If it has no header line, name its columns in csv.columns"


@contextmanager
def open_text(path: str) -> Iterator[TextIO]:
    """Opens a CSV file for Python's csv reader; a byte that is not UTF-8 becomes one of U+DC80 to U+DCFF.

    Raises:
        InputError: it cannot be opened.
    """
    opener: Any = gzip.open if path.endswith(".gz") else open
    try:
        text = opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    with text:
        yield text


def line_of(path: str, row: int, dialect: CsvFormat) -> int | None:
    """The line on which a data row (counted from 1) ends, for an error; None where it cannot be told."""
    wanted = row if dialect.columns else row + 1
    try:
        with open_text(path) as text:
            reader = csv.reader(text, delimiter=dialect.delimiter)
            for cells in reader:
                wanted -= bool(cells)
                if wanted == 0:
                    return reader.line_num
    except _UNREADABLE:
        pass
    return None


def row_error(path: str, row: int, dialect: CsvFormat, message: str) -> InputError:
    """An error about a data row, counted from 1; `message` says what was found and expected, and the cure."""
    line = line_of(path, row, dialect)
    return InputError(f"{path}:{line}: row {row}: {message}" if line else f"{path}: row {row}: {message}")


def shown(value: str | bytes) -> str:
    """A cell for an error message: quoted, on one line, cut to 60 characters."""
    text = repr(value) if isinstance(value, str) else repr(value)[1:]
    return text if len(text) <= 60 else f"{text[:57]}..."
