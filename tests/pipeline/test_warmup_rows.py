"""The warm-up requests of a pushed model: every signature, the sizes asked for, rows that training knows."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.model import Model

Request = tuple[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def pushed(first_run: Any) -> Any:
    return first_run.serving / first_run.versions[0]


@pytest.fixture(scope="module")
def requests(pushed: Any) -> list[Request]:
    path = pushed / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    asked = [log.predict_log.request for log in logs]
    return [
        (each.model_spec.signature_name, {key: tf.make_ndarray(value) for key, value in each.inputs.items()})
        for each in asked
    ]


def test_every_signature_is_asked_with_every_number_of_rows(requests: list[Request]) -> None:
    sizes = [(name, inputs["examples" if name == "examples" else "item"].shape) for name, inputs in requests]
    of_rows = [(name, (size,)) for size in (1, 30) for name in ("serving_default", "explain", "examples")]
    assert sorted(sizes) == sorted([*of_rows, ("rank", (1, 1)), ("rank", (1, 30))])


def test_rows_are_whole_and_of_known_tokens(requests: list[Request], first_run: Any) -> None:
    _, rows = requests[4]
    assert len(rows["seen"][0].split(b"^")) == first_run.spec.features["seen"].max_length
    known = (
        first_run.artifact("Transform", "transform_graph") / "transform_fn" / "assets" / "item"
    ).read_text()
    tokens = known.splitlines()
    assert {item.decode() for item in rows["item"]} == set(tokens) and len(tokens) > 5
    assert set(b"^".join(rows["seen"]).decode().split("^")) <= set(tokens)


def test_all_signatures_say_the_same_of_the_rows(requests: list[Request], pushed: Any) -> None:
    model = Model(pushed)
    asked = dict(requests[4:])  # of 30 rows
    answers = {name: model.run(name, inputs)["ctr"] for name, inputs in asked.items()}
    for name in ("explain", "examples"):
        np.testing.assert_allclose(answers[name], answers["serving_default"], atol=1e-6)
    assert answers["rank"].shape == (1, 30)
    np.testing.assert_allclose(answers["rank"][0, 0], answers["serving_default"][0], atol=1e-6)
    assert len(np.unique(answers["rank"])) > 1
    model.close()
