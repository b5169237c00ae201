"""Turns the cells of a file into typed rows. Types come from the spec alone, never from what a file holds."""

from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cetnet_keras.cells.conversions import TEXT, WHOLE, Conversion, a_date, conversions
from cetnet_keras.cells.messages import misfit, shown
from cetnet_keras.cells.parsing import parse_column
from cetnet_keras.cells.scalars import as_digits, as_text, one_a_row
from cetnet_keras.cells.times import A_TIME, time_keys
from cetnet_keras.formats import format_of
from cetnet_keras.spec import (
    ROW_KEY,
    DataSpec,
    FileSplits,
    HoldOut,
    RowSplits,
    SequenceFeature,
    TimestampFeature,
)
from pipeline.ingest.bad_rows import BadRows
from pipeline.ingest.batches import Batch, Fault
from pipeline.ingest.checks import needed_columns
from pipeline.ingest.files import EVAL, TRAIN, SourceFile
from pipeline.ingest.reading import read_batches
from pipeline.ingest.splits import TimeCounts, TimeCuts, below, split_by_hash

# Columns that only ingestion sees; a feature's name has no slash, so none is hidden by them.
SPLIT, KEY, TIME, TOKEN, COLLECTED, HASHED = "split/", "key/", "time/", "token/", "collected/", "hashed/"
ROW_BITS = 40  # a row's key is its file's index shifted by these, plus its number in the file


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


class RowReader:
    """Reads files into record batches of typed rows.

    A batch has a column for each feature that a file holds, the label, the group, the weight and the id columns, as
    `conversions` makes them, ROW_KEY, and the columns that only ingestion sees: the split bits, and the keys, times and
    tokens that histories and splits work with.

    Args:
        allowed: bad rows that may be left out of all files together.
    """

    def __init__(self, spec: DataSpec, allowed: int = 0) -> None:
        self._spec, self._allowed = spec, allowed
        self._needed = list(needed_columns(spec))
        self._of_examples, self._of_cells = conversions(spec, True), conversions(spec)
        self._shuffles = shuffles(spec)
        times = [str(history.time) for history in spec.histories.values()]
        if isinstance(spec.splits, RowSplits) and spec.splits.by == "time":
            times.append(spec.splits.column)
        self._times = {name: _time(spec, name) for name in times}
        self._hashed = _hashed_column(spec)

    def times(self, file: SourceFile, column: str) -> Iterator[TimeCounts]:
        """How many rows each time of a column has, batch by batch; rows that are left out do not count.

        Raises:
            InputError: the first cell that is no time, if no bad row is allowed.
        """
        bad_rows = BadRows(self._allowed)
        if self._allowed:  # then it has to be known which rows are bad
            for rows in self.rows(file, None, bad_rows):
                yield TimeCounts.of(as_time_keys(rows.column(rows.schema.get_field_index(TIME + column))))
            return
        for batch in self._read(file, [column], bad_rows, self._parse_times):
            yield TimeCounts.of(as_time_keys(batch[1][TIME + column]))

    def rows(self, file: SourceFile, cuts: TimeCuts | None, bad_rows: BadRows) -> Iterator[pa.RecordBatch]:
        """The typed rows of a file, in its order; it ends early where there are too many bad rows, which are counted.

        Args:
            cuts: where all rows are cut by their time, if the spec says so.
        Raises:
            InputError: the first bad row, if none is allowed.
        """
        for batch, columns in self._read(file, self._needed, bad_rows, self._parse):
            columns[SPLIT] = pa.array(self._splits(batch, file, columns, cuts), pa.uint8())
            columns[ROW_KEY] = pa.array((file.index << ROW_BITS) + batch.number)
            yield pa.RecordBatch.from_arrays(list(columns.values()), list(columns))

    def _read(
        self,
        file: SourceFile,
        needed: list[str],
        bad_rows: BadRows,
        parse: Callable[..., dict[str, pa.Array]],
    ) -> Iterator[tuple[Batch, dict[str, pa.Array]]]:
        """Batches of sound rows and what `parse` makes of their columns."""
        limit = self._allowed + 1
        for batch in read_batches(file.path, needed, self._spec.csv, limit):
            found = _Faults(batch, limit)
            columns = parse(batch.columns, found, file) if len(batch.number) else {}
            bad_rows.add(file, [*batch.faults, *found.of_rows()])
            if bad_rows.too_many:
                if not self._allowed:
                    bad_rows.refuse(self._spec.csv)
                return  # the refusal comes when the bad rows of all files are known, and names the first
            if found.messages:
                keep = np.ones(len(batch.number), bool)
                keep[list(found.messages)] = False
                batch = batch.take(keep)
                columns = parse(batch.columns, _Faults(batch, limit), file)
            if len(batch.number):
                yield batch, columns

    def _parse(self, cells: dict[str, pa.Array], faults: "_Faults", file: SourceFile) -> dict[str, pa.Array]:
        of_format = self._of_examples if format_of(file.path) == "TFRecord" else self._of_cells
        columns = {name: faults.parsed(name, conversion) for name, conversion in of_format.items()}
        columns |= self._parse_times(cells, faults, file)
        for shuffle in self._shuffles:
            columns[KEY + shuffle.key] = faults.parsed(shuffle.key, _KEY)
        if self._hashed is not None:
            columns[HASHED] = faults.parsed(self._hashed, _KEY)
        collectable = dict.fromkeys(str(history.of) for history in self._spec.histories.values())
        texts = {column: faults.parsed(column, _KEY) for column in collectable}
        for name, history in self._spec.histories.items():
            columns |= self._collected(name, history, texts, faults)
        return columns

    def _parse_times(
        self, cells: dict[str, pa.Array], faults: "_Faults", file: SourceFile
    ) -> dict[str, pa.Array]:
        return {
            TIME + name: faults.parsed(name, conversion)
            for name, conversion in self._times.items()
            if name in cells
        }

    def _collected(
        self, name: str, history: SequenceFeature, texts: dict[str, pa.Array], faults: "_Faults"
    ) -> dict[str, pa.Array]:
        of = str(history.of)
        tokens = texts[of]
        if history.dtype == "int64":
            faults.parsed(of, WHOLE)
        present = [pc.not_equal(texts[column], "") for column in _in_step(self._spec, history)]
        collected = reduce(pc.or_kleene, present)  # a text is null where others of its column are bad
        for column, value in history.where.items():
            collected = pc.and_(collected, faults.parsed(column, _where(value)))
        split_up = pc.and_(collected, pc.match_substring(tokens, history.separator))
        expected = f"expected no {history.separator!r} in it, the separator of features.{name}"
        for position in np.flatnonzero(split_up.fill_null(False).to_numpy(zero_copy_only=False)):
            found = f"column {of}: found {shown(tokens[int(position)].as_py())}"
            faults.add(int(position), f"{found}, {expected}; choose another separator")
        return {TOKEN + name: tokens.cast(pa.binary()), COLLECTED + name: collected}

    def _splits(
        self, batch: Batch, file: SourceFile, columns: dict[str, pa.Array], cuts: TimeCuts | None
    ) -> np.ndarray:
        splits, rows, hashed = self._spec.splits, len(batch.number), columns.pop(HASHED, None)
        if isinstance(splits, FileSplits):
            bits = np.full(rows, file.splits, np.uint8)
            if isinstance(splits.eval, HoldOut) and file.splits & TRAIN:
                bits[below(hashed, splits.eval.fraction)] ^= TRAIN | EVAL
            return bits
        if isinstance(splits, RowSplits) and splits.by == "hash":
            return split_by_hash(hashed, splits)
        if isinstance(splits, RowSplits) and cuts is not None:
            return cuts.split(as_time_keys(columns[TIME + splits.column]))
        return np.zeros(rows, np.uint8)  # cut within each value of a column, after the shuffle


