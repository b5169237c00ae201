"""A client for TensorFlow Serving's gRPC that needs neither TensorFlow nor its stubs."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np

from cetnet_keras.errors import WorkFailed
from serving import wire
from serving.arrays import typed_arrays
from serving.client_errors import Refused, Unreachable
from serving.metadata import (
    DEFAULT_SIGNATURE,
    ELEMENT_TYPE_NUMBER,
    ELEMENT_TYPES,
    ModelMetadata,
    Signature,
    TensorInfo,
    VersionStatus,
    type_name,
)
from serving.status import Code
from serving.target import parse_target

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class GrpcClient:
    """Asks one model of one server.

    Args:
        target: host:port.
        name: the model's name at the server.
        version: ask this version instead of the newest that is loaded.
        deadline: seconds that a call may take where it does not say.
    """

    def __init__(self, target: str, name: str, version: int | None = None, deadline: float = 30.0) -> None:
        self.target, self.name = target, name
        self._version, self._deadline = version, deadline
        local = parse_target(target).is_local
        options = (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if local else _OPTIONS
        self._channel = grpc.insecure_channel(target, options=options)
        self._metadata: ModelMetadata | None = None

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def predict(
        self,
        inputs: Mapping[str, np.ndarray | Sequence[Any]],
        signature: str = DEFAULT_SIGNATURE,
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """All outputs of a signature for these inputs; strings come and go as arrays of bytes objects.

        Types come from the model's metadata, which is asked for once; float64 is narrowed to float32.

        Raises:
            InputError: the inputs are not those of the signature, or it does not exist.
            Unreachable: no answer, or none in time.
            Refused: the server says no.
        """
        if self._metadata is None:
            self._metadata = self.metadata(deadline)
        request = wire.PredictRequest()
        self._fill_spec(request, signature)
        for name, array in typed_arrays(inputs, self._metadata, signature).items():
            _fill_tensor(request.inputs[name], array)
        response = self._call(_PREDICTION + "Predict", request, wire.PredictResponse, deadline)
        return {name: tensor_array(proto) for name, proto in response.outputs.items()}

    def metadata(self, deadline: float | None = None) -> ModelMetadata:
        """Signatures of the version that answers. Raises: Unreachable, Refused."""
        request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill_spec(request)
        response = self._call(
            _PREDICTION + "GetModelMetadata", request, wire.GetModelMetadataResponse, deadline
        )
        found = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        signatures = {key: read_signature(proto) for key, proto in found.signature_def.items()}
        return ModelMetadata(response.model_spec.name, response.model_spec.version.value, signatures)

    def status(self, deadline: float | None = None) -> list[VersionStatus]:
        """The state of the model's versions, newest first. Raises: Unreachable, Refused."""
        request = wire.GetModelStatusRequest()
        self._fill_spec(request)
        response = self._call(_MODEL + "GetModelStatus", request, wire.GetModelStatusResponse, deadline)
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

    def _call(self, method: str, request: Any, response_type: Any, deadline: float | None) -> Any:
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString,
        )
        try:
            return call(request, timeout=self._deadline if deadline is None else deadline)
        except grpc.RpcError as error:
            raise self._failure(error) from error

    def _failure(self, error: Any) -> Unreachable | Refused:
        code, details = error.code(), error.details() or "no details"
        reason = details.partition("\n")[0]
        if code == grpc.StatusCode.UNAVAILABLE:
            return Unreachable(f"{self.target} cannot be reached over gRPC ({reason}); is the server there?")
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unreachable(f"{self.target} did not answer in time: {reason}")
        trailing = {key: value for key, value in error.trailing_metadata() or ()}
        served = trailing.get("cetnet-model")
        return Refused(self.target, Code(code.value[0]), details, unquote(served) if served else None)


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
        WorkFailed: NumPy has no such type.
    """
    kind = ELEMENT_TYPES.get(proto.dtype)
    if kind is None or kind.numpy is None or (kind.field is None and kind.name != "half"):
        raise WorkFailed(
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
