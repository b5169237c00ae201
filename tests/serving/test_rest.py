"""The REST paths over a real socket: codes, headers and messages are a stock server's."""

import gzip
import json
import math
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serving.metrics import ServerMetrics
from serving.rest import Request, RestApp
from serving.server import ModelServer

Send = Callable[..., Any]
ROW = {"user": "abc", "item": 7, "price": 1.5}
MODEL = "/v1/models/clicks"


def ctr(user: str, item: int, price: float) -> float:
    logit = np.float32(price) / 10 + len(user.encode()) + 0.01 * item
    return float(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/3", "/V1/Models/clicks", "/v1/models/%63licks"])
def test_status_of_the_served_version(rest: Send, path: str) -> None:
    answer = rest("GET", path)
    status = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert (answer.status, answer.json) == (200, {"model_version_status": [status]})
    assert answer.headers["content-type"] == "application/json"


def test_a_status_call_ignores_labels_and_the_case_of_what_follows(rest: Send) -> None:
    listed = rest("GET", MODEL).json
    assert rest("GET", f"{MODEL}/labels/anything").json == listed
    assert rest("GET", f"{MODEL}/METADATA").json == listed


def test_metadata_is_the_saved_models_own_map(rest: Send) -> None:
    answer = rest("GET", f"{MODEL}/metadata").json
    assert answer["model_spec"] == {"name": "clicks", "signature_name": "", "version": "3"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["look_up"] == {
        "inputs": {
            "key": {
                "dtype": "DT_STRING",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "look_up_key:0",
            }
        },
        "outputs": {"id": signatures["look_up"]["outputs"]["id"]},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert signatures["look_up"]["outputs"]["id"]["dtype"] == "DT_INT64"
    assert signatures["echo_float"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert signatures["__saved_model_init_op"]["inputs"] == {}


def test_rows_and_columns_give_the_same_ctr(predict: Send) -> None:
    rows = [ROW, {"user": "", "item": -5, "price": math.nan}]
    expected = [ctr("abc", 7, 1.5), ctr("", -5, 0.0)]
    in_rows = predict({"instances": rows, "other keys": "are ignored"})
    in_columns = predict({"inputs": {name: [row[name] for row in rows] for name in ROW}})
    np.testing.assert_allclose(in_rows.json["predictions"], expected, rtol=1e-6)
    assert in_columns.json == {"outputs": in_rows.json["predictions"]}


def test_several_outputs_are_objects_and_a_version_can_be_named(rest: Send) -> None:
    body = {"signature_name": "explain", "instances": [ROW]}
    (prediction,) = rest("POST", f"{MODEL}/versions/3:predict", body).json["predictions"]
    assert sorted(prediction) == ["confidence", "ctr", "fusion_weight", "member_ctr"]
    np.testing.assert_allclose(prediction["ctr"], ctr("abc", 7, 1.5), rtol=1e-6)


def test_context_and_candidates_of_a_ranking_request_differ_in_shape(predict: Send) -> None:
    body = {"signature_name": "rank", "inputs": {"user": ["a", "bc"], "item": [[1, 2, 3], [4, 5, 6]]}}
    logits = np.array([[2.0, 3, 4], [6, 7, 8]])
    np.testing.assert_allclose(predict(body).json["outputs"], 1 / (1 + np.exp(-logits)), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float", [0.1, math.inf, -math.inf, 3e-5]),
        ("double", [1e300, 0.1]),
        ("int64", [2**63 - 1, -(2**63)]),
        ("uint64", [2**64 - 1]),
        ("int8", [-128, 127]),
        ("bool", [True, False]),
        ("string", ["", "007", "\u00e9"]),
    ],
)
def test_values_of_every_type_come_back_as_they_went(predict: Send, dtype: str, values: list[Any]) -> None:
    signature = f"echo_{dtype}"
    assert predict({"signature_name": signature, "inputs": [values]}).json == {"outputs": [values]}
    assert predict({"signature_name": signature, "instances": values}).json == {"predictions": values}


def test_nan_comes_back_as_nan(predict: Send) -> None:
    (value,) = predict('{"signature_name": "echo_float", "instances": [NaN]}').json["predictions"]
    assert math.isnan(value)


def test_an_output_whose_name_ends_in_bytes_is_base64(predict: Send) -> None:
    answer = predict({"signature_name": "texts", "instances": [{"b64": "/w=="}, "a"]})
    assert answer.json["predictions"][0]["text_bytes"] == {"b64": "/w=="}
    assert answer.json["predictions"][1] == {"upper": "A", "text_bytes": {"b64": "YQ=="}}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{MODEL}:predict?x=1"),
        ("POST", f"{MODEL}:PREDICT"),
        ("GET", f"{MODEL}:predict"),
        ("POST", f"{MODEL}/metadata"),
        ("GET", f"{MODEL}/"),
        ("GET", f"{MODEL}/version/5"),
        ("GET", f"{MODEL}/versions/abc"),
        ("GET", f"{MODEL}/versions/3/labels/x"),
        ("PUT", MODEL),
        ("DELETE", f"{MODEL}:predict"),
        ("GET", "/v1/other"),
    ],
)
def test_malformed_requests(rest: Send, method: str, path: str) -> None:
    answer = rest(method, path)
    assert (answer.status, answer.json) == (400, {"error": f"Malformed request: {method} {path}"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_version_above_int64_gets_an_empty_answer(rest: Send, method: str) -> None:
    verb = ":predict" if method == "POST" else ""
    for version in ("9223372036854775808", "9" * 5000):
        answer = rest(method, f"{MODEL}/versions/{version}{verb}")
        assert (answer.status, answer.json) == (400, None)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/versions/5", "/v1/models/labels/x/metadata"])
def test_a_missing_model_name(rest: Send, path: str) -> None:
    answer = rest("GET", path)
    assert (answer.status, answer.json) == (400, {"error": "Missing model name in request."})


@pytest.mark.parametrize("path", ["/", "/v2/models/clicks", "/monitoring/prometheus"])
def test_outside_of_the_api_is_an_html_404(server: ModelServer, path: str) -> None:
    with socket.create_connection(server.rest_target.split(":"), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        reply = connection.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 404") and b"content-type: text/html" in reply


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        (f"{MODEL}/versions/9:predict", 404, "Servable not found for request: Specific(clicks, 9)"),
        (f"{MODEL}/versions/0:predict", 404, "Servable not found for request: Specific(clicks, 0)"),
        (f"{MODEL}/labels/canary:predict", 400, "Unrecognized servable version label: canary"),
        ("/v1/models/other/labels/a%2Fb:predict", 400, "Unrecognized servable version label: a/b"),
        ("/v1/models/a%2Fb+c:predict", 404, "Servable not found for request: Latest(a/b+c)"),
    ],
)
def test_a_model_that_is_not_served(rest: Send, path: str, status: int, message: str) -> None:
    answer = rest("POST", path, {"instances": [ROW]})
    assert (answer.status, answer.json) == (status, {"error": message})


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/other", 404, "Could not find any versions of model other"),
        (f"{MODEL}/versions/9", 404, "Could not find version 9 of model clicks"),
        ("/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        (f"{MODEL}/versions/9/metadata", 404, "Servable not found for request: Specific(clicks, 9)"),
        (f"{MODEL}/labels/canary/metadata", 400, "Unrecognized servable version label: canary"),
    ],
)
def test_looking_at_a_model_that_is_not_served(rest: Send, path: str, status: int, message: str) -> None:
    answer = rest("GET", path)
    assert (answer.status, answer.json) == (status, {"error": message})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("[1]", "JSON Value: [1] Is not object"),
        (
            {"instances": [], "signature_name": "no"},
            'Serving signature name: "no" not found in signature def',
        ),
        (
            {"signature_name": "__saved_model_init_op"},
            "Failed to get input map for signature: __saved_model_init_op",
        ),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"signature_name": "total", "instances": [1]}, "Tensor name: total has no shape information "),
        ({"signature_name": "halves", "instances": [1]}, "Failed to write JSON value for tensor type: half"),
        (
            {"signature_name": "look_up", "instances": [7]},
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON Value: 7 Type: Number is not of expected type: string",
        ),
    ],
)
def test_wrong_bodies(predict: Send, body: Any, message: str) -> None:
    answer = predict(body)
    assert (answer.status, answer.json) == (400, {"error": message})


def test_outputs_that_differ_in_rows_are_refused_in_rows_and_given_in_columns(predict: Send) -> None:
    refused = predict({"signature_name": "uneven", "instances": [1]})
    assert refused.status == 400
    assert refused.json["error"] == "Tensor name: b has inconsistent batch size: 2 expecting: 1"
    assert predict({"signature_name": "uneven", "inputs": [1]}).json == {
        "outputs": {"a": [1.0], "b": [1.0, 1.0]}
    }


def test_a_type_that_json_cannot_feed_is_501(predict: Send) -> None:
    answer = predict({"signature_name": "echo_half", "inputs": [1]})
    assert (answer.status, answer.json) == (501, {"error": "Conversion of JSON Value: 1 to type: half"})


def test_json_is_checked_before_the_model(rest: Send) -> None:
    assert rest("POST", "/v1/models/other:predict", "{").status == 400
    assert (
        "'signature_name' key"
        in rest("POST", "/v1/models/other:predict", '{"signature_name": 1}').json["error"]
    )


def test_a_shape_that_does_not_fit_is_refused_as_the_kernel_says(predict: Send) -> None:
    kernel = predict({"signature_name": "product", "instances": [[1, 2, 3]]})
    assert kernel.status == 400
    assert kernel.json["error"].startswith("Matrix size-incompatible: In[0]: [1,3], In[1]: [2,1]")


