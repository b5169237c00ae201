"""The short way to read a tensor of a request says what TensorFlow's own parser says, or leaves it to that."""

from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import numpy as np
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2

from serving.predict import regular_array

FIELDS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "float": ("float_val", st.floats(width=32)),
    "double": ("double_val", st.floats()),
    "int32": ("int_val", st.integers(-(2**31), 2**31 - 1)),
    "int64": ("int64_val", st.integers(-(2**63), 2**63 - 1)),
    "bool": ("bool_val", st.booleans()),
    "string": ("string_val", st.binary(max_size=5)),
    "int8": ("int_val", st.integers(-(2**31), 2**31 - 1)),
    "uint64": ("uint64_val", st.integers(0, 2**64 - 1)),
}


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A TensorProto with as many values as its shape has elements, or with some other number, in a field or as bytes."""
    kind, place = draw(st.sampled_from(sorted(FIELDS))), draw(st.sampled_from(sorted(FIELDS)))
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(kind).as_datatype_enum)
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    count = draw(st.one_of(st.just(int(np.prod(shape))), st.integers(0, 4)))
    field, values = FIELDS[draw(st.sampled_from([kind, kind, kind, place]))]
    getattr(proto, field).extend(draw(st.lists(values, min_size=count, max_size=count)))
    if kind != "string" and draw(st.booleans()):
        proto.tensor_content = draw(st.binary(max_size=1) | st.just(b"\1" * count * tf.as_dtype(kind).size))
    return proto


NO_BOOL = tensor_pb2.TensorProto(
    dtype=tf.bool.as_datatype_enum, tensor_shape=tf.TensorShape([1]).as_proto(), tensor_content=b"\2"
)


@example(NO_BOOL)
@given(tensors())
def test_a_regular_tensor_is_what_the_parser_says(proto: Any) -> None:
    found = regular_array(proto)
    if found is not None:
        parsed = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
        assert found.shape == np.shape(parsed)
        np.testing.assert_array_equal(found, np.asarray(parsed, found.dtype))


def test_what_clients_send_is_regular() -> None:
    for value in (
        np.array([[1.5, np.nan]], np.float32),
        np.array([b"a", b""], object),
        np.array(7, np.int64),
    ):
        proto = tf.make_tensor_proto(value)
        found = regular_array(proto)
        assert found is not None
        np.testing.assert_array_equal(found, value)