class _Faults:
    """Parses the columns of a batch and keeps what does not fit: a message for each bad row, its first column's."""

    def __init__(self, batch: Batch, limit: int) -> None:
        self._batch, self._limit = batch, limit
        self.messages: dict[int, str] = {}  # by the position in the batch

    def parsed(self, name: str, conversion: Conversion) -> pa.Array:
        """The values of a column; nulls where a cell does not fit, since the rows are parsed again without it."""
        cells = self._batch.columns[name]
        values, bad = parse_column(cells, conversion.parse, self._limit)
        for position in bad:
            self.add(position, misfit(name, cells[position : position + 1], conversion))
        return pa.nulls(len(cells), conversion.parse(cells[:0]).type) if bad else values

    def add(self, position: int, message: str) -> None:
        self.messages.setdefault(position, message)

    def of_rows(self) -> list[Fault]:
        return [Fault(int(self._batch.number[place]), text) for place, text in self.messages.items()]


def as_time_keys(column: pa.Array) -> np.ndarray:
    """[N] time keys of a column of times."""
    width = column.type.byte_width
    return np.frombuffer(column.buffers()[1], f"S{width}", len(column), column.offset * width)


def _in_step(spec: DataSpec, history: SequenceFeature) -> list[str]:
    """The columns of one behaviour: a row with a token in any of them has a position in the histories of all."""
    if history.align is None:
        return [str(history.of)]
    return [str(other.of) for other in spec.histories.values() if other.align == history.align]


def _hashed_column(spec: DataSpec) -> str | None:
    splits = spec.splits
    if isinstance(splits, RowSplits) and splits.by == "hash":
        return splits.column
    return splits.eval.column if isinstance(splits, FileSplits) and isinstance(splits.eval, HoldOut) else None


def _time(spec: DataSpec, name: str) -> Conversion:
    feature = spec.features.get(name)
    digits = isinstance(feature, TimestampFeature) and feature.format.startswith("%")
    layout = feature.format if isinstance(feature, TimestampFeature) and digits else None

    def parse(column: pa.Array) -> pa.Array:
        keys = time_keys(as_text(column) if layout else as_digits(column), layout)
        buffers = [None, pa.py_buffer(keys)]
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(keys.itemsize), len(keys), buffers)

    return Conversion(parse, a_date(layout) if layout else A_TIME)


def _where(value: str | int | float) -> Conversion:
    return Conversion(partial(_equals, value), TEXT.expected)


def _equals(value: str | int | float, column: pa.Array) -> pa.Array:
    """Whether a cell is the text `value`, or a number equal to the number `value`."""
    column = one_a_row(column)
    if isinstance(value, str):
        return pc.equal(as_text(column), value)
    if not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        column = column.cast(pa.string()) if pa.types.is_floating(column.type) else as_text(column)
    encoded = column.dictionary_encode()  # compared once a distinct value
    distinct = [_equal(cell, value) for cell in encoded.dictionary.to_pylist()]
    return pa.array(distinct, pa.bool_()).take(encoded.indices).fill_null(False)


def _equal(cell: str | int | bool, value: int | float) -> bool:
    for kind in (int, float):  # int first: a float would round large ids
        try:
            return bool(kind(cell) == value)
        except ValueError:
            continue
    return False


_KEY = Conversion(as_text, TEXT.expected)
