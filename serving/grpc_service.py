"""TensorFlow Serving's gRPC services, PredictionService and ModelService, on the stock stubs."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.inspection import metadata_response, status_response
from serving.metrics import ServerMetrics
from serving.predict import RequestLog, answer_predict
from serving.status import Code, StatusError, invalid, status_of
from serving.versions import VersionManager

_LONGEST_MESSAGE = 1024  # bytes
_NAME_HEADER = "cetnet-model"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # with it a taken port looks free, and calls go to either server
)


def grpc_server(versions: VersionManager, metrics: ServerMetrics, pool: Any, log: RequestLog | None) -> Any:
    """A gRPC server with both services, without ports and not started."""
    server = grpc.server(pool, options=_SERVER_OPTIONS)
    predictions = _PredictionService(versions, metrics, log)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(versions), server)
    return server


def _answer(
    versions: VersionManager,
    context: Any,
    work: Callable[[], Any],
    ended: Callable[[Code], None] = lambda code: None,
) -> Any:
    try:
        response = work()
        ended(Code.OK)
        return response
    except Exception as problem:
        error = status_of(problem)
        ended(error.code)
        if error.code == Code.NOT_FOUND:
            context.set_trailing_metadata(((_NAME_HEADER, quote(versions.name)),))
        message = error.message.encode("utf-8", "replace")
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + b"...TRUNCATED"
        context.abort(_CODES[error.code], message.decode("utf-8", "ignore"))


def _refuse(method: str) -> None:
    raise StatusError(Code.UNIMPLEMENTED, f"{method} is not implemented by this server")


def _timeout(context: Any) -> float | None:
    """Seconds that the caller still waits; gRPC gives some 10 ** 16 for a call without a deadline."""
    remaining = context.time_remaining()
    return None if remaining is None or remaining > 10**9 else remaining


def _version(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None  # 0 is a version


def _label(spec: Any) -> str | None:
    return spec.version_label if spec.HasField("version_label") else None


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, versions: VersionManager, metrics: ServerMetrics, log: RequestLog | None) -> None:
        self._versions, self._metrics, self._log = versions, metrics, log

    def Predict(self, request: Any, context: Any) -> Any:
        return self._counted("Predict", request, context, lambda: self._predict(request, _timeout(context)))

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        return _answer(self._versions, context, lambda: self._metadata(request))

    def Classify(self, request: Any, context: Any) -> Any:
        return self._counted("Classify", request, context, lambda: _refuse("Classify"))

    def Regress(self, request: Any, context: Any) -> Any:
        return self._counted("Regress", request, context, lambda: _refuse("Regress"))

    def MultiInference(self, request: Any, context: Any) -> Any:
        return _answer(self._versions, context, lambda: _refuse("MultiInference"))

    def _counted(self, api: str, request: Any, context: Any, work: Callable[[], Any]) -> Any:
        began, name = time.perf_counter_ns(), request.model_spec.name

        def ended(code: Code) -> None:
            self._metrics.count_request(began, name, api, "GRPC", code)

        return _answer(self._versions, context, work, ended)

    def _predict(self, request: Any, timeout: float | None) -> Any:
        spec = _model_spec(request)
        with self._versions.use(spec.name, _version(spec), _label(spec)) as model:
            return answer_predict(model, request, timeout, self._log)

    def _metadata(self, request: Any) -> Any:
        spec = _model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name} is not supported")
        return metadata_response(self._versions, spec.name, _version(spec), _label(spec))[0]


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, versions: VersionManager) -> None:
        self._versions = versions

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        return _answer(self._versions, context, lambda: self._status(request))

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        return _answer(self._versions, context, lambda: _refuse("HandleReloadConfigRequest"))

    def _status(self, request: Any) -> Any:
        spec = _model_spec(request)
        return status_response(self._versions, spec.name, _version(spec))


def _model_spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec
