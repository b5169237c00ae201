"""Warm-up requests are replayed before a version is served, and a failing one refuses the version."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.model import Model
from serving.status import Code, StatusError
from serving.versions import VersionManager
from serving.warmup import replay_warmup, write_warmup

ROW = {"user": np.array(["a", ""]), "item": np.int64([1, 2]), "price": np.float32([0.5, np.nan])}


@pytest.fixture
def model(tmp_path: Path, saved_model: Path) -> Model:
    shutil.copytree(saved_model, tmp_path / "1")
    return Model(tmp_path / "1")


def write_records(model: Model, *records: bytes) -> Path:
    path = model.path / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def refusal(model: Model) -> tuple[Code, str]:
    with pytest.raises(StatusError) as refused:
        replay_warmup(model)
    return refused.value.code, refused.value.message


def log_of(fill: Callable[[Any], None]) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    fill(log)
    return log.SerializeToString()


def test_a_model_without_warm_up_is_served(model: Model) -> None:
    assert replay_warmup(model) == 0


def test_what_is_written_is_a_stock_file_and_is_replayed(model: Model) -> None:
    ranking = {"user": np.array(["a"]), "item": np.int64([[1, 2]])}
    path = write_warmup(model.path, [("serving_default", ROW), ("rank", ranking)])
    assert path == model.path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert [log.predict_log.request.model_spec.signature_name for log in logs] == ["serving_default", "rank"]
    assert tf.make_ndarray(logs[0].predict_log.request.inputs["user"]).tolist() == [b"a", b""]
    assert replay_warmup(model) == 2


def test_a_failing_record_refuses_the_version(model: Model, base_path: Path) -> None:
    write_warmup(model.path, [("serving_default", {"user": np.array(["a"])})])
    shutil.copytree(model.path, base_path / "2")
    manager = VersionManager(base_path, "clicks", poll_seconds=3600, load_attempts=1)
    (base_path / "2").rename(base_path / "later")
    manager.start()
    (base_path / "later").rename(base_path / "2")
    manager.poll()
    failed, served = manager.statuses("clicks")
    assert (failed.state, failed.error_code) == ("END", "INVALID_ARGUMENT")
    assert failed.error_message.startswith("input size does not match signature: 1!=3")
    assert (served.version, served.state) == (1, "AVAILABLE")
    manager.close()


def test_the_1001st_record_is_one_too_many(model: Model) -> None:
    path = write_records(model, *[b""] * 1001)  # an empty log asks for nothing
    message = f"Number of warmup records exceeds the maximum (1000) at {path}"
    assert refusal(model) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(("kind", "number"), [("session_run_log", 5), ("predict_streamed_log", 7)])
def test_a_log_of_an_unsupported_type(model: Model, kind: str, number: int) -> None:
    write_records(model, log_of(lambda log: getattr(log, kind).SetInParent()))
    assert refusal(model) == (Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")


def test_a_record_that_is_no_log(model: Model) -> None:
    path = write_records(model, b"\xff\xff")
    assert refusal(model) == (
        Code.INVALID_ARGUMENT,
        f"Failed to parse warmup record: \ufffd\ufffd from {path}",
    )


def test_a_file_that_is_no_tfrecord(model: Model) -> None:
    write_records(model).write_bytes(b"these are no records at all")
    code, message = refusal(model)
    assert code == Code.DATA_LOSS
    assert message.endswith(". Please verify your warmup data is in TFRecord format.")
