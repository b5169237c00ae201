"""The prediction log of a process that must not wait for it: what was asked and answered, a row an example.

docs/prediction_log.md has the layout. Needs pyarrow, and no TensorFlow.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

import numpy as np

from cetnet_keras.errors import InputError
from serving.prediction_files import Arrays, Asked, NotWritten, PredictionFiles, read_prediction_log

__all__ = ["PredictionLog", "read_prediction_log"]

_LOG = logging.getLogger(__name__)
_TOO_FAST = "requests come faster than they are written"


class PredictionLog:
    """Writes requests to files of a folder, from a thread of its own: `add` never waits, and nothing fails over it.

    What comes faster than it is written is dropped and counted, as is what cannot be written; the log of the process says
    so once, and how many at the end.

    Args:
        folder: for the files; made if it is not there.
        rate: share of the requests that are kept, chosen by chance.
        rows_per_file: a file is ended when it has so many rows,
        bytes_per_file: or they take so much memory,
        seconds_per_file: or its first row is so old.
        most_waiting: requests that may wait to be written,
        most_bytes_waiting: and the memory that they may take.
    Attributes:
        dropped: requests that were not written.
    Raises:
        InputError: nothing can be written to the folder, or the rate is no share.
    """

    def __init__(
        self,
        folder: Path,
        rate: float = 1.0,
        rows_per_file: int = 100_000,
        bytes_per_file: int = 64 * 2**20,
        seconds_per_file: float = 60.0,
        most_waiting: int = 1000,
        most_bytes_waiting: int = 64 * 2**20,
    ) -> None:
        if not 0 <= rate <= 1:  # this way round NaN is refused too
            raise InputError(f"rate: found {rate}, expected a share of the requests, 0 to 1")
        self.dropped = 0
        self._rate, self._seconds_per_file = rate, seconds_per_file
        self._waiting: queue.Queue[tuple[float, Asked, int] | None] = queue.Queue(most_waiting)
        self._bytes_waiting, self._most_bytes_waiting = 0, most_bytes_waiting
        self._files = PredictionFiles(folder, rows_per_file, bytes_per_file)
        self._lock = threading.Lock()  # guards `dropped` and the bytes
        self._closed = False
        self._thread = threading.Thread(target=self._write_until_closed, name="prediction log", daemon=True)
        self._thread.start()

    def __enter__(self) -> "PredictionLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self,
        model: str,
        version: int | None,
        signature: str,
        inputs: Arrays,
        outputs: Arrays,
        candidates: Collection[str] = (),
    ) -> None:
        """Takes a request for the log, or leaves it out by chance or where too many wait.

        Args:
            model, version, signature: what answered.
            inputs, outputs: arrays by name, strings as bytes objects; they are copied.
            candidates: inputs with a dimension of candidates, [B, N, ...]; none but in a ranking.
        """
        if self._rate < 1 and random.random() >= self._rate:
            return
        if self._closed:
            self._drop(1, "it is closed")
            return
        size = sum(map(_bytes, (*inputs.values(), *outputs.values())))
        with self._lock:
            fits = self._bytes_waiting + size <= self._most_bytes_waiting
            self._bytes_waiting += size if fits else 0
        if not fits:
            self._drop(1, _TOO_FAST)
            return
        asked = Asked(model, version, signature, _copies(inputs), _copies(outputs), candidates)
        try:
            self._waiting.put_nowait((time.time(), asked, size))
        except queue.Full:
            self._waits_no_more(size)
            self._drop(1, _TOO_FAST)

    def close(self) -> None:
        """Writes what waits and ends the thread."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        if self.dropped:
            _LOG.error("the prediction log left out %d requests", self.dropped)

    def _write_until_closed(self) -> None:
        closed = False
        while not closed:
            try:
                entry = self._waiting.get(timeout=self._seconds_per_file / 10)
                closed = entry is None
                if entry is not None:
                    when, asked, size = entry
                    self._waits_no_more(size)
                    self._files.add(when, asked)
            except queue.Empty:
                pass
            except NotWritten as failure:
                self._drop(failure.requests, str(failure))
            except Exception as error:  # one request that no rows can be made of must not end the log
                self._drop(1, str(error))
            try:
                self._files.end(0.0 if closed else self._seconds_per_file)
            except NotWritten as failure:
                self._drop(failure.requests, str(failure))

    def _waits_no_more(self, size: int) -> None:
        with self._lock:
            self._bytes_waiting -= size

    def _drop(self, requests: int, reason: str) -> None:
        with self._lock:
            first = not self.dropped
            self.dropped += requests
        if first:
            _LOG.error("the prediction log leaves requests out: %s", reason)


def _bytes(array: np.ndarray) -> int:
    """What an array takes, its strings included."""
    return array.nbytes + (sum(map(len, array.flat)) if array.dtype == np.object_ else 0)


def _copies(arrays: Arrays) -> Arrays:
    """Whoever asked may fill the same arrays again before the thread comes to these."""
    return {name: array.copy() for name, array in arrays.items()}
