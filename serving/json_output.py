"""The JSON of a REST predict answer, in rows or columns, as TensorFlow Serving writes it."""

import base64
import json
from collections.abc import Mapping

import numpy as np

from serving.status import invalid


def predict_answer(arrays: Mapping[str, np.ndarray], in_rows: bool, types: Mapping[str, str]) -> bytes:
    """The body of the answer, compact.

    A single output is written bare, several as objects. An output whose name ends in `_bytes` is written in
    base64; bytes of others that are no UTF-8 are replaced by U+FFFD (a stock server writes invalid JSON).

    Args:
        arrays: outputs by name, strings as arrays of bytes objects.
        in_rows: the form of the request, and so of the answer.
        types: TensorFlow's name for the type of each output.
    Raises:
        StatusError: INVALID_ARGUMENT; an output's type has no JSON form, or it has no rows.
    """
    if in_rows:
        _check_rows(arrays)
        rows = {name: _values(name, array, types[name], 1) for name, array in arrays.items()}
        if len(rows) == 1:
            (values,) = rows.values()
        else:
            keys = [_string(name) + ":" for name in rows]
            values = [
                "{" + ",".join(map(str.__add__, keys, row)) + "}" for row in zip(*rows.values(), strict=True)
            ]
        return ('{"predictions":[' + ",".join(values) + "]}").encode("utf-8")
    columns = {name: _values(name, array, types[name], 0)[0] for name, array in arrays.items()}
    if len(columns) == 1:
        (text,) = columns.values()
    else:
        text = "{" + ",".join(f"{_string(name)}:{column}" for name, column in columns.items()) + "}"
    return ('{"outputs":' + text + "}").encode("utf-8")


def _check_rows(arrays: Mapping[str, np.ndarray]) -> None:
    rows = None
    for name, array in arrays.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows is not None and len(array) != rows:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}")
        rows = len(array)


def _values(name: str, array: np.ndarray, dtype: str, outer: int) -> list[str]:
    """JSON texts of the parts below the first `outer` dimensions: one for each row, or a single one."""
    texts = _texts(name, array.ravel(), dtype) if array.size else []
    for level in range(array.ndim - 1, outer - 1, -1):
        size = array.shape[level]
        parts = int(np.prod(array.shape[:level], dtype=np.int64))
        texts = ["[" + ",".join(texts[part * size : (part + 1) * size]) + "]" for part in range(parts)]
    return texts


def _texts(name: str, flat: np.ndarray, dtype: str) -> list[str]:
    if dtype in ("float", "double"):
        return _float_texts(flat)
    if dtype in ("int64", "int32", "int16", "int8", "uint8", "uint32", "uint64"):
        return list(map(str, flat.tolist()))
    if dtype == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    if dtype == "string" and name.endswith("_bytes"):
        return ['{"b64":"' + base64.b64encode(value).decode("ascii") + '"}' for value in flat.tolist()]
    if dtype == "string":
        return [_string(value.decode("utf-8", "replace")) for value in flat.tolist()]
    raise invalid(f"Failed to write JSON value for tensor type: {dtype}")


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _float_texts(flat: np.ndarray) -> list[str]:
    """Six digits where they read back equal, else as many as the type can need."""
    digits = 9 if flat.dtype == np.float32 else 17
    values = flat.tolist()
    texts = [f"{value:g}" for value in values]
    with np.errstate(over="ignore"):  # six digits of the largest float32 round up to infinity
        equal = np.array(list(map(float, texts)), dtype=np.float64).astype(flat.dtype) == flat
    for index in np.flatnonzero(~equal).tolist():
        texts[index] = f"{values[index]:.{digits}g}"
    return list(map(_number, texts))


_NAMED = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _number(text: str) -> str:
    """Whole numbers keep a point, so that a list has one type; RapidJSON has names for what JSON has not."""
    if "." in text or "e" in text:
        return text
    return _NAMED.get(text) or text + ".0"
