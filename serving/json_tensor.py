"""The body of a REST predict call, in rows or columns, as tensors, read as TensorFlow Serving does.

Rectangular lists, which nearly all requests are, go through NumPy a column at a time. All others go value by
value, in the order in which a stock server reads them, until the first value that is wrong.
"""

import base64
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving.json_debug import debug_text, json_type
from serving.metadata import TensorInfo, numpy_type, shape_text
from serving.status import Code, StatusError, invalid

_MOST_DIMENSIONS = 32  # of a NumPy array


def _is_integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


_INT32 = _is_integer(-(2**31), 2**31 - 1)
_FITS: dict[str, Callable[[Any], bool]] = {  # which JSON values an element type takes
    "float": lambda value: type(value) in (int, float),
    "double": lambda value: type(value) in (int, float),
    "int32": _INT32,
    "int16": _INT32,  # any int32 token, which then wraps
    "int8": _INT32,
    "uint8": _INT32,
    "int64": _is_integer(-(2**63), 2**63 - 1),
    "uint32": _is_integer(0, 2**32 - 1),
    "uint64": _is_integer(0, 2**64 - 1),
    "bool": lambda value: type(value) is bool,
    "string": lambda value: type(value) is str,
}
_KINDS: dict[str, set[Any]] = {name: {int} for name in _FITS} | {  # and their Python types
    "float": {int, float},
    "double": {int, float},
    "bool": {bool},
    "string": {str},
}
_WIDE = {"float": np.float64, "int8": np.int64, "int16": np.int64, "uint8": np.int64}  # then cast


def signature_name(document: dict[str, Any]) -> str:
    """The signature that the body asks for, "" for the default one.

    Raises:
        StatusError: INVALID_ARGUMENT; it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {debug_text(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def input_arrays(
    document: dict[str, Any], inputs: Mapping[str, TensorInfo]
) -> tuple[bool, dict[str, np.ndarray]]:
    """Whether the body is in rows, and an array for each of the signature's inputs; strings as bytes objects.

    Raises:
        StatusError: INVALID_ARGUMENT, or UNIMPLEMENTED for a type that JSON cannot feed.
    """
    if "instances" in document:
        if "inputs" in document:
            raise _wrong(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
            )
        rows = document["instances"]
        if not isinstance(rows, list):
            raise _wrong(document, "Expecting 'instances' to be an list/array")
        if not rows:
            raise _wrong(document, "No values in 'instances' array")
        return True, _from_rows(rows, inputs)
    if "inputs" in document:
        return False, _from_columns(document["inputs"], inputs)
    raise invalid("Missing 'inputs' or 'instances' key")


def _wrong(value: Any, what: str) -> StatusError:
    return invalid(f"JSON Value: {debug_text(value)} {what}")


def _from_columns(value: Any, inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or _is_base64(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        ((name, info),) = inputs.items()
        return {name: _tensor(value, info.dtype, name)}
    arrays = {}
    for name, info in inputs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _tensor(value[name], info.dtype, name)
    return arrays


def _from_rows(rows: list[Any], inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    keyed = _is_row(rows[0])
    if not keyed and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    columns = _columns(rows, inputs, keyed)
    if columns is not None:
        arrays = {name: _rectangular(columns[name], info.dtype) for name, info in inputs.items()}
        if all(array is not None for array in arrays.values()):
            return {name: array for name, array in arrays.items() if array is not None}
    return _row_by_row(rows, inputs, keyed)


def _columns(rows: list[Any], inputs: Mapping[str, TensorInfo], keyed: bool) -> dict[str, list[Any]] | None:
    """The rows turned into a list for each input, None if a row's keys are not just the inputs."""
    if not keyed:
        return {next(iter(inputs)): rows}
    if set(map(type, rows)) != {dict} or not all(row.keys() == inputs.keys() for row in rows):
        return None
    return {name: [row[name] for row in rows] for name in inputs}


