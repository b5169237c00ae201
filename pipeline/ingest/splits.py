"""Which split a row belongs to: by a hash of a cell, by its time, or by its time among rows of one value."""

import hashlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from cetnet_keras.cells.times import TIME_KEY
from cetnet_keras.spec import RowSplits
from pipeline.ingest.files import EVAL, TEST, TRAIN


def stable_hash(text: pa.Array) -> np.ndarray:
    """A hash of each text: [N] uint64, an 8 byte BLAKE2b, the same on every machine and in every run."""
    encoded = text.dictionary_encode()  # hashed once a distinct value
    values = encoded.dictionary.to_pylist()
    digests = (hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values)
    hashes = np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64, len(values))
    return hashes[encoded.indices.to_numpy()]


def below(text: pa.Array, share: float) -> np.ndarray:
    """[N] bool: the rows whose value is in a share (0 to 1) of all values; equal values go together."""
    return stable_hash(text) < np.uint64(min(int(share * 2.0**64), 2**64 - 1))


def split_by_hash(text: pa.Array, splits: RowSplits) -> np.ndarray:
    """[N] uint8 split bits by a hash of the value: independent of the order of rows and files."""
    held_out = below(text, splits.test + splits.eval)
    return np.where(below(text, splits.test), TEST, np.where(held_out, EVAL, TRAIN)).astype(np.uint8)


class TimeCuts(NamedTuple):
    """The first time (as a key) of eval and of test; rows before both are train."""

    eval: bytes
    test: bytes

    def split(self, times: np.ndarray) -> np.ndarray:
        """[N] uint8 split bits of rows with these time keys."""
        test, held_out = times >= np.array(self.test, TIME_KEY), times >= np.array(self.eval, TIME_KEY)
        return np.where(test, TEST, np.where(held_out, EVAL, TRAIN)).astype(np.uint8)


class TimeCounts(NamedTuple):
    """How many rows each time has; times are distinct and ascending."""

    times: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray) -> "TimeCounts":
        """Counts the rows of a batch."""
        return cls(*np.unique(times, return_counts=True))

    @classmethod
    def merged(cls, parts: list["TimeCounts"]) -> "TimeCounts":
        """The counts of several batches as one; of none where all rows are left out."""
        parts = parts or [cls(np.zeros(0, TIME_KEY), np.zeros(0, np.int64))]
        times, position = np.unique(np.concatenate([part.times for part in parts]), return_inverse=True)
        rows = np.bincount(position, np.concatenate([part.rows for part in parts]), len(times))
        return cls(times, rows.astype(np.int64))

    def cuts(self, splits: RowSplits) -> TimeCuts:
        """Cuts so that the latest `test` share of the rows is test and the `eval` share before it is eval.

        The shares are exact quantiles, rounded to whole rows (half a row is left to the earlier side). Rows
        of one time stay together, on the later side: with whole days as times test is the last day or more,
        and never nothing.
        """
        if not len(self.rows):
            return TimeCuts(_NEVER, _NEVER)
        after = np.cumsum(self.rows[::-1])[::-1]  # rows at this time or later
        for_test, for_both = _nearest(after[0] * np.array([splits.test, splits.test + splits.eval]))
        test = _latest(after, for_test)
        in_test = after[test] if test < len(after) else 0
        held_out = _latest(after, in_test + for_both - for_test)
        return TimeCuts(*(bytes(self.times[i]) if i < len(after) else _NEVER for i in (held_out, test)))


_NEVER = b"\xff" * np.dtype(TIME_KEY).itemsize  # after every time


def _nearest(rows: np.ndarray) -> np.ndarray:
    return np.ceil(np.round(rows, 6) - 0.5).astype(np.int64)  # rounded first: 0.2 + 0.1 is a little above 0.3


def _latest(after: np.ndarray, wanted: int) -> int:
    """The latest time from which on there are at least `wanted` rows; past the end if none are wanted."""
    if wanted <= 0:
        return len(after)
    return len(after) - 1 - int(np.searchsorted(after[::-1], min(wanted, after[0])))


def split_within(code: np.ndarray, time: np.ndarray, splits: RowSplits) -> np.ndarray:
    """[N] uint8 split bits: the rows of each value are cut on their own, by the rules of `TimeCounts.cuts`.

    Args:
        code: [N] int64, which value a row has.
        time: [N] integers or keys that sort as the times do.
    """
    order = np.lexsort((time, code))
    code, time = code[order], time[order]
    run = run_starts(code, time)
    start, rows = np.unique(code, return_index=True, return_counts=True)[1:]  # of each value
    end, last = start + rows, len(run) - 1
    for_test, for_both = _nearest(rows * splits.test), _nearest(rows * (splits.test + splits.eval))
    test = end - for_test
    test = np.where(test < end, run[np.minimum(test, last)], end)  # from where its time begins
    held_out = np.maximum(test - (for_both - for_test), start)
    held_out = np.where(held_out < test, run[np.minimum(held_out, last)], test)
    place = np.arange(len(code))
    bits = np.empty(len(code), np.uint8)
    is_test, is_held_out = place >= np.repeat(test, rows), place >= np.repeat(held_out, rows)
    bits[order] = np.where(is_test, TEST, np.where(is_held_out, EVAL, TRAIN))
    return bits


def run_starts(*columns: np.ndarray) -> np.ndarray:
    """[N] int64: where the run of each position of sorted columns begins; in a run all columns are equal."""
    position = np.arange(len(columns[0]))
    changed = np.zeros(len(position), bool)
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return np.maximum.accumulate(np.where(changed, position, 0))
