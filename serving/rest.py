"""TensorFlow Serving's REST paths as a plain ASGI application."""

import asyncio
import json
import re
import time
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
from serving.metrics import METRICS_PATH, ServerMetrics
from serving.predict import RequestLog
from serving.status import HTTP_STATUS, Code, StatusError, invalid, status_of
from serving.versions import VersionManager

_SPEC = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_CALL = re.compile(rf"(?i)/v1/models/([^/:]+){_SPEC}:(classify|regress|predict)")
_LOOK = re.compile(rf"(?i)/v1/models(?:/([^/:]+))?{_SPEC}(?:/(metadata))?")
_API = re.compile(r"(?i)/v1/.*")
_MOST_BODY = 100 * 2**20  # bytes, also after decompression: where a stock server's own limit for gzip is
_TOO_LARGE = 2**63  # the first number that is no version
_NAME_HEADER = b"cetnet-model"
_PLAIN_TEXT = ((b"content-type", b"text/plain"),)
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
    verb: str  # "" in a GET
    resource: str


class RestApp:
    """Answers REST calls about the models of a version manager; give it to an ASGI server.

    Args:
        versions: where the models are.
        metrics: what counts the calls; shown at `METRICS_PATH`.
        threads: how many calls are worked on at once.
        timeout: seconds that running the model may take.
        log: gets every prediction.
    """

    def __init__(
        self,
        versions: VersionManager,
        metrics: ServerMetrics,
        threads: int,
        timeout: float = 30.0,
        log: RequestLog | None = None,
    ) -> None:
        self._versions, self._metrics, self._timeout, self._log = versions, metrics, timeout, log
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
        if request.target.partition("?")[0] == METRICS_PATH:
            return self._metrics_page(request.target)
        if not _API.fullmatch(request.target):
            return Answer(404, _NOT_FOUND_PAGE, ((b"content-type", b"text/html"),))
        began, target = time.perf_counter_ns(), _target(request)
        code, answer = self._coded_answer(request, target)
        name, verb = (target.name, target.verb) if target else ("", "")
        self._metrics.count_request(began, name, verb, "REST", code)
        return answer

    def _metrics_page(self, target: str) -> Answer:
        if target == METRICS_PATH:
            return Answer(200, self._metrics.page().encode(), _PLAIN_TEXT)
        text = f"Unexpected path: {target}. Should be {METRICS_PATH}"
        return Answer(400, text.encode("latin-1"), _PLAIN_TEXT)

    def _coded_answer(self, request: Request, target: _Target | None) -> tuple[Code, Answer]:
        if request.method == "OPTIONS":
            allowed = re.search(rb"https?://", request.headers.get(b"origin", b""))
            code = Code.OK if allowed else Code.FAILED_PRECONDITION
            return code, Answer(HTTP_STATUS[code], b"", ())
        if target and target.version == _TOO_LARGE:  # a stock server has no words for it
            return Code.INVALID_ARGUMENT, Answer(400, b"")
        try:
            return Code.OK, Answer(200, self._dispatch(request, target))
        except Exception as problem:
            error = status_of(problem)
            answer = Answer(HTTP_STATUS[error.code], _error_body(error.message))
            if error.code == Code.NOT_FOUND:
                served = quote(self._versions.name).encode("ascii")
                answer = answer._replace(headers=(*answer.headers, (_NAME_HEADER, served)))
            return error.code, answer

    def _dispatch(self, request: Request, target: _Target | None) -> bytes:
        if target and request.method == "GET":
            return self._look(target)
        if target and target.verb == "predict":
            return self._predict(target, _plain_body(request))
        if target and target.verb in ("classify", "regress"):
            raise StatusError(
                Code.UNIMPLEMENTED, f"{target.verb} is not implemented by this server; use predict"
            )
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
            if self._log is not None:
                self._log(model, target.name, signature, inputs, outputs)
        return predict_answer(outputs, in_rows, {name: info.dtype for name, info in known.outputs.items()})

    def _look(self, target: _Target) -> bytes:
        if not target.name:
            raise invalid("Missing model name in request.")
        if target.resource != "metadata":  # a label is ignored here, as a stock server ignores it
            return _json(status_response(self._versions, target.name, target.version))
        response, signatures = metadata_response(self._versions, target.name, target.version, target.label)
        metadata = {"signature_def": _plain(signatures)}
        return json.dumps({"model_spec": _plain(response.model_spec), "metadata": metadata}).encode("utf-8")


def _target(request: Request) -> _Target | None:
    """What a path names, None if it is malformed."""
    pattern = {"POST": _CALL, "GET": _LOOK}.get(request.method)
    match = pattern.fullmatch(request.target) if pattern else None
    if match is None:
        return None
    name, digits, label, word = match.groups()
    version = None
    if digits is not None:
        digits = digits.lstrip("0") or "0"
        version = min(int(digits), _TOO_LARGE) if len(digits) <= 19 else _TOO_LARGE
    verb, resource = ("", word) if request.method == "GET" else (word, "")
    return _Target(_decoded(name or ""), version, _decoded(label) if label else None, verb, resource)


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
