"""Turns what a caller hands to `predict` into arrays of exactly the types that a signature takes."""

from collections.abc import Iterator, Mapping, Sequence
from reprlib import repr  # a value of a row may be long
from typing import Any

import numpy as np

from cetnet_keras.errors import InputError
from serving.client_errors import BadAnswer
from serving.metadata import MISSING, ModelMetadata, Signature, TensorInfo, numpy_type, shape_text
from serving.tables import Table, columns_of, length_of


def as_array(value: Any) -> np.ndarray:
    """An array of what TensorFlow hands out: it unwraps scalars, those of strings to plain bytes."""
    if isinstance(value, bytes):
        return np.array(value, dtype=np.object_)
    return np.asarray(value)


def typed_arrays(inputs: Table, metadata: ModelMetadata, signature: str) -> dict[str, np.ndarray]:
    """Arrays of the signature's types; strings become arrays of bytes objects (str is encoded as UTF-8).

    None, NaN and pandas' NA become what a signature takes for missing: "", NaN or -1. Lists that are shorter
    than others are filled up with it. Nothing is guessed: no number is made of a text, no text of a number,
    no integer of a fraction.

    Args:
        inputs: a dict of columns, a list of dicts (one a row), a pandas DataFrame or an Arrow table.
        metadata: what the model says of itself.
        signature: the signature's name.
    Raises:
        InputError: there is no such signature, an input is missing, unknown or of another kind or shape.
    """
    (arrays,) = batches(inputs, known_signature(metadata, signature), signature, None)
    return arrays


def batches(
    inputs: Table, known: Signature, name: str, batch_size: int | None
) -> Iterator[dict[str, np.ndarray]]:
    """As `typed_arrays`, but `batch_size` rows at a time.

    All at once where None, and where it is not sure that the signature answers row by row: an input or output
    has no dimension for rows, or the inputs have unequal lengths.
    """
    columns = columns_of(inputs, known.inputs, f"signature {name}")
    rows = _rows(columns, known)
    size = rows if batch_size is None else batch_size
    if rows <= size:
        yield {key: typed_array(key, values, known.inputs[key]) for key, values in columns.items()}
        return
    for start in range(0, rows, size):
        yield {
            key: typed_array(key, values[start : start + size], known.inputs[key], start)
            for key, values in columns.items()
        }


