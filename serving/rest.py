"""TensorFlow Serving's REST paths as a plain ASGI application."""

import asyncio
import json
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from inspect import signature as parameters_of
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from google.protobuf import json_format

from serving.inspection import metadata_response, status_response
from serving.json_output import predict_answer
from serving.json_parser import parse_object
from serving.json_tensor import input_arrays, signature_name
from serving.metadata import DEFAULT_SIGNATURE
from serving.status import HTTP_STATUS, Code, StatusError, invalid, status_of
from serving.versions import VersionManager

_SPEC = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_CALL = re.compile(rf"(?i)/v1/models/([^/:]+){_SPEC}:(classify|regress|predict)")
_LOOK = re.compile(rf"(?i)/v1/models(?:/([^/:]+))?{_SPEC}(?:/(metadata))?")
_API = re.compile(r"(?i)/v1/.*")
_MOST_BODY = 100 * 2**20  # bytes, also after decompression: where a stock server's own limit for gzip is
_NAME_HEADER = b"cetnet-model"
_NOT_FOUND_PAGE = b"<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>"


class Request(NamedTuple):
    """An HTTP request: `target` is the raw path with its query string, header names are in lower case."""

    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


class _Target(NamedTuple):
    name: str
    version: int | None
    label: str | None
    verb: str


class RestApp:
    """Answers REST calls about the models of a version manager; give it to an ASGI server.

    Args:
        versions: where the models are.
        threads: how many calls are worked on at once.
        timeout: seconds that running the model may take.
    """

    def __init__(self, versions: VersionManager, threads: int, timeout: float = 30.0) -> None:
        self._versions, self._timeout = versions, timeout
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")

    def close(self) -> None:
        """Waits for the calls that are being worked on."""
        self._pool.shutdown()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """The ASGI interface; scopes other than HTTP are not expected."""
        body, length = bytearray(), 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunk = message.get("body", b"")
            length += len(chunk)
            if length <= _MOST_BODY:
                body += chunk
            more = message.get("more_body", False)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = (scope["raw_path"] + query).decode("latin-1")
        request = Request(scope["method"], target, dict(scope["headers"]), bytes(body))
        if length > _MOST_BODY:
            answer = Answer(413, _error_body(f"The body has {length} bytes, at most {_MOST_BODY} are taken"))
        else:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, self.answer, request)
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode("ascii"))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def answer(self, request: Request) -> Answer:
        """The answer to a request, errors included."""
        if not _API.fullmatch(request.target):
            return Answer(404, _NOT_FOUND_PAGE, ((b"content-type", b"text/html"),))
        if request.method == "OPTIONS":
            allowed = re.search(rb"https?://", request.headers.get(b"origin", b""))
            return Answer(200 if allowed else 400, b"", ())
        try:
            return Answer(200, self._dispatch(request))
        except _TooLong:
            return Answer(400, b"")
        except Exception as problem:
            error = status_of(problem)
            answer = Answer(HTTP_STATUS[error.code], _error_body(error.message))
            if error.code != Code.NOT_FOUND:
                return answer
            served = quote(self._versions.name).encode("ascii")
            return answer._replace(headers=(*answer.headers, (_NAME_HEADER, served)))

    def _dispatch(self, request: Request) -> bytes:
        if request.method == "POST":
            match = _CALL.fullmatch(request.target)
            target = _target(match) if match else None
            if target and target.verb == "predict":
                return self._predict(target, _plain_body(request))
            if target and target.verb in ("classify", "regress"):
                raise StatusError(
                    Code.UNIMPLEMENTED, f"{target.verb} is not implemented by this server; use predict"
                )
        elif request.method == "GET":
            match = _LOOK.fullmatch(request.target)
            if match:
                return self._look(_target(match))
        raise invalid(f"Malformed request: {request.method} {request.target}")

    def _predict(self, target: _Target, body: bytes) -> bytes:
        document = parse_object(body)
        asked = signature_name(document)
        with self._versions.use(target.name, target.version, target.label) as model:
            signature = asked or DEFAULT_SIGNATURE
            known = model.metadata().signatures.get(signature)
            if known is None:
                raise invalid(f'Serving signature name: "{signature}" not found in signature def')
            if not known.inputs:
                raise invalid(f"Failed to get input map for signature: {asked or 'DEFAULT'}")
            in_rows, inputs = input_arrays(document, known.inputs)
            outputs = model.run(signature, inputs, timeout=self._timeout)
        return predict_answer(outputs, in_rows, {name: info.dtype for name, info in known.outputs.items()})

    def _look(self, target: _Target) -> bytes:
        if not target.name:
            raise invalid("Missing model name in request.")
        if target.verb != "metadata":  # a label is ignored here, as a stock server ignores it
            return _json(status_response(self._versions, target.name, target.version))
        response, signatures = metadata_response(self._versions, target.name, target.version, target.label)
        metadata = {"signature_def": _plain(signatures)}
        return json.dumps({"model_spec": _plain(response.model_spec), "metadata": metadata}).encode("utf-8")


class _TooLong(Exception):
    """The version in the path is above int64: a stock server answers with an empty body."""


def _target(match: re.Match[str]) -> _Target:
    name, digits, label, verb = match.groups()
    version = None
    if digits is not None:
        digits = digits.lstrip("0") or "0"
        if len(digits) > 19 or int(digits) >= 2**63:
            raise _TooLong
        version = int(digits)
    return _Target(_decoded(name or ""), version, _decoded(label) if label else None, verb)


def _decoded(part: str) -> str:
    return unquote_to_bytes(part.encode("latin-1")).decode("utf-8", "surrogateescape")


def _plain_body(request: Request) -> bytes:
    """The body, decompressed if it is gzip; what cannot be or gets too large counts as empty."""
    if b"gzip" not in request.headers.get(b"content-encoding", b""):
        return request.body
    unzip = zlib.decompressobj(wbits=31)
    try:
        body = unzip.decompress(request.body, _MOST_BODY)
    except zlib.error:
        return b""
    return body if unzip.eof else b""


def _error_body(message: str) -> bytes:
    return json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "replace")


_PRINT_EMPTY = next(  # as protobuf 3 and 4 call it, and from 5 on
    name
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in parameters_of(json_format.MessageToDict).parameters
)


def _plain(message: Any) -> dict[str, Any]:
    options: dict[str, Any] = {_PRINT_EMPTY: True, "preserving_proto_field_name": True}
    return json_format.MessageToDict(message, **options)


def _json(message: Any) -> bytes:
    return json.dumps(_plain(message)).encode("utf-8")