@pytest.mark.local("a stock server runs what broadcasts")
def test_a_rank_that_the_signature_does_not_have_is_refused(predict: Send) -> None:
    rank = predict({"signature_name": "look_up", "instances": [["a"]]})
    assert (rank.status, rank.json["error"].split(",")[0]) == (400, "Input key has shape [1")


@pytest.mark.local("a stock server has both")
@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_classify_and_regress_are_unimplemented(rest: Send, verb: str) -> None:
    answer = rest("POST", f"{MODEL}:{verb}", {"examples": [{}]})
    assert answer.status == 501 and verb in answer.json["error"]


def test_the_content_type_of_a_request_is_ignored(rest: Send) -> None:
    answer = rest("POST", f"{MODEL}:predict", {"instances": [ROW]}, headers={"Content-Type": "text/html"})
    assert answer.status == 200


def test_a_body_may_be_gzip_and_a_broken_one_counts_as_empty(rest: Send) -> None:
    packed = gzip.compress(json.dumps({"instances": [ROW]}).encode())
    header = {"Content-Encoding": "gzip"}
    assert rest("POST", f"{MODEL}:predict", packed, headers=header).status == 200
    broken = rest("POST", f"{MODEL}:predict", packed[:-9], headers=header)
    assert (broken.status, broken.json) == (400, {"error": "JSON Parse error: The document is empty"})


@pytest.mark.parametrize(("origin", "status"), [({"Origin": "https://example.org"}, 200), ({}, 400)])
def test_preflight_needs_an_origin(rest: Send, origin: dict[str, str], status: int) -> None:
    answer = rest("OPTIONS", f"{MODEL}:predict", headers=origin)
    assert (answer.status, answer.json) == (status, None)


@pytest.mark.local("a stock server has no limit")
def test_a_body_over_the_limit_is_refused(rest: Send) -> None:
    answer = rest("POST", f"{MODEL}:predict", b" " * (100 * 2**20 + 1))
    assert answer.status == 413 and "104857601 bytes" in answer.json["error"]


@pytest.mark.local("made with a limit of its own")
def test_a_run_over_the_time_limit_is_504(server: ModelServer) -> None:
    app = RestApp(server.versions, ServerMetrics(), threads=1, timeout=0.1)
    body = b'{"signature_name": "count_to", "inputs": 1000000000000}'
    answer = app.answer(Request("POST", f"{MODEL}:predict", {}, body))
    assert answer.status == 504
    assert json.loads(answer.body) == {"error": "Timed out waiting for notification"}
    app.close()