def joined(answers: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The outputs for the rows of all `batches`, in their order.

    Raises:
        BadAnswer: the outputs of a batch have unequal numbers of rows, or rows of another shape than others.
    """
    if len(answers) == 1:
        return dict(answers[0])
    try:
        if any(len({len(array) for array in answer.values()}) > 1 for answer in answers):
            raise ValueError("its outputs have unequal numbers of rows")
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
    except ValueError as error:
        raise BadAnswer(f"the signature does not answer row by row: {error}; give batch_size=None") from error


def known_signature(metadata: ModelMetadata, signature: str) -> Signature:
    """A signature by name.

    Raises:
        InputError: the model has none of that name.
    """
    if signature not in metadata.signatures:
        names = ", ".join(sorted(name for name, found in metadata.signatures.items() if found.inputs))
        raise InputError(f"model {metadata.name} has no signature {signature}; it has {names}")
    return metadata.signatures[signature]


def typed_array(name: str, values: Any, info: TensorInfo, rows_before: int = 0) -> np.ndarray:
    """An array of the input's type and shape; see `typed_arrays`.

    Args:
        name: of the input, for messages.
        values: an array, or a list or tuple; shorter lists within a row are filled up.
        info: type and shape.
        rows_before: messages count rows from 1 after as many.
    Raises:
        InputError: a value is of another kind or out of range, or the shape is not the input's.
    """
    target = numpy_type(info.dtype)
    if target is None:
        raise InputError(f"input {name} is of type {info.dtype}, which NumPy does not have")
    dtype = np.dtype(target)
    array = _numbers(values, info, dtype)
    if array is not None:
        array = _cast(name, array, info, dtype, rows_before)
    else:
        array = _converted(name, _objects(name, values, info, rows_before), info, dtype, rows_before)
    if not info.accepts(array.shape):
        raise InputError(
            f"input {name}: found shape {shape_text(array.shape)}, "
            f"the signature takes {shape_text(info.shape or ())} (-1: any size)"
        )
    return array


def _rows(columns: Mapping[str, Any], known: Signature) -> int:
    """How many rows the columns hold; 0 where they cannot be told apart."""
    tensors = [*known.inputs.values(), *known.outputs.values()]
    if not all(info.shape and info.shape[0] == -1 for info in tensors):
        return 0
    lengths = set(map(length_of, columns.values()))
    return lengths.pop() if len(lengths) == 1 else 0


def _numbers(values: Any, info: TensorInfo, dtype: np.dtype[Any]) -> np.ndarray | None:
    """What NumPy reads as numbers by itself; None where each value has to be looked at."""
    if dtype.kind == "O":
        return None
    if isinstance(values, np.ndarray):
        return None if values.dtype.kind == "O" else values
    try:
        array = np.asarray(values)
    except ValueError:  # lists of unequal lengths
        return None
    fits = array.size and array.dtype.kind in _FED_FROM.get(dtype.kind, "") and info.accepts(array.shape)
    return array if fits else None


def _cast(
    name: str, array: np.ndarray, info: TensorInfo, dtype: np.dtype[Any], rows_before: int
) -> np.ndarray:
    if array.dtype == dtype:
        return array
    if array.size and array.dtype.kind not in _FED_FROM.get(dtype.kind, ""):
        kind = "str" if array.dtype.kind == "U" else array.dtype.name
        raise InputError(f"input {name}: found values of type {kind}, the signature takes {info.dtype}")
    with np.errstate(over="ignore"):  # beyond float32 is infinity, as in the server's own parser
        cast: np.ndarray = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(cast, array):
        index = int(np.argmax((cast != array).ravel()))
        raise _outside(name, array, index, rows_before, info)
    return cast


_FED_FROM = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}  # NumPy's kinds: float, signed, unsigned, bool
_VALUES: dict[str, tuple[type, ...]] = {  # the same for single values
    "f": (float, int, np.floating, np.integer),
    "i": (int, np.integer),
    "u": (int, np.integer),
    "b": (bool, np.bool_),
    "O": (str, bytes),
}


def _objects(name: str, values: Any, info: TensorInfo, rows_before: int) -> np.ndarray:
    """An array of objects of the input's rank; what lists lack is None."""
    rank = None if info.shape is None else len(info.shape)
    if isinstance(values, np.ndarray) and (values.dtype.kind != "O" or values.ndim == rank):
        return values.astype(np.object_, copy=False)
    if rank is None or (isinstance(values, np.ndarray) and not values.ndim):
        return np.asarray(values, dtype=np.object_)
    sizes = (info.shape or ())[1:]
    rows = []
    for number, value in enumerate(values, rows_before + 1):
        try:
            rows.append(_padded(value, sizes))
        except ValueError as error:
            raise InputError(
                f"input {name}, row {number}: {error}, the signature takes {info.dtype} "
                f"{shape_text(info.shape or ())} (-1: any size)"
            ) from None
    return _stacked(rows, sizes)


def _padded(value: Any, sizes: Sequence[int]) -> Any:
    """A row's lists as an array of objects of rank len(sizes), a scalar as it is."""
    if not sizes:
        return value
    if _is_missing(value):
        value = []
    elif not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(f"found {repr(value)} and no list")
    elif sizes[0] not in (-1, len(value)):
        raise ValueError(f"found a list of {len(value)}")
    return _stacked([_padded(item, sizes[1:]) for item in value], sizes[1:], max(sizes[0], 0))


def _stacked(items: Sequence[Any], sizes: Sequence[int], at_least: int = 0) -> np.ndarray:
    """Items of rank len(sizes) as one array, filled up with None to the largest in each dimension."""
    inner = [max(size, 0, *(item.shape[axis] for item in items)) for axis, size in enumerate(sizes)]
    array = np.full((max(len(items), at_least), *inner), None, dtype=np.object_)
    for index, item in enumerate(items):
        place = (index, *map(slice, item.shape)) if sizes else index
        array[place] = item
    return array


def _converted(
    name: str, objects: np.ndarray, info: TensorInfo, dtype: np.dtype[Any], rows_before: int
) -> np.ndarray:
    """Values of the type, checked one by one."""
    values = objects.ravel().tolist()
    if dtype.kind != "O" or not set(map(type, values)) <= {str, bytes}:
        for index, value in enumerate(values):
            if isinstance(value, _VALUES[dtype.kind]) and (dtype.kind == "b" or not isinstance(value, bool)):
                continue
            if not _is_missing(value) or dtype.kind not in MISSING:
                row = _row(objects, index, rows_before)
                found = f"found {repr(value)} ({type(value).__name__})"
                raise InputError(f"input {name}, row {row}: {found}, the signature takes {info.dtype}")
            values[index] = MISSING[dtype.kind]
    if dtype.kind == "O":
        values = [value.encode("utf-8") if isinstance(value, str) else value for value in values]
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        for index, value in enumerate(values):
            if not limits.min <= value <= limits.max:
                raise _outside(name, objects, index, rows_before, info)
    array: np.ndarray = np.empty(len(values), dtype)
    with np.errstate(over="ignore"):
        array[:] = values
    return array.reshape(objects.shape)


def _is_missing(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # pandas', which may not be there


def _row(array: np.ndarray, index: int, rows_before: int) -> int:
    """The number of the row that has the `index`-th value."""
    return rows_before + 1 + (index * len(array) // array.size if array.ndim else 0)


def _outside(name: str, array: np.ndarray, index: int, rows_before: int, info: TensorInfo) -> InputError:
    value = array.ravel()[index]
    row = _row(array, index, rows_before)
    return InputError(f"input {name}, row {row}: found {value}, which is outside of {info.dtype}")
