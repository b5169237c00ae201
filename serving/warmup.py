"""Warm-up requests inside a SavedModel: written at export, replayed before a version is AVAILABLE."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.model import Model
from serving.predict import answer_predict
from serving.status import Code, StatusError, invalid
from serving.version_folders import WARMUP_FILE

_MOST_RECORDS = 1000


def write_warmup(version_path: Path, requests: Iterable[tuple[str, Mapping[str, np.ndarray]]]) -> Path:
    """Writes Predict requests to the SavedModel's warm-up file, replacing what it held; returns its path.

    Args:
        version_path: folder of the SavedModel.
        requests: (signature, inputs) pairs, 1000 at most; inputs are arrays of the signature's types, strings
            as arrays of bytes or str objects.
    """
    path = version_path / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            writer.write(log.SerializeToString())
    return path


def replay_warmup(model: Model) -> int:
    """Runs the model's warm-up requests, if it has any, and returns how many.

    Raises:
        StatusError: a record cannot be read or its request fails: the version must not be served.
    """
    path = model.path / WARMUP_FILE
    if not path.is_file():
        return 0
    count = 0
    for record in _records(path):
        _replay(model, record, path)
        count += 1
        if count > _MOST_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({_MOST_RECORDS}) at {path}")
    return count


def _records(path: Path) -> Iterable[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        reason = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise StatusError(Code.DATA_LOSS, reason) from error


def _replay(model: Model, record: bytes, path: Path) -> Any:
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        text = record.decode("utf-8", "replace")
        raise invalid(f"Failed to parse warmup record: {text} from {path}") from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        return answer_predict(model, log.predict_log.request)
    if kind is None:
        return None
    number = log.DESCRIPTOR.fields_by_name[kind].number
    raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
