"""What a model says of itself: its signatures with their types and shapes, and the state of its versions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

DEFAULT_SIGNATURE = "serving_default"


class ElementType(NamedTuple):
    """An element type of TensorFlow: its name in messages, its NumPy type, its own field of TensorProto."""

    name: str
    numpy: type | None
    field: str | None


ELEMENT_TYPES: dict[int, ElementType] = {  # by tensorflow.DataType
    0: ElementType("INVALID", None, None),
    1: ElementType("float", np.float32, "float_val"),
    2: ElementType("double", np.float64, "double_val"),
    3: ElementType("int32", np.int32, "int_val"),
    4: ElementType("uint8", np.uint8, "int_val"),
    5: ElementType("int16", np.int16, "int_val"),
    6: ElementType("int8", np.int8, "int_val"),
    7: ElementType("string", np.object_, "string_val"),
    8: ElementType("complex64", np.complex64, None),
    9: ElementType("int64", np.int64, "int64_val"),
    10: ElementType("bool", np.bool_, "bool_val"),
    11: ElementType("qint8", None, None),
    12: ElementType("quint8", None, None),
    13: ElementType("qint32", None, None),
    14: ElementType("bfloat16", None, None),
    15: ElementType("qint16", None, None),
    16: ElementType("quint16", None, None),
    17: ElementType("uint16", np.uint16, "int_val"),
    18: ElementType("complex128", np.complex128, None),
    19: ElementType("half", np.float16, None),
    20: ElementType("resource", None, None),
    21: ElementType("variant", None, None),
    22: ElementType("uint32", np.uint32, "uint32_val"),
    23: ElementType("uint64", np.uint64, "uint64_val"),
}
MISSING: dict[str, Any] = {"O": b"", "f": float("nan"), "i": -1}
"""What signatures take where nothing is known, by NumPy's kind of the type; others have no such value."""

ELEMENT_TYPE_NUMBER: dict[str, int] = {kind.name: number for number, kind in ELEMENT_TYPES.items()}


def type_name(number: int) -> str:
    """The name that TensorFlow prints for an element type, e.g. "float" for 1 (DT_FLOAT)."""
    kind = ELEMENT_TYPES.get(number)
    return kind.name if kind else f"unknown dtype enum ({number})"


def numpy_type(name: str) -> Any:
    """The NumPy type for TensorFlow's name of an element type, None if NumPy has none."""
    return ELEMENT_TYPES[ELEMENT_TYPE_NUMBER.get(name, 0)].numpy


class TensorInfo(NamedTuple):
    """An input or output of a signature.

    Args:
        dtype: TensorFlow's name of the element type: "float", "int64", "string", ...
        shape: sizes, -1 where any size will do; None where even the rank is free.
    """

    dtype: str
    shape: tuple[int, ...] | None

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape may be fed."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            known in (-1, size) for known, size in zip(self.shape, shape, strict=True)
        )


class Signature(NamedTuple):
    """The named tensors that a signature takes and gives."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]


class ModelMetadata(NamedTuple):
    """What GetModelMetadata tells of one version of a model."""

    name: str
    version: int
    signatures: Mapping[str, Signature]


class Prediction(NamedTuple):
    """What a model answered."""

    outputs: dict[str, np.ndarray]
    version: int | None  # that answered; None where the protocol does not tell


class VersionStatus(NamedTuple):
    """What GetModelStatus tells of one version: `state` is START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error_code: str
    error_message: str


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as TensorFlow Serving prints it: [2,1]."""
    return "[" + ",".join(map(str, shape)) + "]"
