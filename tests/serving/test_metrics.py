"""The Prometheus page over a real socket: names, labels and buckets are a stock server's."""

import re
import threading
from collections import Counter as Tally
from collections.abc import Callable
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
)

from serving.metrics import Counter, Histogram, ServerMetrics
from serving.server import ModelServer
from serving.versions import VersionManager
from serving.warmup import write_warmup

PATH = "/monitoring/prometheus/metrics"
MODEL = "/v1/models/clicks"
LOOK_UP = {"signature_name": "look_up", "instances": ["a"]}
LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"'  # of Prometheus' text format
SAMPLE = re.compile(rf"([a-zA-Z_:][\w:]*)\{{((?:{LABEL}(?:,{LABEL})*)?)\}} ([0-9.e+-]+)")
Page = Tally[tuple[str, str]]
LIMITS = [f"{limit:g}" for limit in accumulate([10.0] + [1.8] * 32, mul)]


def samples(text: str) -> Page:
    """The values of a page by (name, labels)."""
    found = [SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("# TYPE ")]
    assert all(found), text
    return Tally({(match[1], match[2]): float(match[3]) for match in found if match})


@pytest.fixture
def page(server: ModelServer) -> Callable[[], Page]:
    def read() -> Page:
        return samples(requests.get(f"http://{server.rest_target}{PATH}", timeout=30).text)

    return read


def look_up(name: str = "clicks", value: Any = "a") -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, "look_up"
    request.inputs["key"].CopyFrom(tf.make_tensor_proto([value]))
    return request


def counted(name: str, status: str) -> tuple[str, str]:
    return ":tensorflow:serving:request_count", f'model_name="{name}",status="{status}"'


def test_requests_and_runs_are_counted_as_a_stock_server_does(
    page: Callable[[], Page], predict: Callable[..., Any], prediction_stub: Any
) -> None:
    before = page()
    assert predict(LOOK_UP).status == 200
    prediction_stub.Predict(look_up())
    assert predict({"signature_name": "look_up", "instances": [7]}).status == 400
    with pytest.raises(grpc.RpcError):
        prediction_stub.Predict(look_up(name="other"))
    after = page()
    new = after - before
    assert {key: count for key, count in new.items() if "request_count" in key[0]} == {
        counted("clicks", "OK"): 2,
        counted("clicks", "INVALID_ARGUMENT"): 1,
        counted("other", "NOT_FOUND"): 1,
    }
    histogram = ":tensorflow:serving:request_latency"
    assert {key[1]: count for key, count in new.items() if key[0] == f"{histogram}_count"} == {
        'model_name="clicks",API="predict",entrypoint="REST"': 1,
        'model_name="clicks",API="Predict",entrypoint="GRPC"': 1,
    }
    runs = (":tensorflow:serving:runtime_latency_count", 'model_name="clicks",API="Predict",runtime="TF1"')
    assert new[runs] == 2
    assert new[(runs[0].replace("_count", "_sum"), runs[1])] > 0


def test_buckets_are_the_stock_ones_and_add_up(page: Callable[[], Page], predict: Callable[..., Any]) -> None:
    assert predict(LOOK_UP).status == 200
    found, labels = page(), 'model_name="clicks",API="predict",entrypoint="REST"'
    name = ":tensorflow:serving:request_latency"
    counts = {
        key[1].removeprefix(f'{labels},le="').removesuffix('"'): count
        for key, count in found.items()
        if key[0] == f"{name}_bucket" and key[1].startswith(labels)
    }
    assert list(counts) == [*LIMITS, "+Inf"]
    assert (LIMITS[2], LIMITS[4], LIMITS[-1]) == ("32.4", "104.976", "1.47476e+09")
    assert list(counts.values()) == sorted(counts.values())
    assert counts["+Inf"] == found[(f"{name}_count", labels)]


