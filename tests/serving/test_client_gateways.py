"""Clients before what answers in the place of a model server: proxies, what runs the server, other programs."""

import json
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
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
    """Gives each connection the next answer, b"" for none, and all that follow the last; keeps what they asked."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
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
                self.asked.append(connection.recv(65536).decode().partition(" HTTP/")[0])
                connection.sendall(self._answers[min(len(self.asked), len(self._answers)) - 1])


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
        assert len(proxy.asked) == 2


def test_a_proxy_that_never_finds_one_is_unreachable(kind: Any, open_client: Open) -> None:
    with closing(Scripted([answer(503, PAGE)])) as proxy:
        with pytest.raises(
            Unreachable, match=r"REST \(HTTP 503: <html> <h1>Service Unavailable</h1> </html>\)"
        ):
            open_client(kind, proxy.target, "clicks", retry=QUICK).status()
        assert len(proxy.asked) == 3


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
        assert len(proxy.asked) == 1
