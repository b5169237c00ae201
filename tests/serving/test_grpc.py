"""The gRPC services under stock stubs: answers, codes and messages are a stock server's."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

IA, FP, NF = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
)


def request_for(signature: str = "", name: str = "clicks", **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def tensor(dtype: int, *shape: int, **values: Any) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def refusal(call: Callable[..., Any], request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=30)
    return refused.value.code(), refused.value.details()


def row() -> dict[str, Any]:
    return {"user": ["abc"], "item": np.int64([7]), "price": np.float32([1.5])}


def test_predict_answers_in_typed_fields_with_the_served_version(prediction_stub: Any) -> None:
    response = prediction_stub.Predict(request_for(**row()))
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("clicks", "serving_default", 3)
    output = response.outputs["ctr"]
    assert output.tensor_content == b"" and len(output.float_val) == 1
    np.testing.assert_allclose(output.float_val, 1 / (1 + np.exp(-(0.15 + 3 + 0.07))), rtol=1e-6)


def test_an_output_filter_limits_what_comes_back(prediction_stub: Any) -> None:
    request = request_for("explain", **row())
    request.output_filter.extend(["fusion_weight", "ctr"])
    assert sorted(prediction_stub.Predict(request).outputs) == ["ctr", "fusion_weight"]


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        (tensor(tf.float32.as_datatype_enum, 3, float_val=[1, 2]), [1.0, 2.0, 2.0]),
        (tensor(tf.float32.as_datatype_enum, 2), [0.0, 0.0]),
        (tensor(tf.float32.as_datatype_enum, 1, float_val=[1, 2, 3]), [1.0]),
        (tensor(tf.float32.as_datatype_enum, 2, int_val=[1, 2]), [0.0, 0.0]),
        (tensor(tf.float32.as_datatype_enum, 2, tensor_content=np.float32([1, 2]).tobytes()), [1.0, 2.0]),
    ],
)
def test_tensors_are_parsed_as_tensorflow_does(prediction_stub: Any, proto: Any, values: list[float]) -> None:
    response = prediction_stub.Predict(request_for("echo_float", x=proto))
    assert list(response.outputs["y"].float_val) == values


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int32", "int8", "uint8", "int64", "uint64", "bool", "str"]
)
def test_values_of_every_type_come_back_as_they_went(prediction_stub: Any, dtype: str) -> None:
    value = np.array([[0, 1], [2, 3]]).astype(dtype)
    names = {"float32": "float", "float64": "double", "float16": "half", "str": "string"}
    response = prediction_stub.Predict(request_for(f"echo_{names.get(dtype, dtype)}", x=value))
    found = tf.make_ndarray(response.outputs["y"])
    np.testing.assert_array_equal(found, value.astype(object).astype(bytes) if dtype == "str" else value)


def test_a_missing_text_is_an_empty_one(prediction_stub: Any) -> None:
    response = prediction_stub.Predict(request_for("echo_string", x=tensor(tf.string.as_datatype_enum, 2)))
    assert list(response.outputs["y"].string_val) == [b"", b""]


def test_a_scalar_text_is_a_scalar(prediction_stub: Any) -> None:
    response = prediction_stub.Predict(request_for("echo_string", x="a"))
    assert list(response.outputs["y"].string_val) == [b"a"] and not response.outputs["y"].tensor_shape.dim


SPECS: list[tuple[dict[str, Any], tuple[grpc.StatusCode, str]]] = [
    ({"name": ""}, (IA, "ModelSpec has no name specified.")),
    ({"name": "other"}, (NF, "Servable not found for request: Latest(other)")),
    ({"version": 0}, (NF, "Servable not found for request: Specific(clicks, 0)")),
    ({"label": "canary"}, (IA, "Unrecognized servable version label: canary")),
    ({"name": "other", "label": "x"}, (IA, "Unrecognized servable version label: x")),
]


def set_spec(spec: Any, name: str = "clicks", version: int | None = None, label: str | None = None) -> None:
    spec.name = name
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


@pytest.mark.parametrize(("spec", "expected"), SPECS)
def test_a_model_that_is_not_served(
    prediction_stub: Any, spec: dict[str, Any], expected: tuple[grpc.StatusCode, str]
) -> None:
    request = request_for("no such signature")
    set_spec(request.model_spec, **spec)
    assert refusal(prediction_stub.Predict, request) == expected
    look = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    set_spec(look.model_spec, **spec)
    assert refusal(prediction_stub.GetModelMetadata, look) == expected


def test_a_missing_model_spec(prediction_stub: Any, model_stub: Any) -> None:
    missing = (IA, "Missing ModelSpec")
    assert refusal(prediction_stub.Predict, predict_pb2.PredictRequest()) == missing
    assert (
        refusal(prediction_stub.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest()) == missing
    )
    assert refusal(model_stub.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()) == missing


TWO_NAMES = "Inputs expected to be in the request {item,prize,user}, or default input alias set: "


@pytest.mark.parametrize(
    ("request_", "outputs", "expected"),
    [
        (request_for("no"), [], (FP, 'Serving signature key "no" not found.')),
        (
            request_for(user=["a"]),
            [],
            (
                IA,
                "input size does not match signature: 1!=3 len({user}) != len({item,price,user}). "
                "Sent extra: {}. Missing but required: {item,price}.",
            ),
        ),
        (
            request_for("look_up", key=["a"], more=[1.0]),
            [],
            (
                IA,
                "input size does not match signature: 2!=1 len({key,more}) != len({key}). "
                "Sent extra: {more}. Missing but required: {}.",
            ),
        ),
        (
            request_for(user=["a"], item=np.int64([1]), prize=np.float32([1])),
            [],
            (
                IA,
                "Signature input alias: price(feed name: serving_default_price:0) not found in request and "
                f"no default value provided. {TWO_NAMES}",
            ),
        ),
        (request_for("look_up", key=tensor(0, 1)), ["no"], (IA, "tensor parsing error: key")),
        (
            request_for("echo_float", x=tensor(1, 2, tensor_content=b"abc")),
            [],
            (IA, "tensor parsing error: x"),
        ),
        (request_for("echo_float", x=tensor(1, 10**12)), [], (IA, "tensor parsing error: x")),
        (
            request_for("explain", **row()),
            ["ctr", "cvr"],
            (
                IA,
                "output tensor alias not found in signature: cvr Outputs expected to be in the set "
                "{confidence,ctr,fusion_weight,member_ctr}.",
            ),
        ),
        (request_for("explain", **row()), ["ctr", "ctr"], (IA, "duplicate output tensor alias: ctr")),
        (
            request_for("look_up", key=[1.0]),
            [],
            (IA, "Expects arg[0] to be string but float is provided"),
        ),
        (
            request_for(user=["a"], item=np.int64([1]), price=np.int64([1])),
            [],
            (IA, "Expects arg[1] to be float but int64 is provided"),
        ),
    ],
)
def test_wrong_predict_requests(
    prediction_stub: Any, request_: Any, outputs: list[str], expected: tuple[grpc.StatusCode, str]
) -> None:
    request_.output_filter.extend(outputs)
    assert refusal(prediction_stub.Predict, request_) == expected


def test_the_deadline_bounds_the_run(prediction_stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        prediction_stub.Predict(request_for("count_to", n=np.int64(10**12)), timeout=0.2)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_long_message_is_cut(prediction_stub: Any) -> None:
    code, details = refusal(prediction_stub.Predict, request_for("x" * 2000))
    assert code == FP and details == f'Serving signature key "{"x" * 2000}'[:1024] + "...TRUNCATED"


def test_metadata_is_the_saved_models_own_map(prediction_stub: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    set_spec(request.model_spec)
    response = prediction_stub.GetModelMetadata(request)
    assert (response.model_spec.name, response.model_spec.version.value) == ("clicks", 3)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert sorted(found.signature_def["serving_default"].inputs) == ["item", "price", "user"]
    assert "__saved_model_init_op" in found.signature_def


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "weights"], "Metadata field weights is not supported"),
    ],
)
def test_wrong_metadata_requests(prediction_stub: Any, fields: list[str], message: str) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    set_spec(request.model_spec, name="other")  # the fields come first
    assert refusal(prediction_stub.GetModelMetadata, request) == (IA, message)


def test_status_of_the_served_version(model_stub: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    set_spec(request.model_spec, label="ignored")
    (status,) = model_stub.GetModelStatus(request).model_version_status
    assert (status.version, status.state) == (3, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "other"}, "Could not find any versions of model other"),
        ({"name": ""}, "Could not find any versions of model "),
        ({"version": 9}, "Could not find version 9 of model clicks"),
    ],
)
def test_status_of_what_was_never_there(model_stub: Any, spec: dict[str, Any], message: str) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    set_spec(request.model_spec, **spec)
    assert refusal(model_stub.GetModelStatus, request) == (NF, message)


@pytest.mark.local("a stock server has them")
def test_what_is_not_implemented_says_so(
    prediction_stub: Any, model_stub: Any, channel: grpc.Channel
) -> None:
    calls = {
        "Classify": (prediction_stub.Classify, classification_pb2.ClassificationRequest()),
        "Regress": (prediction_stub.Regress, regression_pb2.RegressionRequest()),
        "MultiInference": (prediction_stub.MultiInference, inference_pb2.MultiInferenceRequest()),
        "HandleReloadConfigRequest": (
            model_stub.HandleReloadConfigRequest,
            model_management_pb2.ReloadConfigRequest(),
        ),
    }
    for name, (call, request) in calls.items():
        code, details = refusal(call, request)
        assert code == grpc.StatusCode.UNIMPLEMENTED and name in details
    unknown = channel.unary_unary("/tensorflow.serving.PredictionService/Guess")
    assert refusal(unknown, b"")[0] == grpc.StatusCode.UNIMPLEMENTED