def _row_by_row(rows: list[Any], inputs: Mapping[str, TensorInfo], keyed: bool) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for index, row in enumerate(rows):
        if keyed and not _is_row(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        if not keyed and _is_row(row):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        for name, value in row.items() if keyed else [(next(iter(inputs)), row)]:
            try:
                parts.setdefault(name, []).append(_row_value(value, name, inputs, parts))
            except StatusError as error:
                where = f"element: {index} key: {name}" if keyed else f"element: {index}"
                reason = f"{error.code.name}: {error.message}"
                raise invalid(f"Failed to process {where} of 'instances' list. Error: {reason}") from error
        if keyed and row.keys() != inputs.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {debug_text(row)} "
                f"keys must be equal to: {','.join(sorted(inputs))}"
            )
    return {name: np.stack(arrays) for name, arrays in parts.items()}


def _row_value(
    value: Any, name: str, inputs: Mapping[str, TensorInfo], parts: Mapping[str, list[np.ndarray]]
) -> np.ndarray:
    if name not in inputs:
        raise invalid(f"JSON object: does not have named input: {name}")
    array = _tensor(value, inputs[name].dtype, name)
    if parts[name]:
        first = parts[name][0]
        if array.size != first.size:
            raise invalid(f"Expecting tensor size: {first.size} but got: {array.size}")
        if array.shape != first.shape:
            raise invalid(f"Expecting shape {shape_text(first.shape)} but got: {shape_text(array.shape)}")
    return array


def _tensor(value: Any, dtype: str, name: str) -> np.ndarray:
    if isinstance(value, list):
        array = _rectangular(value, dtype)
        if array is not None:
            return array
    shape = _shape(value)
    if len(shape) > _MOST_DIMENSIONS:
        raise invalid(f"tensor parsing error: {name}")
    leaves: list[Any] = []
    _collect(value, 0, shape, dtype, leaves)
    return _array(leaves, dtype).reshape(shape)


def _rectangular(value: list[Any], dtype: str) -> np.ndarray | None:
    """A list as an array if it is rectangular and its values fit, else None; without a loop over values."""
    if dtype not in _FITS:
        return None
    flat, shape = value, [len(value)]
    while flat and type(flat[0]) is list:
        if len(shape) == _MOST_DIMENSIONS or set(map(type, flat)) != {list} or len(set(map(len, flat))) != 1:
            return None
        shape.append(len(flat[0]))
        flat = list(itertools.chain.from_iterable(flat))
    if not set(map(type, flat)) <= _KINDS[dtype]:
        return None
    if flat and _KINDS[dtype] == {int} and not (_FITS[dtype](min(flat)) and _FITS[dtype](max(flat))):
        return None
    return _array(flat, dtype).reshape(shape)


def _array(leaves: list[Any], dtype: str) -> np.ndarray:
    if dtype == "string":
        array = np.empty(len(leaves), dtype=np.object_)
        array[:] = [
            leaf if type(leaf) is bytes else leaf.encode("utf-8", "surrogateescape") for leaf in leaves
        ]
        return array
    target = numpy_type(dtype)
    with np.errstate(over="ignore"):  # beyond float32 is infinity
        return np.array(leaves, dtype=_WIDE.get(dtype, target)).astype(target, copy=False)


def _shape(value: Any) -> tuple[int, ...]:
    """Sizes read along the first elements; whether the others agree is seen later."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return tuple(sizes)


def _collect(value: Any, level: int, shape: tuple[int, ...], dtype: str, leaves: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise _wrong(
                value,
                f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}",
            )
        leaves.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, dtype, leaves)


def _leaf(value: Any, dtype: str) -> Any:
    if isinstance(value, dict) and dtype == "string":
        return _decode_base64(value)
    if not isinstance(value, dict) and dtype not in _FITS:
        raise StatusError(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {debug_text(value)} to type: {dtype}"
        )
    if isinstance(value, dict) or not _FITS[dtype](value):
        raise _wrong(value, f"Type: {json_type(value)} is not of expected type: {dtype}")
    return value


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def _decode_base64(value: dict[str, Any]) -> bytes:
    """Padding is optional but must be right, blanks are skipped, the URL-safe alphabet is refused."""
    if not _is_base64(value):
        raise _wrong(value, "not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    bare = text.rstrip("=")
    padding = -len(bare) % 4
    if padding == 3 or len(text) - len(bare) not in (0, padding) or not _BASE64.fullmatch(bare):
        raise invalid("Unable to base64 decode")
    return base64.b64decode(bare + "=" * padding)
