"""Columns of cells, as files have them, as a model's inputs: exactly as ingestion makes training rows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cetnet_keras.cells.conversions import (
    FLOAT,
    TEXT,
    TEXT_LIST,
    WHOLE,
    WHOLE_LIST,
    Conversion,
    conversion_of,
    vector,
)
from cetnet_keras.cells.messages import misfit, type_text
from cetnet_keras.cells.parsing import parse_column
from cetnet_keras.cells.scalars import UnfitType, is_list
from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec
from serving.csv_rows import CsvRows, Row
from serving.metadata import TensorInfo
from serving.rows import refuse_missing

_SCALARS = {"string": TEXT, "int32": WHOLE, "int64": WHOLE, "float": FLOAT}
_LISTS = {"string": TEXT_LIST, "int64": WHOLE_LIST}


class CellInputs:
    """Picks a signature's inputs out of columns of cells and converts them as ingestion does.

    What a cell means is said by the data spec, or, where none is given, by the type and shape that the model takes:
    text, whole number, number, or a list of them. Inputs of other types are taken as they are.

    Args:
        path: of the file, for messages.
        columns: the names of all that it has.
        inputs: the signature's inputs.
        spec: what the columns mean.
    Raises:
        InputError: a column is missing, or there twice.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], inputs: Mapping[str, TensorInfo], spec: DataSpec | None
    ) -> None:
        cure = "add it, or rename the column that is meant"
        if spec is not None and any(name in spec.histories for name in inputs if name not in columns):
            cure = "a history is not built here: add what the row's own is, as one text"
        refuse_missing(path, columns, inputs, cure)
        twice = [name for name in inputs if columns.count(name) > 1]
        if twice:
            raise InputError(f"{path}: two columns are called {twice[0]}; rename one of both")
        self._path, self.names, self._has_spec = path, list(inputs), spec is not None
        self._conversions = {name: _conversion(name, info, spec) for name, info in inputs.items()}

    def table(self, columns: Mapping[str, Any], place: Callable[[int], str]) -> pa.Table:
        """What the model is asked with, as an Arrow table.

        Args:
            columns: an Arrow array [N] for each of `names`.
            place: says of a row where it is, by its position in these arrays.
        Raises:
            InputError: a cell, or a column's type, does not fit.
        """
        return pa.table({name: self._converted(name, columns[name], place) for name in self.names})

    def _converted(self, name: str, cells: pa.Array, place: Callable[[int], str]) -> pa.Array:
        conversion = self._conversions[name]
        if conversion is None:
            return cells
        try:
            if not self._has_spec and not _same_depth(cells.type, conversion):
                raise UnfitType(str(cells.type))  # a spec may say what joins a list, or divides a text
            values, bad = parse_column(cells, conversion.parse)
        except (UnfitType, pa.ArrowNotImplementedError) as error:
            cure = "convert the column"
            if not self._has_spec:
                cure += ", or name the data spec with --data, which says what it means"
            found = "text" if pa.types.is_binary(cells.type) else type_text(cells.type)
            message = f"column {name}: found {found}, expected {conversion.expected}; {cure}"
            raise InputError(f"{self._path}: {message}") from error
        if bad:
            message = misfit(name, cells[bad[0] : bad[0] + 1], conversion)
            raise InputError(f"{self._path}: {place(bad[0])}: {message}")
        return values


class CsvInputs:
    """The inputs of a signature out of the rows of a CSV file, by its data spec; see `CellInputs`."""

    def __init__(self, source: CsvRows, inputs: Mapping[str, TensorInfo], spec: DataSpec) -> None:
        self._source = source
        self._inputs = CellInputs(source.path, list(source.places), inputs, spec)

    def table(self, batch: Sequence[Row]) -> pa.Table:
        """What the model is asked with. Raises InputError where a cell does not fit."""
        columns = {name: self._column(batch, name) for name in self._inputs.names}
        return self._inputs.table(columns, lambda position: batch[position].place)

    def _column(self, batch: Sequence[Row], name: str) -> pa.Array:
        """[N] the bytes of the cells, or lists of them where there are several a row."""
        first, count = self._source.places[name]
        cells = [[cell.encode() for cell in row.cells[first : first + count]] for row in batch]
        if count > 1:
            return pa.array(cells, pa.list_(pa.binary()))
        return pa.array([cell for (cell,) in cells], pa.binary())


def _conversion(name: str, info: TensorInfo, spec: DataSpec | None) -> Conversion | None:
    if spec is not None and name in spec.raw_types:
        return conversion_of(spec.features[name])
    shape = info.shape or ()
    if len(shape) == 1:
        return _SCALARS.get(info.dtype)
    if len(shape) == 2 and info.dtype == "float":
        return vector(shape[1], " ") if shape[1] > 0 else None
    return _LISTS.get(info.dtype) if len(shape) == 2 else None


def _same_depth(kind: pa.DataType, conversion: Conversion) -> bool:
    """Whether cells of this type are lists where lists become of them, and single values where these do."""
    return pa.types.is_null(kind) or is_list(kind) == is_list(conversion.parse(pa.nulls(0)).type)
