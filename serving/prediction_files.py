"""The layout of the prediction log, and the Parquet files that it is written to and read from.

docs/prediction_log.md has the layout. Needs pyarrow, and no TensorFlow.
"""

import math
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np

from cetnet_keras.errors import InputError, WorkFailed
from serving.metadata import shape_text

try:
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
except ImportError as missing:
    raise InputError("the prediction log needs pyarrow: pip install pyarrow") from missing

_EXAMPLES = "examples"  # the signature whose only input are serialised tf.Examples: bytes, no text
_PACKED_AT = 256  # tables of small requests that become one: each has some kB beside its rows
Arrays = Mapping[str, np.ndarray]


class Asked(NamedTuple):
    """One request that was answered; `candidates` are the inputs [B, N, ...], none but in a ranking."""

    model: str
    version: int | None
    signature: str
    inputs: Arrays
    outputs: Arrays
    candidates: Collection[str] = ()


class NotWritten(WorkFailed):
    """A file of the log could not be written, and so many requests are not in it."""

    def __init__(self, message: str, requests: int) -> None:
        super().__init__(message)
        self.requests = requests


class PredictionFiles:
    """Collects requests and writes them to files of a folder. A file gets its name when it is whole.

    Each has rows of one signature of one version, all with the same columns. Not for two threads at once.

    Args:
        folder: for the files; made if it is not there.
        rows_per_file: a file is ended when it has so many rows,
        bytes_per_file: or they take so much memory.
    Raises:
        InputError: nothing can be written to the folder.
    """

    def __init__(self, folder: Path, rows_per_file: int = 100_000, bytes_per_file: int = 64 * 2**20) -> None:
        self._folder, self._rows_per_file, self._bytes_per_file = folder, rows_per_file, bytes_per_file
        self._parts: dict[Any, _Part] = {}
        _check_writable(folder)

    def __enter__(self) -> "PredictionFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def add(self, when: float | None, asked: Asked) -> None:
        """Takes a request; `when` it was answered is in seconds since 1970, or not known.

        Raises:
            InputError: it has no rows that the layout could hold.
            NotWritten: it filled a file that cannot be written.
        """
        table = rows_of(when, asked)
        if not len(table):
            return
        key = (asked.model, asked.version, asked.signature, table.schema)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = _Part(time.time() if when is None else when)
        part.add(table)
        if part.rows >= self._rows_per_file or part.bytes >= self._bytes_per_file:
            self._end(key)

    def end(self, older_than: float = 0.0) -> None:
        """Writes the files whose first request came so many seconds ago; all if left out.

        Raises:
            NotWritten: one or more cannot be written; the others are.
        """
        began = time.monotonic() - older_than
        failures = []
        for key in [key for key, part in self._parts.items() if part.began <= began]:
            try:
                self._end(key)
            except NotWritten as failure:
                failures.append(failure)
        if failures:
            raise NotWritten(str(failures[0]), sum(failure.requests for failure in failures))

    def _end(self, key: Any) -> None:
        _, version, signature, _ = key
        part = self._parts.pop(key)
        began = datetime.fromtimestamp(part.when, timezone.utc).strftime("%Y%m%dT%H%M%S")
        name = f"{began}-{version}-{uuid.uuid4().hex[:12]}.parquet"
        path = _signature_folder(self._folder, signature) / name
        partial = path.with_suffix(".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part.table(), partial)
            partial.rename(path)
        except (OSError, pa.ArrowException) as error:
            raise NotWritten(f"{path} cannot be written ({error})", part.requests) from error


class _Part:
    """What the next file will hold."""

    def __init__(self, when: float) -> None:
        self.when, self.began = when, time.monotonic()
        self.requests = self.rows = self.bytes = 0
        self._packed: list[pa.Table] = []
        self._small: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        self.requests, self.rows, self.bytes = (
            self.requests + 1,
            self.rows + len(table),
            self.bytes + table.nbytes,
        )
        self._small.append(table)
        if len(self._small) == _PACKED_AT:
            self._packed.append(pa.concat_tables(self._small).combine_chunks())
            self._small = []

    def table(self) -> pa.Table:
        return pa.concat_tables(self._packed + self._small)


def _check_writable(folder: Path) -> None:
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")  # a full disk takes a name, and no byte
    except OSError as error:
        raise InputError(
            f"{folder}: the prediction log cannot be written there ({error.strerror}); name another folder"
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink()


def _signature_folder(folder: Path, signature: str) -> Path:
    """A signature's name may hold anything, `..` too."""
    return folder / quote(signature, safe="").replace(".", "%2E")


def rows_of(when: float | None, asked: Asked) -> pa.Table:
    """The rows of a request, in the layout of the log: each has the whole of what was asked for it.

    Args:
        when: seconds since 1970; None leaves the time empty.
        asked: outputs of a ranking are [B, N], of any other signature [B, ...].
    Raises:
        InputError: inputs or outputs do not share these dimensions, or are of a type that Arrow does not have.
    """
    ranks = bool(asked.candidates)
    shape = _shape_of(asked)
    row = np.arange(shape[0]).repeat(shape[1]) if ranks else np.arange(shape[0])
    count = len(row)
    time_us = None if when is None else int(when * 1e6)
    columns: dict[str, Any] = {
        "time": pa.array([time_us] * count, pa.timestamp("us", "UTC")),
        "request": pa.array([uuid.uuid4().hex] * count, pa.string()),
        "model": pa.array([asked.model] * count, pa.string()),
        "version": pa.array([asked.version] * count, pa.int64()),
        "signature": pa.array([asked.signature] * count, pa.string()),
        "row": pa.array(row, pa.int32()),
        "candidate": pa.array(
            np.tile(np.arange(shape[1]), shape[0]) if ranks else [None] * count, pa.int32()
        ),
    }
    for name, array in asked.inputs.items():
        own = array.reshape(count, *array.shape[2:]) if name in asked.candidates else array
        column = _column(name, own, binary=asked.signature == _EXAMPLES)
        columns[f"input/{name}"] = column if len(own) == count else column.take(pa.array(row))
    for name, array in asked.outputs.items():
        columns[f"output/{name}"] = _column(name, array.reshape(count, *array.shape[len(shape) :]))
    return pa.table(columns)


def _shape_of(asked: Asked) -> tuple[int, ...]:
    """[B], or [B, N] of a ranking."""
    ranks = bool(asked.candidates)
    shape = next((array.shape[: 1 + ranks] for array in asked.outputs.values()), ())
    found = {name: (array, 1 + (name in asked.candidates)) for name, array in asked.inputs.items()}
    found |= {f"output {name}": (array, 1 + ranks) for name, array in asked.outputs.items()}
    wrong = [name for name, (array, rank) in found.items() if array.shape[:rank] != shape[:rank]]
    if len(shape) < 1 + ranks or wrong:
        shapes = ", ".join(f"{name} {shape_text(array.shape)}" for name, (array, _) in found.items())
        takes = "context [B], candidates and outputs [B,N]" if ranks else "[B] of all inputs and outputs"
        raise InputError(f"signature {asked.signature}: a log of rows takes {takes}; found {shapes}")
    return shape


def _column(name: str, array: np.ndarray, binary: bool = False) -> pa.Array:
    """[rows] as it is, [rows, n, ...] as lists; bytes as text, where what is no UTF-8 is written as \\xNN."""
    if array.dtype == np.object_:
        plain = array.ravel().tolist()
        values = pa.array(plain if binary else map(_text, plain), pa.binary() if binary else pa.string())
    else:
        if array.dtype == np.float16:  # not every Parquet has it, and float32 holds the same numbers
            array = array.astype(np.float32)
        try:
            values = pa.array(array.ravel())
        except pa.ArrowException as error:
            raise InputError(f"{name} is of type {array.dtype}, which Arrow does not have") from error
    for axis in range(array.ndim - 1, 0, -1):  # from the innermost outwards
        lists = math.prod(array.shape[:axis])
        offsets = pa.array(np.arange(lists + 1) * array.shape[axis], pa.int32())
        values = pa.ListArray.from_arrays(offsets, values)
    return values


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def read_prediction_log(folder: Path, signature: str, version: int | None = None) -> ds.Dataset:
    """The rows of a signature, of all whole files that are there now; a column that some lack is null there.

    Args:
        folder: of the log.
        signature: whose rows.
        version: of the model, if only its rows are wanted.
    Raises:
        InputError: there is no such file, one is no Parquet, or a column changed its type between them.
    """
    pattern = "*.parquet" if version is None else f"*-{version}-*.parquet"
    files = sorted(str(path) for path in _signature_folder(folder, signature).glob(pattern))
    if not files:
        known = (
            ", ".join(sorted({unquote(path.parent.name) for path in folder.glob("*/*.parquet")})) or "none"
        )
        which = "" if version is None else f", version {version}"
        raise InputError(
            f"{folder}: found no prediction of signature {signature}{which}; signatures: {known}"
        )
    try:
        schema = pa.unify_schemas([_schema(path) for path in files])
    except pa.ArrowException as error:
        raise InputError(f"{folder}: {error}; read the versions apart, by `version`") from error
    return ds.dataset(files, schema=schema, format="parquet")


def _schema(path: str) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except pa.ArrowException as error:
        raise InputError(f"{path}: is no Parquet file ({error}); move it away") from error
