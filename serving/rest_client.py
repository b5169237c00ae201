"""A client for TensorFlow Serving's REST that needs neither TensorFlow nor the model."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import requests

from cetnet_keras.errors import WorkFailed
from serving.arrays import typed_arrays
from serving.client_errors import Refused, Unreachable
from serving.metadata import (
    DEFAULT_SIGNATURE,
    ModelMetadata,
    Signature,
    TensorInfo,
    VersionStatus,
    numpy_type,
)
from serving.status import HTTP_STATUS, Code
from serving.target import parse_target


class RestClient:
    """Asks one model of one server.

    Args:
        target: host:port.
        name: the model's name at the server.
        version: ask this version instead of the newest that is loaded.
        deadline: seconds that a call may take where it does not say.
    """

    def __init__(self, target: str, name: str, version: int | None = None, deadline: float = 30.0) -> None:
        self.target, self.name = target, name
        self._url = f"http://{target}/v1/models/{quote(name, safe='')}"
        if version is not None:
            self._url += f"/versions/{version}"
        self._deadline = deadline
        self._session = requests.Session()
        self._session.trust_env = not parse_target(target).is_local  # a proxy cannot reach a local server
        self._metadata: ModelMetadata | None = None

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def predict(
        self,
        inputs: Mapping[str, np.ndarray | Sequence[Any]],
        signature: str = DEFAULT_SIGNATURE,
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """All outputs of a signature for these inputs; strings come and go as arrays of bytes objects.

        Types come from the model's metadata, which is asked for once; numbers keep their exact bits.

        Raises:
            InputError: the inputs are not those of the signature, or it does not exist.
            Unreachable: no answer, or none in time.
            Refused: the server says no.
        """
        if self._metadata is None:
            self._metadata = self.metadata(deadline)
        arrays = typed_arrays(inputs, self._metadata, signature)
        columns = {name: json_value(array) for name, array in arrays.items()}
        answer = self._call("POST", ":predict", deadline, {"signature_name": signature, "inputs": columns})
        known = self._metadata.signatures[signature].outputs
        outputs = answer["outputs"]
        if len(known) == 1:  # a single output comes without its name
            outputs = {name: outputs for name in known}
        return {name: _array(outputs[name], info) for name, info in known.items()}

    def metadata(self, deadline: float | None = None) -> ModelMetadata:
        """Signatures of the version that answers. Raises: Unreachable, Refused."""
        answer = self._call("GET", "/metadata", deadline)
        found = answer["metadata"]["signature_def"]["signature_def"]
        spec = answer["model_spec"]
        return ModelMetadata(
            spec["name"], int(spec["version"]), {key: _signature(item) for key, item in found.items()}
        )

    def status(self, deadline: float | None = None) -> list[VersionStatus]:
        """The state of the model's versions, newest first. Raises: Unreachable, Refused."""
        answer = self._call("GET", "", deadline)
        return [
            VersionStatus(
                int(entry["version"]),
                entry["state"],
                entry["status"]["error_code"],
                entry["status"]["error_message"],
            )
            for entry in answer["model_version_status"]
        ]

    def _call(self, method: str, path: str, deadline: float | None, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8")
        try:
            response = self._session.request(
                method, self._url + path, data=data, timeout=self._deadline if deadline is None else deadline
            )
        except requests.Timeout as error:
            raise Unreachable(f"{self.target} did not answer in time") from error
        except requests.RequestException as error:
            reason: BaseException = error
            while reason.__context__ is not None:  # requests wraps what the socket said three times over
                reason = reason.__context__
            raise Unreachable(
                f"{self.target} cannot be reached over REST ({reason}); is the server there?"
            ) from error
        try:
            answer = response.json()
        except ValueError as error:
            raise WorkFailed(
                f"{self.target} answered {response.status_code} and no JSON: is it a model server?"
            ) from error
        if response.status_code != 200:
            served = response.headers.get("cetnet-model")
            message = answer.get("error", response.text) if isinstance(answer, dict) else response.text
            raise Refused(
                self.target, _code(response.status_code), message, unquote(served) if served else None
            )
        return answer


def _code(http_status: int) -> Code:
    """The first code that has this HTTP status; several share one."""
    return next((code for code, status in HTTP_STATUS.items() if status == http_status), Code.UNKNOWN)


def json_value(array: np.ndarray) -> Any:
    """An array as TensorFlow Serving's JSON has it, bytes that are no text in base64."""
    if array.dtype != np.object_:
        return array.tolist()
    flat = np.empty(array.size, dtype=np.object_)
    flat[:] = [_json_string(value) for value in array.ravel().tolist()]
    return flat.reshape(array.shape).tolist()


def _json_string(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


def _array(value: Any, info: TensorInfo) -> np.ndarray:
    if info.dtype != "string":
        return np.array(value, dtype=numpy_type(info.dtype))
    texts: np.ndarray = np.array(value, dtype=object)
    flat: np.ndarray = np.empty(texts.size, dtype=object)
    flat[:] = [_bytes(item) for item in texts.ravel().tolist()]
    return flat.reshape(texts.shape)


def _bytes(item: Any) -> bytes:
    return base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode("utf-8")


def _signature(item: Mapping[str, Any]) -> Signature:
    inputs = {alias: _tensor_info(info) for alias, info in sorted(item["inputs"].items())}
    return Signature(inputs, {alias: _tensor_info(info) for alias, info in sorted(item["outputs"].items())})


def _tensor_info(item: Mapping[str, Any]) -> TensorInfo:
    shape = item["tensor_shape"]
    sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
    return TensorInfo(item["dtype"].removeprefix("DT_").lower(), sizes)
