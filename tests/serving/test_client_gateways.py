"""Clients before what stands in the place of a model server: proxies, other programs, addresses that are silent."""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from serving.client import (
    AsyncRestClient,
    BadAnswer,
    Refused,
    RestClient,
    Retry,
    TimedOut,
    Unreachable,
    connect,
    connect_async,
)

QUICK = Retry(attempts=3, first=0.01)
PAGE = b"<html>\n<h1>Service\nUnavailable</h1>\n</html>\n"
STATE = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
STATUS = json.dumps({"model_version_status": [STATE]}).encode()
Open = Callable[..., Any]


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """What a server sends that closes the connection after it."""
    head = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


class Scripted:
    """Gives each connection the next answer, and all that follow the last; counts them. One for b"" is reset."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self.asked += 1
                found = self._answers[min(self.asked, len(self._answers)) - 1]
                connection.recv(65536 if found else 1)  # what is not read at the end resets it
                connection.sendall(found)


@pytest.fixture(params=[RestClient, AsyncRestClient])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    ("status", "body"), [(502, PAGE), (502, b'{"message": "no"}'), (503, PAGE), (503, b""), (503, b'"no"')]
)
def test_a_proxy_that_finds_no_server_is_asked_again(
    kind: Any, status: int, body: bytes, open_client: Open
) -> None:
    with closing(Scripted([answer(status, body), answer(200, STATUS)])) as proxy:
        assert open_client(kind, proxy.target, "clicks", retry=QUICK).status()[0].version == 7
        assert proxy.asked == 2


def test_a_proxy_that_never_finds_one_is_unreachable(kind: Any, open_client: Open) -> None:
    with closing(Scripted([answer(503, PAGE)])) as proxy:
        with pytest.raises(
            Unreachable, match=r"REST \(HTTP 503: <html> <h1>Service Unavailable</h1> </html>\)"
        ):
            open_client(kind, proxy.target, "clicks", retry=QUICK).status()
        assert proxy.asked == 3


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (504, PAGE, TimedOut, "did not answer in time: HTTP 504: <html>"),
        (500, b"Internal Server Error", Refused, "answered UNKNOWN: HTTP 500: Internal Server Error$"),
        (403, b"\xff" * 1000, Refused, "answered PERMISSION_DENIED: HTTP 403: \ufffd{200}[.]{3}$"),
        (404, PAGE, BadAnswer, "answered 404 and no JSON: is it a model server"),
    ],
)
def test_other_answers_that_are_no_json_are_told_apart_by_their_status(
    kind: Any, status: int, body: bytes, error: type[Exception], message: str, open_client: Open
) -> None:
    with closing(Scripted([answer(status, body)])) as proxy:
        with pytest.raises(error, match=message):
            open_client(kind, proxy.target, "clicks", retry=QUICK).status()
        assert proxy.asked == 1


@pytest.mark.parametrize("connected", [connect, connect_async])
def test_all_that_connect_asks_has_one_deadline(
    connected: Open, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """It hears late what is spoken, late that the model has another name, and never how that one does."""
    unavailable, other = answer(503, b""), answer(404, b'{"error": "no"}', "cetnet-model: clicks")
    server = Scripted([b"", b"", b"", answer(200, STATUS), unavailable, unavailable, other, unavailable])
    retry = Retry(attempts=10**6, first=0.2, longest=0.2)
    caplog.set_level(logging.INFO, "serving.retry")
    with closing(server), pytest.raises(Unreachable):
        open_client(connected, server.target, deadline=1.5, retry=retry)
    pauses = [record.args[-1] for record in caplog.records if isinstance(record.args, tuple)]
    assert len(pauses) > 3 and sum(pauses) < 1.5


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[str], str, int], None]]:
    """Takes a port of an address, where no connection comes about, and makes `localhost` of addresses in order."""
    look_up = socket.getaddrinfo
    with ExitStack() as stack:

        def made(addresses: list[str], address: str, port: int) -> None:
            stack.enter_context(socket.create_server((address, port), backlog=0))
            for _ in range(3):  # the first one fills the queue
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))

            def found(host: Any, *options: Any, **more: Any) -> Any:
                hosts = addresses if host == "localhost" else [host]
                return [info for each in hosts for info in look_up(each, *options, **more)]

            monkeypatch.setattr(socket, "getaddrinfo", found)

        yield made


def opened_and_asked(target: str, **options: Any) -> Any:
    with RestClient(target, "clicks", **options) as client:
        return client.status()


@pytest.mark.parametrize("ask", [opened_and_asked, connect])
def test_an_address_that_is_silent_leaves_time_for_the_next(ask: Callable[..., Any], silent: Any) -> None:
    with closing(Scripted([answer(200, STATUS)])) as server:
        port = int(server.target.partition(":")[2])
        silent(["127.0.0.2", "127.0.0.1"], "127.0.0.2", port)
        ask(f"localhost:{port}", deadline=4.0, retry=Retry(attempts=1))
        assert server.asked == (2 if ask is connect else 1)


@pytest.mark.parametrize("ask", [opened_and_asked, connect])
def test_a_last_address_that_is_silent_is_tried_again_in_what_is_left(
    ask: Callable[..., Any], silent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed, caplog.at_level(logging.INFO, "serving.retry"):
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        silent(["127.0.0.1", "127.0.0.2"], "127.0.0.2", port)
        with pytest.raises(Unreachable):
            ask(f"localhost:{port}", deadline=2.0, retry=Retry(attempts=2, first=0.01))
    assert len(caplog.records) == 1
