"""Turns what a caller hands to `predict` into arrays of exactly the types that a signature takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cetnet_keras.errors import InputError
from serving.metadata import ModelMetadata, Signature, TensorInfo, numpy_type


def as_array(value: Any) -> np.ndarray:
    """An array of what TensorFlow hands out: it unwraps scalars, those of strings to plain bytes."""
    if isinstance(value, bytes):
        return np.array(value, dtype=np.object_)
    return np.asarray(value)


def typed_arrays(
    inputs: Mapping[str, np.ndarray | Sequence[Any]], metadata: ModelMetadata, signature: str
) -> dict[str, np.ndarray]:
    """Arrays of the signature's types; strings become arrays of bytes objects (str is encoded as UTF-8).

    Nothing is guessed: no number is made of a text, no text of a number, no integer of a fraction.

    Raises:
        InputError: there is no such signature, an input is missing, unknown or of another kind.
    """
    known = known_signature(metadata, signature).inputs
    if inputs.keys() != known.keys():
        missing, unknown = sorted(known.keys() - inputs.keys()), sorted(inputs.keys() - known.keys())
        raise InputError(
            f"signature {signature} takes {', '.join(sorted(known))}; "
            f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        )
    return {name: _typed_array(name, inputs[name], info) for name, info in known.items()}


def known_signature(metadata: ModelMetadata, signature: str) -> Signature:
    """A signature by name.

    Raises:
        InputError: the model has none of that name.
    """
    if signature not in metadata.signatures:
        names = ", ".join(sorted(name for name, found in metadata.signatures.items() if found.inputs))
        raise InputError(f"model {metadata.name} has no signature {signature}; it has {names}")
    return metadata.signatures[signature]


def _typed_array(name: str, values: Any, info: TensorInfo) -> np.ndarray:
    target = numpy_type(info.dtype)
    if target is None:
        raise InputError(f"input {name} is of type {info.dtype}, which NumPy does not have")
    if target is np.object_:
        return _bytes_array(name, np.asarray(values, dtype=np.object_))
    array = np.asarray(values)
    if array.dtype == target:
        return array
    if array.size and array.dtype.kind not in _FED_FROM.get(np.dtype(target).kind, ""):
        raise _wrong_kind(name, info, "str" if array.dtype.kind == "U" else array.dtype.name)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, as in the server's own parser
        cast: np.ndarray = array.astype(target)
    if np.dtype(target).kind in "iu" and not np.array_equal(cast, array):
        raise InputError(f"input {name}: a value is outside of {info.dtype}")
    return cast


_FED_FROM = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}  # NumPy's kinds: float, signed, unsigned, bool


def _bytes_array(name: str, values: np.ndarray) -> np.ndarray:
    flat = values.ravel().tolist()
    kinds = set(map(type, flat))
    if not kinds <= {str, bytes}:
        raise _wrong_kind(name, info=TensorInfo("string", None), found=(kinds - {str, bytes}).pop().__name__)
    encoded = np.empty(len(flat), dtype=np.object_)
    encoded[:] = [value.encode("utf-8") if isinstance(value, str) else value for value in flat]
    return encoded.reshape(values.shape)


def _wrong_kind(name: str, info: TensorInfo, found: str) -> InputError:
    return InputError(f"input {name}: found values of type {found}, the signature takes {info.dtype}")
