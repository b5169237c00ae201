"""What a SavedModel's files say of it, read without TensorFlow: its signatures and its warm-up requests."""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from cetnet_keras.errors import InputError
from serving import wire
from serving.grpc_client import read_signature, tensor_array
from serving.metadata import DEFAULT_SIGNATURE, Signature
from serving.version_folders import WARMUP_FILE


def read_signatures(version_path: Path) -> dict[str, Signature]:
    """The signatures of the graph that is served, by name.

    Raises:
        InputError: there is no saved_model.pb, or it is none.
    """
    path = version_path / "saved_model.pb"
    for graph in _parsed(wire.SavedModel, _bytes_of(path), path).meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return {name: read_signature(proto) for name, proto in sorted(graph.signature_def.items())}
    raise InputError(f"{path}: found no graph with the tag `serve`; it was not saved for serving")


def read_warmup(version_path: Path) -> dict[str, Mapping[str, np.ndarray]]:
    """The inputs of the smallest warm-up request of each signature, strings as bytes objects.

    Raises:
        InputError: the file is damaged; a server refuses such a version.
    """
    path = version_path / WARMUP_FILE
    found: dict[str, Mapping[str, np.ndarray]] = {}
    for record in _records(path) if path.exists() else ():
        request = _parsed(wire.PredictionLog, record, path).predict_log.request
        arrays = {name: tensor_array(proto) for name, proto in request.inputs.items()}
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in found or _size(arrays) < _size(found[name]):
            found[name] = arrays
    return found


def _size(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(array.size for array in arrays.values())


def _records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: a length, its checksum, the data, its checksum."""
    data, at = _bytes_of(path), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at) if at + 12 <= len(data) else (len(data),)
        record = data[at + 12 : at + 12 + length]
        if len(record) < length:
            raise InputError(f"{path}: the file is cut off; export the model again")
        yield record
        at += 16 + length


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a whole SavedModel") from error


def _parsed(kind: Any, data: bytes, path: Path) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InputError(f"{path}: is damaged ({error}); export or copy the model again") from error
