"""Tries a member of the user's own as CETNet calls it, before anything is trained."""

from typing import Any

import tensorflow as tf

from cetnet_keras.input_signature import example_batch, input_signature
from cetnet_keras.members.base import Member, MemberOutput, checked_output
from cetnet_keras.spec import DataSpec

_KERAS_BEGINS, _KERAS_ENDS = ").\n\n", "\n\nCall arguments"  # what it puts around the message of a layer


def member_failure(member: Member, spec: DataSpec) -> str | None:
    """Why a member that has been built fails in use; None where it works.

    It is called on two batches of missing values, of unequal size, the second of which must find all variables made, and
    in a graph with AutoGraph off, where sizes are open.
    """
    try:
        checked_output(member, example_batch(spec, rows=2), training=False)
        with tf.variable_creator_scope(_refuse_variable):
            checked_output(member, example_batch(spec, rows=3), training=False)
    except Exception as error:  # code of the user's own can fail in any way
        return f"the member fails on a batch of missing values ({_kind_and_words(error)}); correct the member"
    try:
        for training in (False, True):
            _trace(member, spec, training)
    except Exception as error:
        cure = "an `if` or a loop on a tensor's value is a tf.cond or a tf.while_loop, a size is in tf.shape"
        return f"the member fails in a graph, as it is trained and served ({_kind_and_words(error)}); {cure}"
    return None


def said(error: Exception) -> str:
    """The message of an error, without what Keras puts around it."""
    text = str(
        error.args[0] if isinstance(error, KeyError) and error.args else error
    )  # a KeyError quotes its own
    return text.partition(_KERAS_ENDS)[0].rpartition(_KERAS_BEGINS)[2]


def _kind_and_words(error: Exception) -> str:
    return f"{type(error).__name__}: {said(error)}"


def _trace(member: Member, spec: DataSpec, training: bool) -> None:
    @tf.autograph.experimental.do_not_convert
    def call(batch: dict[str, tf.Tensor]) -> MemberOutput:
        with tf.variable_creator_scope(_refuse_variable):
            return member(batch, training=training)

    tf.function(call, autograph=False).get_concrete_function(input_signature(spec))


def _refuse_variable(_: Any, **variable: Any) -> None:
    name = variable.get("name") or "a variable"
    raise ValueError(f"a call makes {name!r} again; make layers and weights in __init__ or build")
