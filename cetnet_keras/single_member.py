"""One member of a trained ensemble as a model of its own: what the others taught it is in its weights."""

import tensorflow as tf

from cetnet_keras.cetnet import CETNet
from cetnet_keras.members import Member


def one_member(model: CETNet, name: str) -> CETNet:
    """The member with the weights that it has, as an ensemble of one: less to store and to compute, one opinion less.

    Members that learn from each other are each other's teachers, so that this is a distillation that costs no training of
    its own. Source: Deep Mutual Learning (arXiv 1706.00384), where networks trained so are used alone. Its tables are
    stored as the ensemble's are; its calibration is none until `calibrate` fits it.

    Args:
        model: a trained ensemble.
        name: of `model.member_names`.
    Raises:
        ValueError: there is no such member.
    """
    if name not in model.member_names:
        raise ValueError(f"`name` must be one of {', '.join(model.member_names)}. Received: {name!r}")
    place = model.member_names.index(name)
    alone = CETNet(
        model.spec,
        model.vocabulary_sizes,
        [model.member_specs[place]],
        fusion={"type": "logit_mean", "detach_members": True},
        dtype=model.dtype_policy,
    )
    if model.table_dtype != "float32":
        alone.compress_tables(model.table_dtype)
    for own, found in zip(_weights(alone.members[0]), _weights(model.members[place]), strict=True):
        own.assign(tf.convert_to_tensor(found))
    return alone


def _weights(member: Member) -> list[tf.Variable]:
    """The tables first: Keras has those that are shared behind a member's other weights, and its own before them."""
    tables = {id(variable): variable for variable in member.features.weights}
    return [*tables.values(), *(variable for variable in member.weights if id(variable) not in tables)]
