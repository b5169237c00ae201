"""The prediction log: what was asked and answered, a row an example, as Parquet files that others read while it grows.

docs/prediction_log.md has the layout. Needs pyarrow, and no TensorFlow.
"""

import logging
import math
import queue
import random
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from cetnet_keras.errors import InputError

_LOG = logging.getLogger(__name__)
_EXAMPLES = "examples"  # the signature whose only input are serialised tf.Examples: bytes, no text
Arrays = Mapping[str, np.ndarray]


class Asked(NamedTuple):
    """One request that was answered."""

    model: str
    version: int | None
    signature: str
    inputs: Arrays
    outputs: Arrays
    candidates: Collection[
        str
    ] = ()  # inputs with a dimension of candidates, [B, N, ...]; none but in a ranking


class PredictionLog:
    """Writes requests to files of a folder, from a thread of its own: `add` never waits, and nothing fails over it.

    What comes faster than it is written is dropped and counted, as is what cannot be written; the log of the process says
    so once. A file has one signature of one version, and gets its name when it is whole.

    Args:
        folder: for the files; made if it is not there.
        rate: share of the requests that are kept, chosen by chance.
        rows_per_file: a file is ended when it has so many rows,
        seconds_per_file: or its first row is so old.
        most_waiting: requests that may wait to be written.
    Attributes:
        dropped: requests that were not written.
    Raises:
        InputError: nothing can be written to the folder.
    """

    def __init__(
        self,
        folder: Path,
        rate: float = 1.0,
        rows_per_file: int = 100_000,
        seconds_per_file: float = 60.0,
        most_waiting: int = 1000,
    ) -> None:
        self.dropped = 0
        self._folder, self._rate = folder, rate
        self._rows_per_file, self._seconds_per_file = rows_per_file, seconds_per_file
        self._waiting: queue.Queue[tuple[float, Asked] | None] = queue.Queue(most_waiting)
        self._open: dict[tuple[str, int | None, str], _Part] = {}
        _check_writable(folder)
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
        when: float | None = None,
    ) -> None:
        """Takes a request for the log, or leaves it out by chance or where too many wait.

        Args:
            model, version, signature: what answered.
            inputs, outputs: arrays by name, strings as bytes objects; they must not be changed later.
            candidates: inputs with a dimension of candidates, [B, N, ...]; none but in a ranking.
            when: seconds since 1970; now if left out.
        """
        if self._rate < 1 and random.random() >= self._rate:
            return
        try:
            self._waiting.put_nowait(
                (
                    time.time() if when is None else when,
                    Asked(model, version, signature, inputs, outputs, candidates),
                )
            )
        except queue.Full:
            self._drop(1, "requests come faster than they are written")

    def close(self) -> None:
        """Writes what waits and ends the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _write_until_closed(self) -> None:
        while True:
            try:
                entry = self._waiting.get(timeout=self._seconds_per_file / 10)
            except queue.Empty:
                self._end_parts(older_than=time.time() - self._seconds_per_file)
                continue
            if entry is None:
                self._end_parts()
                return
            when, asked = entry
            try:
                self._keep(when, asked)
            except Exception as error:  # a shape that no row can be made of must not end the log
                self._drop(1, f"{type(error).__name__}: {error}")
            self._end_parts(older_than=time.time() - self._seconds_per_file)

    def _keep(self, when: float, asked: Asked) -> None:
        key = (asked.model, asked.version, asked.signature)
        table, part = rows_of(when, asked), self._open.get(key)
        if (
            part is not None and part.tables[0].schema != table.schema
        ):  # inputs are as their clients send them
            self._end(key)
            part = None
        if part is None:
            part = self._open[key] = _Part(when, [])
        part.tables.append(table)
        if sum(len(each) for each in part.tables) >= self._rows_per_file:
            self._end(key)

    def _end_parts(self, older_than: float = float("inf")) -> None:
        for key in [key for key, part in self._open.items() if part.began <= older_than]:
            self._end(key)

    def _end(self, key: tuple[str, int | None, str]) -> None:
        _, version, signature = key
        part = self._open.pop(key)
        began = datetime.fromtimestamp(part.began, timezone.utc).strftime("%Y%m%dT%H%M%S")
        path = self._folder / signature / f"{began}-{version}-{uuid.uuid4().hex[:12]}.parquet"
        try:
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(".partial")
            pq.write_table(pa.concat_tables(part.tables), partial)
            partial.rename(path)
        except OSError as error:
            self._drop(len(part.tables), f"{path} cannot be written ({error.strerror})")

    def _drop(self, requests: int, reason: str) -> None:
        if not self.dropped:
            _LOG.error("the prediction log leaves requests out: %s", reason)
        self.dropped += requests


class _Part(NamedTuple):
    """What the next file will hold."""

    began: float  # when its first row came, seconds since 1970
    tables: list[pa.Table]


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{folder}: the prediction log cannot be written there ({error.strerror}); name another folder"
        ) from error


def rows_of(when: float, asked: Asked) -> pa.Table:
    """The rows of a request, in the layout of the log: each has the whole of what was asked for it.

    Args:
        when: seconds since 1970.
        asked: outputs of a ranking are [B, N], of any other signature [B, ...].
    """
    ranks = bool(asked.candidates)
    shape = next(iter(asked.outputs.values())).shape[: 1 + ranks]  # [B] or [B, N]
    row = np.arange(shape[0]).repeat(shape[1]) if ranks else np.arange(shape[0])
    count, nothing = len(row), pa.nulls(len(row), pa.int32())
    columns: dict[str, Any] = {
        "time": pa.array([int(when * 1e6)] * count, pa.timestamp("us", "UTC")),
        "request": _repeated(uuid.uuid4().hex, count),
        "model": _repeated(asked.model, count),
        "version": pa.array([asked.version] * count, pa.int64()),
        "signature": _repeated(asked.signature, count),
        "row": pa.array(row, pa.int32()),
        "candidate": pa.array(np.tile(np.arange(shape[1]), shape[0]), pa.int32()) if ranks else nothing,
    }
    for name, array in asked.inputs.items():
        own = array.reshape(count, *array.shape[2:]) if name in asked.candidates else array[row]
        columns[f"input/{name}"] = _column(own, binary=asked.signature == _EXAMPLES)
    for name, array in asked.outputs.items():
        columns[f"output/{name}"] = _column(array.reshape(count, *array.shape[1 + ranks :]))
    return pa.table(columns)


def _repeated(text: str, count: int) -> pa.Array:
    return pa.array([text] * count, pa.string())


def _column(array: np.ndarray, binary: bool = False) -> pa.Array:
    """[rows] as it is, [rows, n, ...] as lists; bytes as text, where what is no UTF-8 is written as \\xNN."""
    if array.dtype == np.object_:
        plain = array.ravel().tolist()
        values = pa.array(
            plain if binary else [_text(each) for each in plain], pa.binary() if binary else pa.string()
        )
    else:
        values = pa.array(array.ravel())
    for axis in range(array.ndim - 1, 0, -1):  # from the innermost outwards
        lists = math.prod(array.shape[:axis])
        values = pa.ListArray.from_arrays(
            pa.array(np.arange(lists + 1) * array.shape[axis], pa.int32()), values
        )
    return values


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def read_prediction_log(folder: Path, signature: str) -> ds.Dataset:
    """The rows of a signature, of all whole files that are there now; a column that some lack is null there.

    Raises:
        InputError: there is no such file.
    """
    files = sorted(str(path) for path in (folder / signature).glob("*.parquet"))
    if not files:
        known = ", ".join(sorted(path.parent.name for path in folder.glob("*/*.parquet"))) or "none"
        raise InputError(f"{folder}: found no prediction of signature {signature}; signatures: {known}")
    schema = pa.unify_schemas([pq.read_schema(path) for path in files])
    return ds.dataset(files, schema=schema, format="parquet")
