"""TensorFlow Serving's gRPC for clients that have neither TensorFlow nor its stubs."""

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
import grpc.aio
import numpy as np

from serving import wire
from serving.async_client import AsyncClient
from serving.blocking import settled
from serving.blocking_client import Client
from serving.client_errors import BadAnswer, Refused, Unreachable, failure
from serving.metadata import (
    ELEMENT_TYPE_NUMBER,
    ELEMENT_TYPES,
    ModelMetadata,
    Prediction,
    Signature,
    TensorInfo,
    VersionStatus,
    type_name,
)
from serving.retry import DEFAULT_RETRY, Retry
from serving.status import Code
from serving.target import parse_target

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # a lost channel fails every call at once until it connects anew, a second later if it has its own way
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

if TYPE_CHECKING:
    from serving.prediction_log import PredictionLog  # needs pyarrow


class GrpcBackend:
    """One model of one server over gRPC; see `serving.async_client.Backend`.

    Args:
        target: host:port.
        name: the model's name at the server.
        version: ask this version instead of the newest that is loaded.
        blocking: without an event loop.
    """

    def __init__(self, target: str, name: str, version: int | None, blocking: bool) -> None:
        parsed = parse_target(target)
        self.target, self.name, self.blocking = parsed.address, name, blocking
        self._version = version
        options = (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if parsed.is_local else _OPTIONS
        open_channel: Any = grpc.insecure_channel if blocking else grpc.aio.insecure_channel
        self._channel = open_channel(self.target, options=options)

    async def close(self) -> None:
        """Closes the channel."""
        await settled(self._channel.close())

    async def predict(
        self, arrays: dict[str, np.ndarray], signature: str, known: Signature, timeout: float
    ) -> Prediction:
        """All outputs of a signature for typed arrays."""
        request = wire.PredictRequest()
        self._fill_spec(request, signature)
        for name, array in arrays.items():
            _fill_tensor(request.inputs[name], array)
        response = await self._call(_PREDICTION + "Predict", request, wire.PredictResponse, timeout)
        outputs = {name: tensor_array(proto) for name, proto in response.outputs.items()}
        return Prediction(outputs, response.model_spec.version.value)

    async def metadata(self, timeout: float) -> ModelMetadata:
        """Signatures of the version that answers."""
        request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill_spec(request)
        response = await self._call(
            _PREDICTION + "GetModelMetadata", request, wire.GetModelMetadataResponse, timeout
        )
        found = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        signatures = {key: read_signature(proto) for key, proto in found.signature_def.items()}
        return ModelMetadata(response.model_spec.name, response.model_spec.version.value, signatures)

    async def status(self, timeout: float) -> list[VersionStatus]:
        """The state of the model's versions, newest first."""
        request = wire.GetModelStatusRequest()
        self._fill_spec(request)
        response = await self._call(_MODEL + "GetModelStatus", request, wire.GetModelStatusResponse, timeout)
        return [
            VersionStatus(
                entry.version,
                _STATES[entry.state],
                Code(entry.status.error_code).name,
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def _fill_spec(self, request: Any, signature: str = "") -> None:
        request.model_spec.name = self.name
        request.model_spec.signature_name = signature
        if self._version is not None:
            request.model_spec.version.value = self._version

    async def _call(self, method: str, request: Any, response_type: Any, timeout: float) -> Any:
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString,
        )
        try:
            return await settled(call(request, timeout=timeout))
        except grpc.RpcError as error:
            raise self._failure(error) from error

    def _failure(self, error: Any) -> Unreachable | Refused:
        trailing = {key: value for key, value in error.trailing_metadata() or ()}
        served = trailing.get("cetnet-model")
        code, details = Code(error.code().value[0]), error.details() or "no details"
        return failure(self.target, "gRPC", code, details, unquote(served) if served else None)


class GrpcClient(Client):
    """Asks one model of one server over gRPC. Any number of threads may share it.

    Args:
        target: host:port.
        name: the model's name at the server.
        version: ask this version instead of the newest that is loaded.
        deadline: seconds that a call may take where it does not say.
        retry: how often and when an attempt is repeated that could not reach the server.
        log: gets what is asked and answered.
    """

    def __init__(
        self,
        target: str,
        name: str,
        version: int | None = None,
        deadline: float = 30.0,
        retry: Retry = DEFAULT_RETRY,
        log: "PredictionLog | None" = None,
    ) -> None:
        super().__init__(GrpcBackend(target, name, version, blocking=True), deadline, retry, log)


class AsyncGrpcClient(AsyncClient):
    """`GrpcClient` for code with an event loop, in which it is made.

    Args:
        target, name, version, deadline, retry, log: as `GrpcClient`.
        in_flight: requests that a call has under way at once, where its input takes several.
    """

    def __init__(
        self,
        target: str,
        name: str,
        version: int | None = None,
        deadline: float = 30.0,
        retry: Retry = DEFAULT_RETRY,
        log: "PredictionLog | None" = None,
        in_flight: int = 4,
    ) -> None:
        super().__init__(GrpcBackend(target, name, version, blocking=False), deadline, retry, log, in_flight)


def read_signature(proto: Any) -> Signature:
    """What a SignatureDef says of its tensors."""
    inputs = {alias: _tensor_info(info) for alias, info in sorted(proto.inputs.items())}
    return Signature(inputs, {alias: _tensor_info(info) for alias, info in sorted(proto.outputs.items())})


def _tensor_info(proto: Any) -> TensorInfo:
    shape = None if proto.tensor_shape.unknown_rank else tuple(dim.size for dim in proto.tensor_shape.dim)
    return TensorInfo(type_name(proto.dtype), shape)


def _fill_tensor(proto: Any, array: np.ndarray) -> None:
    kind = "string" if array.dtype == np.object_ else _TYPE_NAMES[array.dtype]
    proto.dtype = ELEMENT_TYPE_NUMBER[kind]
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if kind == "string":
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


_TYPE_NAMES: dict[Any, str] = {
    np.dtype(kind.numpy): kind.name for kind in ELEMENT_TYPES.values() if kind.numpy
}


def tensor_array(proto: Any) -> np.ndarray:
    """The array in a TensorProto, from tensor_content or the type's own field; strings as bytes objects.

    Raises:
        BadAnswer: NumPy has no such type.
    """
    kind = ELEMENT_TYPES.get(proto.dtype)
    if kind is None or kind.numpy is None or (kind.field is None and kind.name != "half"):
        raise BadAnswer(
            f"the answer holds a tensor of type {type_name(proto.dtype)}, which this client cannot read"
        )
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = int(np.prod(shape, dtype=np.int64))
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype=np.dtype(kind.numpy).newbyteorder("<"))[
            :size
        ].reshape(shape)
    values = list(proto.half_val if kind.field is None else getattr(proto, kind.field))[:size]
    if len(values) < size:  # a compressed tensor: its last value stands for all that follow
        default: Any = b"" if kind.name == "string" else 0
        values += [values[-1] if values else default] * (size - len(values))
    if kind.field is None:
        return np.array(values, dtype=np.uint16).view(np.float16).reshape(shape)
    array: np.ndarray = np.empty(size, dtype=kind.numpy)
    array[:] = values
    return array.reshape(shape)
