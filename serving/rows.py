"""Rows of a CSV file as a model's inputs, and the model's outputs as columns beside them."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from cetnet_keras.errors import InputError
from serving.metadata import MISSING, TensorInfo

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT_RANGES = {"int32": 2**31, "int64": 2**63}


class Row(NamedTuple):
    """A data row: its number counts from 1 after the header, its line is where it ends in the file."""

    number: int
    line: int
    cells: list[str]


class CsvRows:
    """A CSV file with a header, read row by row.

    Args:
        path: of the file, UTF-8 (a byte order mark is skipped).
    Raises:
        InputError: it is missing, empty, no UTF-8, or its header names a column twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); name a CSV file with a header"
            ) from error
        # not strict, an unclosed quote would swallow the rest of the file
        self._reader = csv.reader(self._lines(), strict=True)
        try:
            self.columns = self._header()
        except BaseException:
            self._file.close()
            raise

    def batches(self, size: int) -> Iterator[list[Row]]:
        """The rows, `size` at a time.

        Raises:
            InputError: a row is ragged or badly quoted, a byte is no UTF-8, or there is no row at all.
        """
        rows = self._rows()
        batch = list(itertools.islice(rows, size))
        if not batch:
            raise InputError(f"{self.path}: the file has a header and no rows; there is nothing to predict")
        while batch:
            yield batch
            batch = list(itertools.islice(rows, size))

    def __enter__(self) -> CsvRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _header(self) -> list[str]:
        columns = self._next_row()
        if not columns:
            raise InputError(f"{self.path}: the file is empty; the first line has to name the columns")
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise InputError(f"{self.path}: the header names column {twice[0]} twice; rename one of both")
        return columns

    def _lines(self) -> Iterator[str]:
        for number, line in enumerate(self._file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{line[error.start]:02x} at position {error.start + 1} of the line"
                raise InputError(
                    f"{self.path}: line {number}: {found} is not UTF-8; convert the file"
                ) from error

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
            cells = cells or [""]
            if len(cells) != width:
                where = f"{self.path}: row {number} (line {self._reader.line_num})"
                raise InputError(f"{where}: found {len(cells)} cells, the header has {width} columns")
            yield Row(number, self._reader.line_num, cells)


class RowInputs:
    """Picks a signature's inputs out of CSV rows; their types come from the model, never from the cells.

    Args:
        path: of the file, for messages.
        columns: its header.
        inputs: the signature's inputs, each of shape [batch].
    Raises:
        InputError: a column is missing, or an input is of a shape or type that a CSV cell cannot fill.
    """

    def __init__(self, path: Path, columns: Sequence[str], inputs: Mapping[str, TensorInfo]) -> None:
        self._path = path
        missing = [name for name in inputs if name not in columns]
        if missing:
            names = ", ".join(missing)
            raise InputError(f"{path}: column {names} is missing; the model takes {', '.join(inputs)}")
        self._readers = []
        for name, info in inputs.items():
            if info.dtype not in ("string", "float", "double", "int32", "int64") or not info.accepts((1,)):
                raise InputError(
                    f"input {name} of the model is {info.dtype} of shape {info.shape}; "
                    "the cells of a CSV file fill string, float and integer inputs of shape [batch] only"
                )
            self._readers.append((name, columns.index(name), info.dtype))

    def arrays(self, batch: Sequence[Row]) -> dict[str, np.ndarray]:
        """An array [rows] for each input; an empty cell is NaN, -1 or "", as the signatures take it.

        Raises:
            InputError: a cell is no number where the model takes one.
        """
        return {name: self._array(batch, name, index, dtype) for name, index, dtype in self._readers}

    def _array(self, batch: Sequence[Row], name: str, index: int, dtype: str) -> np.ndarray:
        cells = [row.cells[index] for row in batch]
        if dtype == "string":
            return np.array(cells, dtype=np.object_)
        values = []
        for row, cell in zip(batch, cells, strict=True):
            try:
                values.append(cell_value(cell, dtype))
            except ValueError as error:
                where = f"{self._path}: row {row.number} (line {row.line}), column {name}"
                raise InputError(f"{where}: found {cell!r}, expected {error}") from None
        return np.array(values, dtype={"float": np.float32, "double": np.float64}.get(dtype, dtype))


def cell_value(cell: str, dtype: str) -> Any:
    """What a text says to a model that takes `dtype`; an empty one is what the signatures take for missing.

    Raises:
        ValueError: it is no such value; the message is what was expected.
    """
    if dtype == "string":
        return cell
    return _integer(cell.strip(), dtype) if dtype in _INT_RANGES else _number(cell.strip())


def _integer(cell: str, dtype: str) -> int:
    if not cell:
        missing: int = MISSING["i"]
        return missing
    limit = _INT_RANGES[dtype]
    if not _INTEGER.fullmatch(cell) or not -limit <= int(cell) < limit:
        raise ValueError(f"an integer ({dtype}), or nothing where it is missing")
    return int(cell)


def _number(cell: str) -> float:
    if not cell:
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        value = float("inf")
    if "_" in cell or value in (float("inf"), float("-inf")):
        raise ValueError("a number, or nothing where it is missing")
    return value


class PredictionColumns:
    """Lays out a model's outputs as columns; the first batch decides which ones there are.

    `ctr` alone, or with the members' view: ctr_<member>, fusion_weight_<member> and confidence_<member> for
    each of them. Members are called as in outputs named ctr_<member>, or 1, 2, ... if the model has none.

    Args:
        path: of the rows, for messages.
        taken: the columns that the rows have already.
    """

    def __init__(self, path: Path, taken: Sequence[str]) -> None:
        self._path, self._taken = path, taken
        self._members: list[str] = []

    def of(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """An array [rows] for each column.

        Raises:
            InputError: the model gives no ctr of shape [batch], or the rows have a column of such a name.
        """
        if "ctr" not in outputs or outputs["ctr"].ndim != 1:
            raise InputError(
                f"the model's signature gives {', '.join(sorted(outputs))}; expected ctr of shape [batch]"
            )
        columns = {"ctr": outputs["ctr"]}
        if "member_ctr" in outputs:
            self._members = self._members or _member_names(outputs)
            for output, prefix in (
                ("member_ctr", "ctr"),
                ("fusion_weight", "fusion_weight"),
                ("confidence", "confidence"),
            ):
                for index, member in enumerate(self._members):
                    columns[f"{prefix}_{member}"] = outputs[output][:, index]
        twice = [name for name in columns if name in self._taken]
        if twice:
            raise InputError(f"{self._path}: there is a column {twice[0]} already; rename it, or take it out")
        return columns


def _member_names(outputs: Mapping[str, np.ndarray]) -> list[str]:
    """Which member has which column is told by the values: ctr_<member> is its column of member_ctr."""
    named = {name.removeprefix("ctr_"): array for name, array in outputs.items() if name.startswith("ctr_")}
    names = []
    for number, column in enumerate(outputs["member_ctr"].T, 1):
        same = [name for name, array in named.items() if np.array_equal(array, column)]
        names.append(same[0] if len(same) == 1 else str(number))
    return names


class PredictionWriter:
    """Writes rows with the predictions' columns after their own ones.

    Args:
        file: text file to write to.
        source: where the rows are from.
    """

    def __init__(self, file: IO[str], source: CsvRows) -> None:
        self._writer, self._source = csv.writer(file, lineterminator="\n"), source
        self._predictions = PredictionColumns(source.path, source.columns)
        self._header_written = False

    def write(self, batch: Sequence[Row], outputs: Mapping[str, np.ndarray]) -> None:
        """Writes a batch.

        Raises:
            InputError: the model gives no ctr, or a column of the file has the name of a prediction.
        """
        columns = self._predictions.of(outputs)
        if not self._header_written:
            self._writer.writerow([*self._source.columns, *columns])
            self._header_written = True
        cells = zip(*(map(str, column) for column in columns.values()), strict=True)
        self._writer.writerows([*row.cells, *added] for row, added in zip(batch, cells, strict=True))
