"""Calls are tried again where that is safe and within the deadline: against servers that come, go and refuse."""

import logging
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from cetnet_keras.errors import InputError
from serving.client import (
    AsyncGrpcClient,
    AsyncRestClient,
    GrpcClient,
    Refused,
    RestClient,
    Retry,
    TimedOut,
    Unreachable,
    connect,
    connect_async,
)
from serving.server import ModelServer

ROW = {"user": ["abc"], "item": [0], "price": [0.0]}
KINDS = [RestClient, GrpcClient, AsyncRestClient, AsyncGrpcClient]
PATIENT = Retry(attempts=10**6, first=0.01, longest=0.1)  # it is the deadline that ends it
Open = Callable[..., Any]


class Pauses(logging.Handler):
    """Collects the pauses that clients make, in seconds, and runs `at_first` at the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.at_first: Callable[[], object] = lambda: None

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.args, tuple)
        self.seconds.append(record.args[-1])
        if len(self.seconds) == 1:
            self.at_first()


@pytest.fixture
def pauses() -> Iterator[Pauses]:
    handler, log = Pauses(), logging.getLogger("serving.retry")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def target_of(server: ModelServer, kind: Any) -> str:
    return server.rest_target if "Rest" in kind.__name__ else server.grpc_target


@pytest.fixture
def later(base_path: Path) -> Iterator[Callable[[Any], ModelServer]]:
    """Servers for a client of a kind, not started; all of them have the same free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[ModelServer] = []

    class Stopped(ModelServer):
        def start(self) -> None:
            super().start()
            started.append(self)

        def stop(self) -> None:
            if self in started:
                started.remove(self)
                super().stop()

    def made(kind: Any) -> ModelServer:
        rest = "Rest" in kind.__name__
        return Stopped(base_path, rest_port=port if rest else 0, grpc_port=0 if rest else port)

    yield made
    for server in list(started):
        server.stop()


class Relay:
    """Passes connections on to a server; the first `drop` of them end when something came, without an answer.

    With `together`, the first POST of each connection waits until so many connections have one.
    """

    def __init__(self, target: str, drop: int = 0, together: int = 1) -> None:
        host, port = target.split(":")
        self._far, self._drop = (host, int(port)), drop
        self._gate = threading.Barrier(together)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._threads[0].join()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for end in (self._listener, *self._open):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                if self.connections <= self._drop:
                    with near:
                        near.recv(1)
                    continue
                far = socket.create_connection(self._far)
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._pass, args=ends))
                    self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        waited = False
        with suppress(OSError, threading.BrokenBarrierError):
            while data := source.recv(65536):
                if data.startswith(b"POST") and not waited:
                    waited = True
                    self._gate.wait(60)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("through", ["client", "connect"])
def test_a_server_that_comes_after_the_first_refusal_is_reached(
    kind: Any, through: str, later: Callable[[Any], ModelServer], pauses: Pauses, open_client: Open
) -> None:
    server = later(kind)
    target = target_of(server, kind)
    pauses.at_first = server.start
    if through == "client":
        client = open_client(kind, target, "clicks", retry=PATIENT, deadline=60)
    else:
        connected = connect_async if "Async" in kind.__name__ else connect
        client = open_client(connected, target, retry=PATIENT, deadline=60)
    assert client.predict(ROW)["ctr"].shape == (1,)
    assert pauses.seconds


def test_a_server_that_was_started_anew_is_found_again(
    kind: Any, later: Callable[[Any], ModelServer], open_client: Open
) -> None:
    server = later(kind)
    client = open_client(kind, target_of(server, kind), "clicks", retry=PATIENT, deadline=60)
    for _ in range(2):
        with later(kind):
            assert client.predict(ROW)["ctr"].shape == (1,)


def test_a_connection_that_is_lost_in_a_call_is_made_anew(
    kind: Any, server: ModelServer, open_client: Open, pauses: Pauses
) -> None:
    with closing(Relay(target_of(server, kind), drop=2)) as relay:
        client = open_client(kind, relay.target, "clicks", retry=PATIENT, deadline=60)
        assert client.predict(ROW)["ctr"].shape == (1,)
        assert relay.connections == 3 and pauses.seconds


def test_a_server_that_says_unavailable_is_asked_again(
    kind: Any, base_path: Path, biased_model: Path, open_client: Open, pauses: Pauses
) -> None:
    with ModelServer(base_path, rest_port=0, grpc_port=0, poll_seconds=3600) as server:
        client = open_client(kind, target_of(server, kind), "clicks", retry=PATIENT, deadline=60)
        before = client.predict(ROW)["ctr"].item()
        with server.versions.use("clicks", None) as model:
            model.close()
        shutil.copytree(biased_model, base_path.parent / "2")
        (base_path.parent / "2").rename(base_path / "2")
        pauses.at_first = server.versions.poll
        assert client.predict(ROW)["ctr"].item() > before and pauses.seconds


def test_unavailable_to_the_end_is_unreachable(
    kind: Any, base_path: Path, open_client: Open, pauses: Pauses
) -> None:
    with ModelServer(base_path, rest_port=0, grpc_port=0, poll_seconds=3600) as server:
        with server.versions.use("clicks", None) as model:
            model.close()
        client = open_client(kind, target_of(server, kind), "clicks", retry=Retry(attempts=3, first=0.01))
        with pytest.raises(Unreachable, match="is unloaded"):
            client.predict(ROW)
    assert len(pauses.seconds) == 2


