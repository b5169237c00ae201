"""One member of a trained ensemble as a model of its own: what the others taught it is in its weights."""

from cetnet_keras.cetnet import CETNet


def one_member(model: CETNet, name: str) -> CETNet:
    """The member with the weights that it has, as an ensemble of one: less to store and to compute, one opinion less.

    Members that learn from each other are each other's teachers, so that this is a distillation that costs no training of
    its own. Source: Deep Mutual Learning (arXiv 1706.00384), where networks trained so are used alone. Its calibration is
    none until `calibrate` fits it.

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
        fusion={"type": "logit_mean"},
        dtype=model.dtype_policy,
    )
    alone.members[0].set_weights(model.members[place].get_weights())
    return alone
