"""Wrong input and faults over real sockets: each gets its answer, and the server goes on for all others."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from serving.client import GrpcClient, RestClient
from serving.client_errors import Refused, Unreachable
from serving.server import ModelServer

MODEL = "/v1/models/clicks"
ROW = {"user": "abc", "item": 7, "price": 1.5}
SHARED = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
LONG = 20 * 2**20  # characters
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def still_answers(rest: Callable[..., Any], prediction_stub: Any) -> Callable[[], None]:
    """Checks that both protocols answer, and rightly."""

    def check() -> None:
        assert rest(
            "POST", f"{MODEL}:predict", {"signature_name": "look_up", "instances": ["b", "z"]}
        ).json == {"predictions": [2, 0]}
        assert list(prediction_stub.Predict(look_up("b"), timeout=30).outputs["id"].int64_val) == [2]

    return check


def look_up(*keys: str) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "clicks", "look_up"
    request.inputs["key"].CopyFrom(tf.make_tensor_proto(np.array(keys, object), tf.string))
    return request


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [ROW, {"user": "a", "item": 1}]}, "keys must be equal to: item,price,user"),
        ({"instances": [ROW | {"click": 1}]}, "does not have named input: click"),
        ({"instances": [ROW | {"item": "7"}]}, "Type: String is not of expected type: int64"),
        ({"instances": [ROW | {"item": 7.5}]}, "Type: Number is not of expected type: int64"),
        ({"instances": [ROW, ROW | {"price": [1.5, 2]}]}, "Expecting tensor size: 1 but got: 2"),
        ({"inputs": {"user": ["a"], "item": [1]}}, "Missing named input: price in 'inputs' object."),
        (
            {"signature_name": "rank", "inputs": {"user": ["a", "b"], "item": [[1], [2, 3]]}},
            "unexpected size: 2",
        ),
    ],
)
def test_rows_that_do_not_fit(rest: Callable[..., Any], body: Any, message: str) -> None:
    answer = rest("POST", f"{MODEL}:predict", body)
    assert answer.status == 400 and message in answer.json["error"]


def test_an_empty_batch_has_an_empty_answer(rest: Callable[..., Any], prediction_stub: Any) -> None:
    columns = {"inputs": {"user": [], "item": [], "price": []}}
    assert rest("POST", f"{MODEL}:predict", columns).json == {"outputs": []}
    output = prediction_stub.Predict(look_up(), timeout=30).outputs["id"]
    assert [dim.size for dim in output.tensor_shape.dim] == [0] and not output.int64_val


def test_columns_of_different_length_are_refused(rest: Callable[..., Any]) -> None:
    answer = rest(
        "POST", f"{MODEL}:predict", {"inputs": {"user": ["a", "b"], "item": [1, 2, 3], "price": [0, 0]}}
    )
    assert answer.status == 400 and "Incompatible shapes: [2] vs. [3]" in answer.json["error"]


def test_strings_of_any_length_are_ids_never_seen(server: ModelServer) -> None:
    for client in (RestClient(server.rest_target, "clicks"), GrpcClient(server.grpc_target, "clicks")):
        assert client.predict({"key": ["x" * LONG, "a"]}, "look_up")["id"].tolist() == [0, 1]
        client.close()


def test_any_bytes_as_a_body_are_one_error(
    rest: Callable[..., Any], still_answers: Callable[[], None]
) -> None:
    valid = json.dumps({"signature_name": "look_up", "instances": ["a"]}).encode()

    @SHARED
    @given(body=st.binary() | damaged(valid))
    def check(body: bytes) -> None:
        answer = rest("POST", f"{MODEL}:predict", body)
        assert answer.status in (200, 400, 501)
        assert list(answer.json) == (["predictions"] if answer.status == 200 else ["error"])

    check()
    still_answers()


@pytest.mark.filterwarnings("ignore:Unexpected end-group tag")
def test_any_bytes_as_a_message_are_one_error(
    channel: grpc.Channel, still_answers: Callable[[], None]
) -> None:
    call = channel.unary_unary(PREDICT)

    @SHARED
    @given(message=st.binary() | damaged(look_up("a").SerializeToString()))
    def check(message: bytes) -> None:
        try:
            predict_pb2.PredictResponse.FromString(call(message, timeout=30))
        except grpc.RpcError as error:
            known = {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.FAILED_PRECONDITION,
                grpc.StatusCode.NOT_FOUND,
            }
            if error.code() not in known:  # gRPC itself could not read it, we never saw it
                assert error.code() == grpc.StatusCode.INTERNAL
                assert "serializ" in error.details()

    check()
    still_answers()


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid message with a piece of it replaced."""
    at = draw(st.integers(0, len(valid)))
    return valid[:at] + draw(st.binary(max_size=4)) + valid[at + draw(st.integers(0, 4)) :]


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01", b"POST /v1/models/clicks:predict HT"])
def test_clients_that_say_half_of_it_hold_up_nobody(
    server: ModelServer, still_answers: Callable[[], None], protocol: str, said: bytes
) -> None:
    target = server.rest_target if protocol == "rest" else server.grpc_target
    with ExitStack() as stay:
        for _ in range(100):  # far more than there are threads
            connection = stay.enter_context(socket.create_connection(target.split(":"), timeout=30))
            connection.sendall(said)
        still_answers()
    still_answers()


