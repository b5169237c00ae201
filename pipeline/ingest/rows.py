"""Turns the text of a file into typed rows. Types come from the spec alone, never from what a file holds."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cetnet_keras.spec import ROW_KEY, BagFeature, DataSpec, FileSplits, HoldOut, RowSplits, SequenceFeature
from pipeline.ingest.files import EVAL, TRAIN, SourceFile, needed_columns, row_error, shown
from pipeline.ingest.parsing import parse_column
from pipeline.ingest.reading import read_batches
from pipeline.ingest.splits import TimeCounts, TimeCuts, below, split_by_hash
from pipeline.ingest.times import EXPECTED as A_TIME
from pipeline.ingest.times import time_keys

# Columns that only ingestion sees; a feature's name has no slash, so none is hidden by them.
SPLIT, KEY, TIME, TOKEN, COLLECTED = "split/", "key/", "time/", "token/", "collected/"
ROW_BITS = 40  # a row's key is its file's index shifted by these, plus its number in the file

_EXPECTED = {
    "int64": "a whole number such as 7, or an empty cell",
    "tokens": "whole numbers such as 7 between its separators, or an empty cell",
    "float32": "a number up to 3.4e38 either way, or an empty cell",
    "label": "0 or 1",
    "time": A_TIME,
}


class Shuffle(NamedTuple):
    """What needs all rows with one value of `key` together."""

    key: str
    histories: dict[str, SequenceFeature]
    within: RowSplits | None


def shuffles(spec: DataSpec) -> list[Shuffle]:
    """The shuffles that a spec needs, one for each key column: for histories and splits within a value."""
    within = spec.splits if isinstance(spec.splits, RowSplits) and spec.splits.within is not None else None
    keys = [history.by for history in spec.histories.values()] + ([within.within] if within else [])
    return [
        Shuffle(
            key,
            {name: history for name, history in spec.histories.items() if history.by == key},
            within if within and within.within == key else None,
        )
        for key in dict.fromkeys(keys)
        if key is not None
    ]


class _Fault(NamedTuple):
    offset: int  # of the row in its batch
    message: str


class RowReader:
    """Reads files into record batches of typed rows.

    A batch has a flat column for each feature that a file holds (string as binary; int64 and float32 with
    nulls for empty cells, float32 for NaN too), the label (int64), the group, ROW_KEY, and the columns that
    only ingestion sees: the split bits, and the keys, times and tokens that histories and splits work with.
    """

    def __init__(self, spec: DataSpec) -> None:
        self._spec = spec
        self._needed = needed_columns(spec)
        self._shuffles = shuffles(spec)
        self._times = dict.fromkeys(str(history.time) for history in spec.histories.values())
        if isinstance(spec.splits, RowSplits) and spec.splits.by == "time":
            self._times[spec.splits.column] = None

    def times(self, file: SourceFile, column: str) -> Iterator[TimeCounts]:
        """How many rows each time of a column has, batch by batch.

        Raises:
            InputError: the first cell that is no time.
        """
        row = 1
        for text in read_batches(file.path, {column: self._needed[column]}, self._spec.csv):
            keys, failed = time_keys(text.column(0))
            if failed is not None:
                self._refuse([_cell_fault(text, column, failed, "time")], file, row)
            yield TimeCounts.of(keys)
            row += text.num_rows

    def rows(self, file: SourceFile, cuts: TimeCuts | None) -> Iterator[pa.RecordBatch]:
        """The typed rows of a file, in its order.

        Args:
            cuts: where all rows are cut by their time, if the spec says so.
        Raises:
            InputError: the first row of a batch with a cell that does not fit its type.
        """
        row = 1
        for text in read_batches(file.path, self._needed, self._spec.csv):
            faults: list[_Fault] = []
            columns = self._values(text, faults) | self._for_shuffles(text, faults)
            self._refuse(faults, file, row)
            columns[SPLIT] = pa.array(self._splits(text, file, columns, cuts), pa.uint8())
            numbers = np.arange(row, row + text.num_rows, dtype=np.int64)
            columns[ROW_KEY] = pa.array((file.index << ROW_BITS) + numbers)
            yield pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
            row += text.num_rows

    def _refuse(self, faults: list[_Fault], file: SourceFile, first_row: int) -> None:
        if faults:
            fault = min(faults, key=lambda fault: fault.offset)
            raise row_error(file.path, first_row + fault.offset, self._spec.csv, fault.message)

    def _values(self, text: pa.RecordBatch, faults: list[_Fault]) -> dict[str, pa.Array]:
        spec = self._spec
        kinds = {name: str(kind) for name, kind in spec.raw_types.items() if name not in spec.histories}
        whole = {
            name: feature.separator
            for name, feature in spec.features.items()
            if isinstance(feature, SequenceFeature | BagFeature)
            and feature.dtype == "int64"
            and name in kinds
        }
        kinds |= dict.fromkeys(whole, "tokens")
        kinds[spec.label] = "label"
        if spec.group is not None:
            kinds.setdefault(spec.group, "string")
        columns = {}
        for name, kind in kinds.items():
            parse = partial(_whole_tokens, whole[name]) if name in whole else _PARSERS[kind]
            columns[name], failed = parse_column(_column(text, name), parse)
            if failed is not None:
                faults.append(_cell_fault(text, name, failed, kind))
        return columns

    def _for_shuffles(self, text: pa.RecordBatch, faults: list[_Fault]) -> dict[str, pa.Array]:
        columns = {KEY + shuffle.key: _column(text, shuffle.key) for shuffle in self._shuffles}
        for name in self._times:
            keys, failed = time_keys(_column(text, name))
            columns[TIME + name] = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(keys.itemsize), len(keys), [None, pa.py_buffer(keys)]
            )
            if failed is not None:
                faults.append(_cell_fault(text, name, failed, "time"))
        for name, history in self._spec.histories.items():
            tokens = _column(text, str(history.of))
            collected = pc.not_equal(tokens, "")
            for column, value in history.where.items():
                collected = pc.and_(collected, _equals(_column(text, column), value))
            columns[TOKEN + name], columns[COLLECTED + name] = tokens.cast(pa.binary()), collected
            failed = parse_column(tokens, _wholes)[1] if history.dtype == "int64" else None
            if failed is not None:
                faults.append(_cell_fault(text, str(history.of), failed, "int64"))
            split_up = pc.and_(collected, pc.match_substring(tokens, history.separator))
            failed = pc.index(split_up, True).as_py()
            if failed >= 0:
                found = f"column {history.of}: found {shown(tokens[failed].as_py())}"
                expected = f"expected no {history.separator!r} in it, the separator of features.{name}"
                faults.append(_Fault(failed, f"{found}, {expected}; choose another separator"))
        return columns

    def _splits(
        self, text: pa.RecordBatch, file: SourceFile, columns: dict[str, pa.Array], cuts: TimeCuts | None
    ) -> np.ndarray:
        splits = self._spec.splits
        if isinstance(splits, FileSplits):
            bits = np.full(text.num_rows, file.splits, np.uint8)
            if isinstance(splits.eval, HoldOut) and file.splits & TRAIN:
                held_out = below(_column(text, splits.eval.column), splits.eval.fraction)
                bits[held_out] ^= TRAIN | EVAL
            return bits
        if isinstance(splits, RowSplits) and splits.by == "hash":
            return split_by_hash(_column(text, splits.column), splits)
        if isinstance(splits, RowSplits) and cuts is not None:
            return cuts.split(as_time_keys(columns[TIME + splits.column]))
        return np.zeros(text.num_rows, np.uint8)  # cut within each value of a column, after the shuffle


def as_time_keys(column: pa.Array) -> np.ndarray:
    """[N] time keys of a column of times."""
    width = column.type.byte_width
    return np.frombuffer(column.buffers()[1], f"S{width}", len(column), column.offset * width)


def _column(text: pa.RecordBatch, name: str) -> pa.Array:
    return text.column(text.schema.get_field_index(name))


def _cell_fault(text: pa.RecordBatch, name: str, offset: int, kind: str) -> _Fault:
    cell = _column(text, name)[offset].as_py()
    found = shown(cell) if cell else "an empty cell"
    cure = "correct the cell or remove the row"
    if cell == name:
        cure = "remove this header line, or csv.columns from the data spec if it names the columns again"
    return _Fault(offset, f"column {name}: found {found}, expected {_EXPECTED[kind]}; {cure}")


def _without_empty(text: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)


def _wholes(text: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("hexadecimal")  # which Arrow would read
    return _without_empty(text).cast(pa.int64())


def _whole_tokens(separator: str, text: pa.Array) -> pa.Array:
    _wholes(pc.list_flatten(pc.split_pattern(text, separator)))
    return text.cast(pa.binary())


def _floats(text: pa.Array) -> pa.Array:
    number = _without_empty(text).cast(pa.float64()).cast(pa.float32())
    if pc.any(pc.is_inf(number)).as_py():
        raise pa.ArrowInvalid("infinite, or too large for float32")
    return pc.if_else(pc.is_nan(number), pa.scalar(None, pa.float32()), number)


def _labels(text: pa.Array) -> pa.Array:
    position = pc.index_in(text, pa.array(["0", "1", "0.0", "1.0"]))
    if position.null_count:
        raise pa.ArrowInvalid("not a label")
    return pc.bit_wise_and(position, 1).cast(pa.int64())


_PARSERS = {
    "string": lambda text: text.cast(pa.binary()),
    "int64": _wholes,
    "float32": _floats,
    "label": _labels,
}


def _equals(text: pa.Array, value: str | int | float) -> pa.Array:
    """Whether a cell is the text `value`, or a number equal to the number `value`."""
    encoded = text.dictionary_encode()
    distinct = [_equal(cell, value) for cell in encoded.dictionary.to_pylist()]
    return pa.array(distinct, pa.bool_()).take(encoded.indices)


def _equal(cell: str, value: str | int | float) -> bool:
    if isinstance(value, str):
        return cell == value
    for kind in (int, float):  # int first: a float would round large ids
        try:
            return bool(kind(cell) == value)
        except ValueError:
            continue
    return False
