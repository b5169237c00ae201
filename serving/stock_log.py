"""The requests that a stock TensorFlow Serving logged, for the prediction log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from cetnet_keras.errors import InputError
from serving.grpc_client import tensor_array
from serving.metadata import DEFAULT_SIGNATURE, ModelMetadata
from serving.prediction_files import Asked
from serving.ranking import candidate_inputs


class Logged(NamedTuple):
    """One record."""

    when: float | None  # seconds since 1970, where the server wrote it
    asked: Asked


def read_stock_log(path: Path, metadata: ModelMetadata) -> Iterator[Logged]:
    """The Predict requests of a TFRecord file of PredictionLog messages; records of other kinds are passed over.

    `PredictionFiles.add` takes each.

    Args:
        path: what a log collector of the server wrote; a file of warm-up requests has no answers and no rows.
        metadata: of the model that answered, which says what is a candidate.
    Raises:
        InputError: the file is no TFRecord, or a record is no PredictionLog.
    """
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    for number in range(1, 2**63):
        log = prediction_log_pb2.PredictionLog()
        try:
            log.ParseFromString(next(records))
        except StopIteration:
            return
        except (DecodeError, tf.errors.OpError) as error:
            reason = f"record {number} cannot be read; expected a TFRecord file of PredictionLog messages"
            raise InputError(f"{path}: {reason}") from error
        if log.WhichOneof("log_type") == "predict_log" and log.predict_log.response.outputs:
            seconds = log.log_metadata.timestamp_secs
            yield Logged(float(seconds) or None, _asked(log.predict_log, metadata))


def _asked(log: Any, metadata: ModelMetadata) -> Asked:
    spec = log.response.model_spec
    signature = spec.signature_name or log.request.model_spec.signature_name or DEFAULT_SIGNATURE
    inputs, outputs = (
        {name: tensor_array(proto) for name, proto in tensors.items()}
        for tensors in (log.request.inputs, log.response.outputs)
    )
    version = spec.version.value if spec.HasField("version") else None
    return Asked(spec.name, version, signature, inputs, outputs, candidate_inputs(metadata, signature))
