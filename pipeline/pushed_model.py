"""What a pushed model takes and answers, read off its SavedModel without loading it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec


def signatures(version: Path) -> dict[str, Any]:
    """The SignatureDefs of a version by name; none where it is empty. Raises InputError where it cannot be read."""
    path = version / "saved_model.pb"
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); name a pushed model's folder"
        ) from error
    except DecodeError as error:
        raise InputError(
            f"{path}: found no SavedModel in it, expected a pushed model; push it again"
        ) from error
    return dict(saved.meta_graphs[0].signature_def) if saved.meta_graphs else {}


def raw_inputs(spec: DataSpec) -> dict[str, str]:
    """By name of a raw feature its type and the shape of one row's value, such as int64, string[None] or float32[4]."""
    return {name: _kind(dtype, spec.raw_shapes[name]) for name, dtype in spec.raw_types.items()}


def unfit_input(default: Any, raw: Mapping[str, str]) -> str | None:
    """Which input of a model the rows cannot fill, and what was expected; None where they fill all.

    Args:
        default: SignatureDef of serving_default.
        raw: the `raw_inputs` of the rows' data spec.
    """
    for name, info in sorted(default.inputs.items()):
        wanted = _kind(tf.as_dtype(info.dtype).name, tf.TensorShape(info.tensor_shape)[1:])
        if raw.get(name) != wanted:
            has = raw.get(name, "nothing")
            return f"found {has} for its input {name} in the data spec, expected {wanted}"
    return None


def _kind(dtype: str, shape: Iterable[int | None]) -> str:
    return dtype + "".join(f"[{size}]" for size in shape)
