"""Every client against a real server: same answers, clear errors."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from cetnet_keras.errors import InputError
from serving import wire
from serving.client import (
    AsyncGrpcClient,
    AsyncRestClient,
    BadAnswer,
    GrpcClient,
    Refused,
    RestClient,
    TimedOut,
    Unreachable,
    connect,
    connect_async,
)
from serving.grpc_client import _fill_tensor, tensor_array
from serving.metadata import TensorInfo, VersionStatus
from serving.model import Model
from serving.server import ModelServer
from serving.status import Code
from serving.target import Target, parse_target

Open = Callable[..., Any]
KINDS = {
    "REST": RestClient,
    "gRPC": GrpcClient,
    "asynchronous REST": AsyncRestClient,
    "asynchronous gRPC": AsyncGrpcClient,
}
ROWS = {"user": ["a", "\u00e9", ""], "item": [0, 2, -3], "price": [0.1, float("nan"), 1e30]}


@pytest.fixture(params=KINDS)
def ask(request: pytest.FixtureRequest, server: ModelServer, open_client: Open) -> Any:
    """Makes a client of each kind for the server."""
    target = server.rest_target if "REST" in request.param else server.grpc_target
    return lambda name="clicks", **options: open_client(KINDS[request.param], target, name, **options)


@pytest.fixture
def client(ask: Callable[..., Any]) -> Any:
    return ask()


def test_outputs_are_those_of_the_model_bit_for_bit(client: Any, saved_model: Any) -> None:
    model = Model(saved_model)
    for signature in ("serving_default", "explain"):
        expected, found = model.predict(ROWS, signature), client.predict(ROWS, signature)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
    model.close()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float", np.float32([[0.1, np.nan], [np.inf, -0.0]])),
        ("double", np.array([1 / 3, 1e300])),
        ("int64", np.array([2**63 - 1])),
        ("uint64", np.array([2**64 - 1], np.uint64)),
        ("int8", np.array([-128, 127], np.int8)),
        ("bool", np.array([[True], [False]])),
        ("string", np.array([b"007", "\u00e9".encode(), b""], object)),
        ("float", np.zeros((0, 3), np.float32)),
    ],
)
def test_arrays_of_every_type_come_back_as_they_went(client: Any, dtype: str, values: np.ndarray) -> None:
    found = client.predict({"x": values}, f"echo_{dtype}")["y"]
    if values.size:
        np.testing.assert_array_equal(found, values, strict=True)
    else:  # JSON shows no size behind a size of 0
        assert found.dtype == values.dtype and found.shape[0] == 0


def test_bytes_that_are_no_text_come_back_from_an_output_that_is_called_bytes(client: Any) -> None:
    assert client.predict({"text": [b"\xff\x00"]}, "texts")["text_bytes"].tolist() == [b"\xff\x00"]


def test_lists_take_the_types_of_the_signature(client: Any) -> None:
    assert client.predict({"x": [1, 2]}, "echo_float")["y"].dtype == np.float32
    assert client.predict({"x": [1, 2]}, "echo_uint64")["y"].dtype == np.uint64
    doubles = np.array([0.1, 1e39])
    np.testing.assert_array_equal(
        client.predict({"x": doubles}, "echo_float")["y"], np.float32([0.1, np.inf])
    )


def test_metadata_and_status(client: Any) -> None:
    metadata = client.metadata()
    assert (metadata.name, metadata.version) == ("clicks", 3)
    assert metadata.signatures["rank"].inputs == {
        "item": TensorInfo("int64", (-1, -1)),
        "user": TensorInfo("string", (-1,)),
    }
    assert metadata.signatures["echo_half"].inputs == {"x": TensorInfo("half", None)}
    assert client.status() == [VersionStatus(3, "AVAILABLE", "OK", "")]


def test_a_version_can_be_asked_for(ask: Callable[..., Any]) -> None:
    assert ask(version=3).predict({"key": ["b"]}, "look_up")["id"].tolist() == [2]
    with pytest.raises(Refused, match=r"Specific\(clicks, 4\)"):
        ask(version=4).predict({"key": ["b"]}, "look_up")


@pytest.mark.parametrize(
    ("inputs", "signature", "message"),
    [
        ({"key": ["a"]}, "lookup", "model clicks has no signature lookup; it has count_to, echo_bool"),
        ({}, "look_up", "signature look_up takes key; missing: key, unknown: none"),
        ({"key": ["a"], "more": [1]}, "look_up", "missing: none, unknown: more"),
        ({"key": ["a", 7]}, "look_up", r"input key, row 2: found 7 \(int\), the signature takes string"),
        (
            {"key": [["a"]]},
            "look_up",
            r"input key, row 1: found \['a'\] \(list\), the signature takes string",
        ),
        ({"key": "a"}, "look_up", r"input key: found shape \[\], the signature takes \[-1\]"),
        ({"x": ["1"]}, "echo_float", r"input x, row 1: found '1' \(str\), the signature takes float"),
        ({"x": [1, 1.5]}, "echo_int64", r"input x, row 2: found 1.5 \(float\), the signature takes int64"),
        (
            {"x": np.array([1.5])},
            "echo_int64",
            "input x: found values of type float64, the signature takes int64",
        ),
        ({"x": [0, 300]}, "echo_int8", "input x, row 2: found 300, which is outside of int8"),
        ({"x": [-1]}, "echo_uint64", "input x, row 1: found -1, which is outside of uint64"),
        ({"x": [None, 2**63]}, "echo_int64", f"input x, row 2: found {2**63}, which is outside of int64"),
        (
            {"x": [True, None]},
            "echo_bool",
            r"input x, row 2: found None \(NoneType\), the signature takes bool",
        ),
        ([{"key": "a"}, {"ky": "a"}], "look_up", "signature look_up, row 2: key is missing; give None where"),
        ([{"key": "a"}, "a"], "look_up", "signature look_up, row 2: found 'a', expected a dict"),
        ("a", "look_up", "found inputs of type str; give a dict of columns, a list of dicts, a pandas"),
    ],
)
def test_inputs_that_do_not_fit_the_signature(client: Any, inputs: Any, signature: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        client.predict(inputs, signature)


@pytest.mark.local("its answers do not say which model it has")
def test_a_refusal_keeps_code_and_words_of_the_server(ask: Callable[..., Any]) -> None:
    with pytest.raises(Refused) as refused:
        ask("other").predict({"key": ["a"]}, "look_up")
    assert (refused.value.code, refused.value.served) == (Code.NOT_FOUND, "clicks")
    assert refused.value.message == "Servable not found for request: Latest(other)"
    with pytest.raises(Refused, match=r"answered INVALID_ARGUMENT: Matrix size-incompatible.*$"):
        ask().predict({"x": [[1, 2, 3]]}, "product")


def test_a_deadline_ends_the_wait(client: Any) -> None:
    client.metadata()
    with pytest.raises(TimedOut, match="did not answer in time"):
        client.predict({"n": np.array(10**12)}, "count_to", deadline=0.2)
    with pytest.raises(TimedOut, match=r"did not answer in time: all 0 s are spent"):
        client.predict(ROWS, deadline=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_where_nothing_listens(kind: str, open_client: Open) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{unused.getsockname()[1]}"
        message = f"{target} cannot be reached over {kind[-4:]} .*([Rr]efused|connection attempts failed)"
        with pytest.raises(Unreachable, match=message):
            open_client(KINDS[kind], target, "clicks").status()


def test_a_proxy_of_the_environment_is_not_asked_for_a_local_server(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask().metadata().name == "clicks"


@pytest.mark.parametrize(
    ("text", "target", "local"),
    [
        ("localhost:80", Target("", "localhost", 80), True),
        ("http://127.0.0.2:80/", Target("http", "127.0.0.2", 80), True),
        ("grpc://[::1]:80", Target("grpc", "::1", 80), True),
        ("models.example.org:80", Target("", "models.example.org", 80), False),
    ],
)
def test_targets(text: str, target: Target, local: bool) -> None:
    parsed = parse_target(text)
    assert (parsed, parsed.is_local) == (target, local)
    assert parse_target(parsed.address)[1:] == parsed[1:]


@pytest.mark.local("its answers do not say which model it has")
@pytest.mark.parametrize(
    ("connected", "kinds"),
    [(connect, (RestClient, GrpcClient)), (connect_async, (AsyncRestClient, AsyncGrpcClient))],
)
def test_connect_finds_out_what_a_target_speaks_and_which_model_it_has(
    server: ModelServer, open_client: Open, connected: Open, kinds: tuple[type, type]
) -> None:
    for target, kind in (
        (server.rest_target, kinds[0]),
        (server.grpc_target, kinds[1]),
        (f"http://{server.rest_target}/", kinds[0]),
        (f"grpc://{server.grpc_target}", kinds[1]),
    ):
        client = open_client(connected, target)
        assert type(getattr(client, "client", client)) is kind and client.name == "clicks"
        assert client.status()[0].version == 3


@pytest.mark.parametrize(
    ("target", "message"),
    [("localhost", "expected host:port"), ("ftp://a:1", "expected host:port"), ("a:0", "expected host:port")],
)
def test_a_target_that_is_none(target: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        connect(target)


@pytest.mark.local("its answers do not say which model it has")
@pytest.mark.parametrize("connected", [connect, connect_async])
def test_connect_refuses_a_model_that_is_not_served_and_a_dead_target(
    server: ModelServer, open_client: Open, connected: Open
) -> None:
    for target in (server.rest_target, server.grpc_target):
        with pytest.raises(InputError, match="serves no model 'other'"):
            open_client(connected, target, "other")
    with pytest.raises(Unreachable, match="cannot be reached"):
        open_client(connected, "127.0.0.1:1")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"hi", "answered 200 and no JSON: is it a model server"),
        (b'{"ok": 1}', "the answer is not the status of a model's versions; is it a model server"),
    ],
)
def test_a_server_of_something_else_is_told_apart(body: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        client = RestClient(f"127.0.0.1:{other.getsockname()[1]}", "clicks", deadline=30)

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(65536)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(BadAnswer, match=message):
            client.status()
        thread.join()
        client.close()


@pytest.mark.local("its answers do not say which model it has")
def test_a_name_may_hold_any_character(ask: Callable[..., Any]) -> None:
    with pytest.raises(Refused) as refused:
        ask("a/b c\u00e9%").status()
    assert "a/b c\u00e9%" in refused.value.message


def test_the_wire_messages_are_the_stock_ones_on_the_wire() -> None:
    own = wire.PredictRequest()
    own.model_spec.name, own.model_spec.signature_name, own.model_spec.version.value = "m", "s", 0
    _fill_tensor(own.inputs["x"], np.float32([[1, 2]]))
    _fill_tensor(own.inputs["t"], np.array([b"\xff", b""], object))
    stock = predict_pb2.PredictRequest.FromString(own.SerializeToString())
    assert (stock.model_spec.name, stock.model_spec.signature_name) == ("m", "s")
    assert stock.model_spec.HasField("version")
    np.testing.assert_array_equal(tf.make_ndarray(stock.inputs["x"]), np.float32([[1, 2]]))
    assert tf.make_ndarray(stock.inputs["t"]).tolist() == [b"\xff", b""]
    assert wire.PredictRequest.FromString(stock.SerializeToString(deterministic=True)) == own
    look = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
    stock_look = get_model_metadata_pb2.GetModelMetadataRequest.FromString(look.SerializeToString())
    assert list(stock_look.metadata_field) == ["signature_def"]


@pytest.mark.parametrize(
    "stock",
    [
        tf.make_tensor_proto(np.float32([[1, 2]])),  # tensor_content
        tf.make_tensor_proto([3.0, 3.0, 3.0]),
        tf.make_tensor_proto(np.array([1, -2], np.int8)),
        tf.make_tensor_proto(np.float16([0.5, -2])),
        tf.make_tensor_proto([b"a", b"\xff"]),
        tf.make_tensor_proto(True),
        tensor_pb2.TensorProto(dtype=19, half_val=[14336], tensor_shape=tf.TensorShape([2]).as_proto()),
        tensor_pb2.TensorProto(dtype=9, int64_val=[1, 2], tensor_shape=tf.TensorShape([4]).as_proto()),
        tensor_pb2.TensorProto(dtype=7, tensor_shape=tf.TensorShape([2]).as_proto()),
    ],
)
def test_the_client_reads_content_and_typed_fields_as_tensorflow_does(stock: tensor_pb2.TensorProto) -> None:
    found = tensor_array(wire.TensorProto.FromString(stock.SerializeToString()))
    expected = tf.io.parse_tensor(stock.SerializeToString(), stock.dtype).numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.shape == np.shape(expected)


def test_a_type_that_numpy_lacks_is_refused() -> None:
    with pytest.raises(BadAnswer, match="type bfloat16, which this client cannot read"):
        tensor_array(wire.TensorProto(dtype=14))
