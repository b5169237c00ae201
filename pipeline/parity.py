"""The parity gate: what a fresh server answers to raw rows must be what training computed for them, at what cost."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cetnet_keras.errors import WorkFailed
from cetnet_keras.spec import ROW_KEY, DataSpec
from cetnet_keras.spec.raw import MISSING
from pipeline.gates import Gates
from pipeline.served_model import Latency, ServedModel, bounds_of_serving
from serving.client import GrpcClient, Predictor, RestClient
from serving.process import server_process
from serving.signatures import parse_raw

TOLERANCE = 1e-5  # of a probability, between training in float32 and serving in float32
_OUTPUTS = ("ctr", "member_ctr", "fusion_weight", "confidence")
_CALLS = 100  # that a latency is read off
_CANDIDATES = 100  # of a timed ranking request
_MB = 10**6
Columns = dict[str, np.ndarray]


class _Rows(NamedTuple):
    """Rows that training scored, as requests have them."""

    numbers: list[int]
    raw: Columns
    serialised: np.ndarray


def check_parity(
    spec: DataSpec, gates: Gates, model: Path, offline_scores: Path, examples: Path
) -> tuple[ServedModel | None, list[str]]:
    """Serves a model in a fresh process, asks it the rows that training scored, and compares, over REST and gRPC.

    Args:
        spec: the data spec.
        gates: bounds on latency, size and memory.
        model: folder of the SavedModel.
        offline_scores: .npz of row numbers and all outputs, written by the trainer from what Beam transformed.
        examples: folder with the raw examples of the same split.
    Returns:
        what was measured (None where nothing could be served), and one line a path that differs by more than 1e-5
        anywhere, naming the worst row, and a bound that is passed; none if all is well.
    """
    offline = dict(np.load(offline_scores))
    wanted = {int(row): position for position, row in enumerate(offline[ROW_KEY])}
    rows = _wanted_rows(spec, examples, wanted)
    if len(rows.numbers) != len(wanted):
        lost = len(wanted) - len(rows.numbers)
        return None, [f"parity: {lost} of {len(wanted)} rows that training scored are not among the examples"]
    expected = {key: offline[key][[wanted[row] for row in rows.numbers]] for key in _OUTPUTS}
    try:
        served, failures = _ask(spec, model, rows, expected)
    except WorkFailed as error:
        return None, [f"parity: the model cannot be served: {error}"]
    return served, [*(f"parity: {line}" for line in failures), *_over_bounds(served, gates)]


def _ask(spec: DataSpec, model: Path, rows: _Rows, expected: Columns) -> tuple[ServedModel, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / spec.name
        base.mkdir()
        (base / "1").symlink_to(model.absolute(), target_is_directory=True)
        with (
            server_process(base, spec.name, Path(folder) / "log.txt") as server,
            GrpcClient(server.grpc, spec.name) as grpc,
            RestClient(server.rest, spec.name) as rest,
        ):
            clients: dict[str, Predictor] = {"gRPC": grpc, "REST": rest}
            differences: dict[str, float] = {}
            failures: list[str] = []
            for protocol, client in clients.items():
                for signature, answer in _answers(client, spec, rows).items():
                    where = f"{protocol} {signature}"
                    differences[where], own = _compared(where, rows.numbers, answer, expected)
                    failures += own
            latency = {
                f"{protocol} {signature}": _latency(client, signature, inputs)
                for protocol, client in clients.items()
                for signature, inputs in _single_requests(spec, rows).items()
            }
            memory = server.peak_memory()
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    served = ServedModel(
        rows=len(rows.numbers),
        largest_difference=differences,
        latency_ms=latency,
        model_mb=round(size / _MB, 3),
        memory_mb=round(memory / _MB, 3),
    )
    return served, failures


def raw_rows(spec: DataSpec, examples: Path) -> Iterator[Columns]:
    """Batches of what ingestion wrote: typed raw columns by name, ROW_KEY, and the serialised examples under ""."""
    files = sorted(str(path) for path in examples.iterdir())
    for batch in tf.data.TFRecordDataset(files, "GZIP").batch(4096):
        number = tf.io.parse_example(batch, {ROW_KEY: tf.io.FixedLenFeature([], tf.int64)})
        columns = {key: value.numpy() for key, value in (parse_raw(spec, batch) | number).items()}
        yield columns | {"": batch.numpy()}


def _wanted_rows(spec: DataSpec, examples: Path, wanted: dict[int, int]) -> _Rows:
    """The rows that are wanted, of those that ingestion wrote."""
    parts = []
    for columns in raw_rows(spec, examples):
        kept = np.isin(columns[ROW_KEY], list(wanted))
        parts.append({key: value[kept] for key, value in columns.items()})
    columns = {key: _together([part[key] for part in parts]) for key in parts[0]}
    numbers, serialised = columns.pop(ROW_KEY), columns.pop("")
    return _Rows([int(row) for row in numbers], columns, serialised)


def _together(parts: list[np.ndarray]) -> np.ndarray:
    """Batches as one; lists are padded to the longest of all batches."""
    if parts[0].ndim == 1 or len({part.shape[1] for part in parts}) == 1:
        return np.concatenate(parts)
    longest = max(part.shape[1] for part in parts)
    missing = b"" if parts[0].dtype == object else MISSING["int64"]
    lack = [[(0, 0), (0, longest - part.shape[1])] for part in parts]
    return np.concatenate(
        [np.pad(part, gap, constant_values=missing) for part, gap in zip(parts, lack, strict=True)]
    )


def _answers(client: Predictor, spec: DataSpec, rows: _Rows) -> dict[str, Columns]:
    """What each signature answers to all rows."""
    answers = {
        "serving_default": client.predict(rows.raw),
        "explain": client.predict(rows.raw, "explain"),
        "examples": client.predict({"examples": rows.serialised}, "examples"),
    }
    candidates = spec.with_role("candidate")
    if candidates:  # each row is a context with one candidate
        columns = {n: value[:, np.newaxis] if n in candidates else value for n, value in rows.raw.items()}
        answers["rank"] = {"ctr": client.predict(columns, "rank")["ctr"][:, 0]}
    return answers


def _compared(where: str, numbers: list[int], answer: Columns, expected: Columns) -> tuple[float, list[str]]:
    """The largest difference of any output, and a line for each output that is too far off."""
    largest, failures = 0.0, []
    for key in _OUTPUTS:
        if key not in answer:
            continue
        served, offline = answer[key], expected[key]
        if served.shape != offline.shape:
            failures.append(
                f"{where} {key}: served shape {list(served.shape)}, offline {list(offline.shape)}"
            )
            continue
        difference = np.abs(np.asarray(served, np.float64) - offline).reshape(len(numbers), -1).max(axis=1)
        worst = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
        largest = float(np.fmax(largest, difference[worst]))
        if not difference[worst] <= TOLERANCE:  # this way round NaN fails too
            file, row = numbers[worst] >> 40, numbers[worst] & (1 << 40) - 1
            off = f"row {row} of file {file + 1} is off by {difference[worst]:.2g}, more than {TOLERANCE:g}"
            failures.append(f"{where} {key}: {off}")
    return largest, failures


def _single_requests(spec: DataSpec, rows: _Rows) -> dict[str, Columns]:
    """A request of one row, and one of the candidates of many rows for the context of the first."""
    requests = {"serving_default": {name: value[:1] for name, value in rows.raw.items()}}
    candidates = spec.with_role("candidate")
    if candidates:
        requests["rank"] = {
            name: value[np.newaxis, :_CANDIDATES] if name in candidates else value[:1]
            for name, value in rows.raw.items()
        }
    return requests


def _latency(client: Predictor, signature: str, inputs: Columns) -> Latency:
    times = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        client.predict(inputs, signature)
        times.append(time.perf_counter() - began)
    p50, p99 = (round(1000 * float(np.quantile(times, q)), 3) for q in (0.5, 0.99))
    return Latency(p50=p50, p99=p99)


def _over_bounds(served: ServedModel, gates: Gates) -> Iterator[str]:
    for what, found, bound in bounds_of_serving(served, gates):
        if bound is not None and found is not None and found > bound:
            yield f"serving: {what}: found {found:g}, more than {bound:g}"
