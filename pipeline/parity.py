"""The parity gate: what a fresh server answers to raw rows must be what training computed for them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cetnet_keras.errors import WorkFailed
from cetnet_keras.spec import ROW_KEY, DataSpec
from cetnet_keras.spec.raw import MISSING
from serving.client import GrpcClient, Predictor, RestClient
from serving.process import server_process
from serving.signatures import parse_raw

TOLERANCE = 1e-5  # of a probability, between training in float32 and serving in float32
_OUTPUTS = ("ctr", "member_ctr", "fusion_weight", "confidence")


def parity_failures(spec: DataSpec, model: Path, offline_scores: Path, examples: Path) -> list[str]:
    """Serves a model in a fresh process, asks it the rows that training scored, and compares, over REST and gRPC.

    Args:
        spec: the data spec.
        model: folder of the SavedModel.
        offline_scores: .npz of row numbers and all outputs, written by the trainer from what Beam transformed.
        examples: folder with the raw examples of the same split.
    Returns:
        one line a path that differs by more than 1e-5 anywhere, naming the worst row; none if all agree.
    """
    offline = dict(np.load(offline_scores))
    wanted = {int(row): position for position, row in enumerate(offline[ROW_KEY])}
    rows, raw, serialised = _wanted_rows(spec, examples, wanted)
    if len(rows) != len(wanted):
        return [
            f"{len(wanted) - len(rows)} of {len(wanted)} rows that training scored are not among the examples"
        ]
    expected = {key: offline[key][[wanted[row] for row in rows]] for key in _OUTPUTS}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / spec.name
        base.mkdir()
        (base / "1").symlink_to(model.absolute(), target_is_directory=True)
        try:
            with server_process(base, spec.name, Path(folder) / "log.txt") as addresses:
                clients: dict[str, Predictor] = {
                    "gRPC": GrpcClient(addresses.grpc, spec.name),
                    "REST": RestClient(addresses.rest, spec.name),
                }
                return [
                    failure
                    for protocol, client in clients.items()
                    for failure in _compare(protocol, client, spec, rows, raw, serialised, expected)
                ]
        except WorkFailed as error:
            return [f"the model cannot be served: {error}"]


def raw_rows(spec: DataSpec, examples: Path) -> Iterator[dict[str, np.ndarray]]:
    """Batches of what ingestion wrote: typed raw columns by name, ROW_KEY, and the serialised examples under ""."""
    files = sorted(str(path) for path in examples.iterdir())
    for batch in tf.data.TFRecordDataset(files, "GZIP").batch(4096):
        number = tf.io.parse_example(batch, {ROW_KEY: tf.io.FixedLenFeature([], tf.int64)})
        columns = {key: value.numpy() for key, value in (parse_raw(spec, batch) | number).items()}
        yield columns | {"": batch.numpy()}


def _wanted_rows(
    spec: DataSpec, examples: Path, wanted: dict[int, int]
) -> tuple[list[int], dict[str, np.ndarray], np.ndarray]:
    """Row numbers, typed raw columns and serialised examples of the rows that are wanted."""
    parts = []
    for columns in raw_rows(spec, examples):
        kept = np.isin(columns[ROW_KEY], list(wanted))
        parts.append({key: value[kept] for key, value in columns.items()})
    columns = {key: _together([part[key] for part in parts]) for key in parts[0]}
    rows, serialised = columns.pop(ROW_KEY), columns.pop("")
    return [int(row) for row in rows], columns, serialised


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


def _compare(
    protocol: str,
    client: Predictor,
    spec: DataSpec,
    rows: list[int],
    raw: dict[str, np.ndarray],
    serialised: np.ndarray,
    expected: dict[str, np.ndarray],
) -> Iterator[str]:
    answers: dict[str, dict[str, Any]] = {
        "serving_default": client.predict(raw),
        "explain": client.predict(raw, "explain"),
        "examples": client.predict({"examples": serialised}, "examples"),
    }
    candidates = spec.with_role("candidate")
    if candidates:  # each row is a context with one candidate
        columns = {name: value[:, np.newaxis] if name in candidates else value for name, value in raw.items()}
        answers["rank"] = {"ctr": client.predict(columns, "rank")["ctr"][:, 0]}
    for signature, answer in answers.items():
        for key in _OUTPUTS:
            if key in answer:
                yield from _difference(f"{protocol} {signature} {key}", rows, answer[key], expected[key])


def _difference(where: str, rows: list[int], served: np.ndarray, offline: np.ndarray) -> Iterator[str]:
    if served.shape != offline.shape:
        yield f"{where}: served shape {list(served.shape)}, offline {list(offline.shape)}"
        return
    difference = np.abs(np.asarray(served, np.float64) - offline).reshape(len(rows), -1).max(axis=1)
    worst = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
    if not difference[worst] <= TOLERANCE:  # this way round NaN fails too
        file, row = rows[worst] >> 40, rows[worst] & (1 << 40) - 1
        yield f"{where}: row {row} of file {file + 1} is off by {difference[worst]:.2g}, more than {TOLERANCE:g}"
