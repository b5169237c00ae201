"""Histories: for each row the tokens of earlier rows with the same key, joined into one string."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.splits import run_starts


class Histories(NamedTuple):
    """The histories of N rows as ranges of one long string, so that none is copied before it is asked for.

    `joined` holds the tokens of all keys, one key after another, oldest first, with the separator between
    any two: the most recent tokens of a key before some time are a range of it.
    """

    joined: bytes
    start: np.ndarray
    end: np.ndarray

    def of(self, rows: slice) -> pa.Array:
        """The histories of some rows: binary, empty for a row without one."""
        bounds = zip(self.start[rows].tolist(), self.end[rows].tolist(), strict=True)
        return pa.array([self.joined[start:end] for start, end in bounds], pa.binary())


def histories(
    key: np.ndarray, time: np.ndarray, token: pa.Array, collected: np.ndarray, separator: str, max_length: int
) -> Histories:
    """For each row the tokens of rows with its key and an earlier time, the most recent `max_length` of them.

    Args:
        key: [N] int64 whose history it is; -1 for nobody's, which has none.
        time: [N] integers that sort as the times do. Equal times are not earlier; where later rows collect
            them, they come in the order in which they are given here.
        token: [N] binary, what is collected.
        collected: [N] bool, the rows whose token is.
        separator: stands between two tokens.
        max_length: tokens kept, 1 or more.
    """
    order = np.lexsort((time, key))  # stable: rows of one key and time stay as they are
    key, time, collected = key[order], time[order], collected[order] & (key[order] >= 0)
    before = np.concatenate([[0], np.cumsum(collected)])  # [N + 1] tokens before a place in this order
    last = before[run_starts(key, time)]  # tokens before the first row of this key and time
    first = np.maximum(before[run_starts(key)], last - max_length)

    tokens = token.take(pa.array(order[collected]))
    gap = separator.encode()
    widths = pc.binary_length(tokens).to_numpy().astype(np.int64) + len(gap)
    places = np.concatenate([[0], np.cumsum(widths)])
    start, end = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    start[order] = places[first]
    end[order] = np.where(first < last, places[last] - len(gap), places[first])
    return Histories(_join(tokens, gap), start, end)


def _join(tokens: pa.Array, gap: bytes) -> bytes:
    large = tokens.cast(pa.large_binary())  # a plain binary array ends at 2 GiB
    whole = pa.ListArray.from_arrays(pa.array([0, len(large)], pa.int32()), large)
    return pc.binary_join(whole, pa.scalar(gap, pa.large_binary()))[0].as_py()