@pytest.mark.parametrize(
    ("method", "path", "expected", "api"),
    [
        ("GET", MODEL, counted("clicks", "OK"), ""),
        ("GET", f"{MODEL}/metadata", counted("clicks", "OK"), ""),
        ("OPTIONS", f"{MODEL}:predict", counted("", "FAILED_PRECONDITION"), None),
        ("GET", f"{MODEL}/", counted("", "INVALID_ARGUMENT"), None),
        ("POST", f"{MODEL}:PREDICT", counted("clicks", "INVALID_ARGUMENT"), None),
        ("GET", "/v1/models/a%22b%5Cc", counted('a\\"b\\\\c', "NOT_FOUND"), None),
        ("GET", f"{MODEL}/versions/{2**63}", counted("clicks", "INVALID_ARGUMENT"), None),
        ("GET", "/elsewhere", None, None),
    ],
)
def test_rest_calls_below_v1_are_counted_by_the_name_in_the_path(
    page: Callable[[], Page],
    server: ModelServer,
    method: str,
    path: str,
    expected: tuple[str, str] | None,
    api: str | None,
) -> None:
    before = page()
    requests.request(method, f"http://{server.rest_target}{path}", timeout=30)
    new = page() - before
    assert [key for key in new if key[0] == counted("", "")[0]] == ([expected] if expected else [])
    timed = [key[1] for key in new if key[0] == ":tensorflow:serving:request_latency_count"]
    assert timed == ([] if api is None else [f'model_name="clicks",API="{api}",entrypoint="REST"'])


@pytest.mark.local("a line break in a stock server's page is not escaped, other bytes stay as they are")
def test_a_name_of_any_bytes_leaves_a_page_that_can_be_read(
    page: Callable[[], Page], server: ModelServer
) -> None:
    for name in ("%FF", "%FE", "%00", "%0A", "%F0%9F%8D%B5"):
        requests.get(f"http://{server.rest_target}/v1/models/{name}", timeout=30)
    assert page()[counted("?", "NOT_FOUND")] >= 2


@pytest.mark.local("a stock server answers Classify")
def test_of_grpc_predict_classify_and_regress_are_counted(
    page: Callable[[], Page], prediction_stub: Any, model_stub: Any
) -> None:
    before = page()
    classify = classification_pb2.ClassificationRequest()
    look = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    status = get_model_status_pb2.GetModelStatusRequest()
    for request in (classify, look, status):
        request.model_spec.name = "clicks"
    prediction_stub.GetModelMetadata(look)
    model_stub.GetModelStatus(status)
    for call, request in (
        (prediction_stub.Classify, classify),
        (prediction_stub.MultiInference, inference_pb2.MultiInferenceRequest()),
    ):
        with pytest.raises(grpc.RpcError):
            call(request)
    assert page() - before == {counted("clicks", "UNIMPLEMENTED"): 1}


def test_the_page_is_plain_text_with_types_and_takes_no_query(server: ModelServer) -> None:
    url = f"http://{server.rest_target}{PATH}"
    answer = requests.get(url, timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain")
    types = [line for line in answer.text.splitlines() if line.startswith("#")]
    assert "# TYPE :tensorflow:serving:request_count counter" in types
    assert "# TYPE :tensorflow:serving:request_latency histogram" in types
    refused = requests.get(f"{url}?x=1", timeout=30)
    assert (refused.status_code, refused.text) == (400, f"Unexpected path: {PATH}?x=1. Should be {PATH}")
    assert refused.headers["content-type"] == "text/plain"


def test_a_warm_up_is_timed_by_its_version(base_path: Path) -> None:
    write_warmup(base_path / "1", [("look_up", {"key": np.array(["a"])})])
    metrics = ServerMetrics()
    manager = VersionManager(base_path, "clicks", poll_seconds=3600, metrics=metrics)
    manager.start()
    manager.close()
    labels = f'model_path="{base_path / "1"}",status="OK"'
    assert samples(metrics.page())[(":tensorflow:serving:model_warmup_latency_count", labels)] == 1


def test_no_count_is_lost_between_threads() -> None:
    counter, histogram = Counter("c", "label"), Histogram("h", "label")

    def add() -> None:
        for number in range(1000):
            counter.add(str(number % 2))
            histogram.observe(0, str(number % 2))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.lines() == ["# TYPE c counter", 'c{label="0"} 4000', 'c{label="1"} 4000']
    counts = [line for line in histogram.lines() if line.startswith("h_count")]
    assert counts == ['h_count{label="0"} 4000', 'h_count{label="1"} 4000']