def test_what_would_fail_again_is_asked_once(
    kind: Any, server: ModelServer, open_client: Open, pauses: Pauses
) -> None:
    target = target_of(server, kind)
    client = open_client(kind, target, "clicks", retry=PATIENT)
    with pytest.raises(Refused, match="INVALID_ARGUMENT"):
        client.predict({"x": [[1, 2, 3]]}, "product")
    with pytest.raises(Refused, match="NOT_FOUND"):
        open_client(kind, target, "other", retry=PATIENT).predict(ROW)
    with pytest.raises(TimedOut):
        client.predict({"n": np.array(10**12)}, "count_to", deadline=0.2)
    assert not pauses.seconds


@pytest.mark.parametrize("attempts", [1, 3])
def test_attempts_are_counted(
    kind: Any, attempts: int, later: Callable[[Any], ModelServer], open_client: Open, pauses: Pauses
) -> None:
    retry = Retry(attempts=attempts, first=0.01)
    with pytest.raises(Unreachable, match="cannot be reached"):
        open_client(kind, target_of(later(kind), kind), "clicks", retry=retry).status()
    assert len(pauses.seconds) == attempts - 1


def test_the_deadline_is_for_all_attempts_together(
    kind: Any, later: Callable[[Any], ModelServer], open_client: Open, pauses: Pauses
) -> None:
    client = open_client(kind, target_of(later(kind), kind), "clicks", retry=PATIENT)
    with pytest.raises(Unreachable):
        client.predict(ROW, deadline=0.5)
    assert len(pauses.seconds) > 1 and sum(pauses.seconds) < 0.5


@given(st.integers(1, 10**9), st.floats(0.001, 10), st.floats(0.001, 100))
def test_pauses_grow_up_to_the_longest(failures: int, first: float, longest: float) -> None:
    wanted = min(longest, first * 2.0 ** min(failures - 1, 100))
    assert wanted / 2 <= Retry(3, first, longest).pause(failures) <= wanted


@pytest.mark.parametrize("kind", [RestClient, AsyncRestClient])
def test_an_answer_in_drops_ends_at_the_deadline(kind: Any, open_client: Open) -> None:
    """Each piece comes in time, all of them would not."""
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def drip() -> None:
            connection, _ = slow.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(1000):
                    connection.sendall(b" ")
                    if gone.wait(0.02):
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        client = open_client(kind, f"127.0.0.1:{slow.getsockname()[1]}", "clicks", deadline=0.3)
        with pytest.raises(TimedOut, match="did not answer in time"):
            client.status()
        gone.set()
        thread.join()


def test_one_connection_serves_call_after_call(kind: Any, server: ModelServer, open_client: Open) -> None:
    with closing(Relay(target_of(server, kind))) as relay:
        client = open_client(kind, relay.target, "clicks")
        for _ in range(5):
            client.predict(ROW)
        assert relay.connections == 1


@pytest.mark.parametrize("in_flight", [1, 2])
def test_batches_are_asked_for_together_but_not_all_at_once(
    server: ModelServer, open_client: Open, in_flight: int
) -> None:
    rows = [{"user": "a" * length, "item": 0, "price": None} for length in range(9)]
    with closing(Relay(server.rest_target, together=in_flight)) as relay:
        client = open_client(AsyncRestClient, relay.target, "clicks", in_flight=in_flight)
        found = client.predict(rows, batch_size=1)["ctr"]
        assert relay.connections == in_flight
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.arange(9.0))), rtol=1e-6)


def test_the_first_error_of_many_batches_ends_them_all(
    kind: Any, server: ModelServer, open_client: Open
) -> None:
    rows: list[Any] = [{"user": "a", "item": 0, "price": 0.0}] * 20
    client = open_client(kind, target_of(server, kind), "clicks")
    with pytest.raises(InputError, match="input price, row 11: found 'x'"):
        client.predict([*rows[:10], rows[0] | {"price": "x"}, *rows], batch_size=2)
    assert client.predict(rows, batch_size=2)["ctr"].shape == (20,)


class Renamed(tf.Module):
    """A version that takes other inputs, and one of another type."""

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "user"), tf.TensorSpec([None], tf.string, "item")]
    )
    def serve(self, user: Any, item: Any) -> Any:
        length = tf.cast(tf.strings.length(user) + tf.strings.length(item), tf.float32)
        return {"ctr": tf.sigmoid(length), "length": length}


def test_a_swapped_model_of_another_signature_is_taken_up(
    kind: Any, base_path: Path, tmp_path: Path, open_client: Open
) -> None:
    with ModelServer(base_path, rest_port=0, grpc_port=0, poll_seconds=3600) as server:
        target = target_of(server, kind)
        clients = [open_client(kind, target, "clicks") for _ in range(2)]
        for client in clients:
            assert list(client.predict(ROW)) == ["ctr"]
        model = Renamed()
        tf.saved_model.save(model, str(tmp_path / "2"), signatures={"serving_default": model.serve})
        (tmp_path / "2").rename(base_path / "2")
        server.versions.poll()
        found = clients[0].predict([{"user": "abc", "item": "x"}])
        assert found["length"].tolist() == [4.0]
        with pytest.raises(
            InputError, match="signature serving_default takes item, user; missing: none, unknown: price"
        ):
            clients[1].predict(ROW)