def test_clients_that_vanish_in_their_body_or_before_the_answer_hold_up_nobody(
    server: ModelServer, still_answers: Callable[[], None]
) -> None:
    body = json.dumps({"signature_name": "look_up", "instances": ["a"]}).encode()
    head = f"POST {MODEL}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with ExitStack() as stay:
        for cut in [len(body) // 2, len(body)] * 50:
            connection = stay.enter_context(
                socket.create_connection(server.rest_target.split(":"), timeout=30)
            )
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )  # closed by a reset
            connection.sendall(head + body[:cut])
        still_answers()
    still_answers()


def test_calls_that_are_cancelled_hold_up_nobody(
    channel: grpc.Channel, still_answers: Callable[[], None]
) -> None:
    call = channel.unary_unary(PREDICT, request_serializer=predict_pb2.PredictRequest.SerializeToString)
    for _ in range(100):
        call.future(look_up("a")).cancel()
    still_answers()


def test_a_model_that_is_deleted_half_copied_and_whole_again(base_path: Path, biased_model: Path) -> None:
    row = {"user": ["abc"], "item": [0], "price": [0.0]}
    expected = {bias: pytest.approx(1 / (1 + np.exp(-(3 + bias))), rel=1e-6) for bias in (0, 1)}
    with (
        ModelServer(base_path, rest_port=0, grpc_port=0, poll_seconds=0.05) as server,
        closing(RestClient(server.rest_target, "clicks")) as client,
    ):
        assert client.predict(row)["ctr"].item() == expected[0]
        shutil.rmtree(base_path / "1")
        with pytest.raises(Refused, match=r"Servable not found for request: Latest\(clicks\)"):
            for _ in polls():
                assert client.predict(row)["ctr"].item() == expected[0]
        shutil.copytree(biased_model, base_path / "2", ignore=shutil.ignore_patterns("variables.*"))
        for _ in polls():
            if client.status()[0].version == 2:
                break
        with pytest.raises(Refused, match="Servable not found"):
            client.predict(row)
        shutil.copytree(biased_model, base_path / "tmp")
        (base_path / "tmp").rename(base_path / "3")
        for _ in polls():
            if client.status()[0].state == "AVAILABLE":
                break
        assert client.predict(row)["ctr"].item() == expected[1]
        half = client.status()[1]
        assert (half.version, half.state) == (2, "END") and "has no variables" in half.error_message


def test_a_server_that_is_killed_ends_the_calls_and_its_ports_can_be_taken_at_once(base_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("cetnet")), "serve", str(base_path)]
    ports: list[str] = ["--rest-port", "0", "--grpc-port", "0"]
    for _ in range(2):
        process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            _, _, _, _, _, rest, _, target = process.stdout.readline().split()
            ports = ["--rest-port", rest.rpartition(":")[2], "--grpc-port", target.rpartition(":")[2]]
            client = GrpcClient(target, "clicks", deadline=120)
            client.metadata()
            failures: list[Exception] = []
            thread = threading.Thread(target=count_for_ever, args=(client, failures))
            idle = cpu_ticks(process.pid)
            thread.start()
            for _ in polls():
                if cpu_ticks(process.pid) > idle + 50:  # half a second: it counts
                    break
            process.send_signal(signal.SIGKILL)
            thread.join(150)
            assert len(failures) == 1 and isinstance(failures[0], Unreachable)
            client.close()
        finally:
            process.kill()
            process.communicate()


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def count_for_ever(client: GrpcClient, failures: list[Exception]) -> None:
    try:
        client.predict({"n": np.array(10**15)}, "count_to")
    except Exception as error:
        failures.append(error)


def polls() -> Any:
    """Goes on for two minutes."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        yield
    pytest.fail("it did not come in two minutes")
