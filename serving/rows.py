"""Cells of a CSV file as a model's inputs, and the model's outputs as columns beside them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from cetnet_keras.errors import InputError
from serving.csv_rows import NO_HEADER, CsvRows, Row, csv_options
from serving.metadata import MISSING, TensorInfo

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT_RANGES = {"int32": 2**31, "int64": 2**63}


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
        refuse_missing(path, columns, inputs, NO_HEADER)
        self._readers = []
        for name, info in inputs.items():
            if info.dtype not in ("string", "float", "double", "int32", "int64") or not info.accepts((1,)):
                raise InputError(
                    f"input {name} of the model is {info.dtype} of shape {info.shape}; "
                    "the cells of a CSV file fill string, float and integer inputs of shape [batch] only, "
                    "and others where --data names the data spec, which says how"
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
                where = f"{self._path}: {row.place}, column {name}"
                raise InputError(f"{where}: found {cell!r}, expected {error}") from None
        return np.array(values, dtype={"float": np.float32, "double": np.float64}.get(dtype, dtype))


def refuse_missing(path: Path, columns: Sequence[str], inputs: Iterable[str], cure: str) -> None:
    """Raises InputError where a file lacks a column that the model takes."""
    missing = [name for name in inputs if name not in columns]
    if missing:
        found = f"column {', '.join(missing)} is missing; the model takes {', '.join(inputs)}"
        raise InputError(f"{path}: {found}; {cure}")


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
        prefix: put before each name, for rows that have such columns.
    """

    def __init__(self, path: Path, taken: Sequence[str], prefix: str) -> None:
        self._path, self._taken, self._prefix = path, taken, prefix
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
        columns = {self._prefix + name: values for name, values in columns.items()}
        twice = [name for name in columns if name in self._taken]
        if twice:
            cure = "another --prefix" if self._prefix else "the predictions other names: --prefix predicted_"
            found = f"there is a column {twice[0]} already"
            raise InputError(f"{self._path}: {found}; rename it, take it out, or give {cure}")
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
    """Writes rows with the predictions' columns after their own ones, in their dialect and with a header line.

    Args:
        file: text file to write to.
        source: where the rows are from.
        prefix: of the predictions' columns.
    """

    def __init__(self, file: IO[str], source: CsvRows, prefix: str = "") -> None:
        self._writer = csv.writer(file, lineterminator="\n", **csv_options(source.dialect))
        self._source = source
        self._predictions = PredictionColumns(source.path, source.columns, prefix)
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
