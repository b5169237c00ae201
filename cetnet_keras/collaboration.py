"""The collaborative term of the loss, by which members learn from one another."""

import tensorflow as tf

COLLABORATIONS = ("symmetric_kl", "one_way", "to_fused")


def collaborative_loss(type: str, member_logit: tf.Tensor, fused_logit: tf.Tensor) -> tf.Tensor:
    """How far members are from one another, or from what they say together, in nats.

    Args:
        type: of COLLABORATIONS: `symmetric_kl` and its form `one_way`, or `to_fused`.
        member_logit: [B, M] float, log odds.
        fused_logit: [B] float, log odds.
    Returns:
        [B] float32.
    Raises:
        ValueError: an unknown `type`.
    """
    if type not in COLLABORATIONS:
        raise ValueError(f"`type` must be one of {', '.join(COLLABORATIONS)}. Received: type={type!r}")
    if type == "to_fused":
        return kl_to_fused(member_logit, fused_logit)
    return symmetric_kl(member_logit, both_ways=type == "symmetric_kl")


def symmetric_kl(member_logit: tf.Tensor, both_ways: bool = True) -> tf.Tensor:
    """Half the symmetric Kullback-Leibler divergence between members' predictions, mean over the pairs, in nats.

    S(p, q) = (KL(p||q) + KL(q||p)) / 2 = (p - q)(z_p - z_q) / 2, exactly and without a logarithm of a probability.
    Source: CETNet (arXiv 2411.13700), section 3.3, for one pair; the mean over M(M-1)/2 pairs is our choice.

    Args:
        member_logit: [B, M] float, log odds.
        both_ways: both sides of each KL(p||q) get gradients, as in the paper; else q alone, which is drawn to its peer p.
            Source of the second: deep mutual learning (arXiv 1706.00384), equation 6; the same value for both is our
            choice, which draws a member with 1 / M of that paper's weight.
    Returns:
        [B] float32, 0 for one member.
    """
    z, members = tf.cast(member_logit, tf.float32), member_logit.shape[-1]
    ordered_pairs = max(members * (members - 1), 1)  # each pair stands in both orders; the diagonal is 0
    mine, peers = z[:, :, tf.newaxis], z[:, tf.newaxis]
    if both_ways:
        apart, low, high = tf.abs(mine - peers), tf.minimum(mine, peers), tf.maximum(mine, peers)
        # p - q = (1 - exp(z_q - z_p)) p (1 - q) for p > q: near 1, and near each other, p and q have no digits left
        difference = -tf.math.expm1(-apart) * tf.sigmoid(high) * tf.sigmoid(-low)
        return tf.reduce_sum(difference * apart, axis=[1, 2]) / (2 * ordered_pairs)
    return tf.reduce_sum(_kl(tf.stop_gradient(peers), mine), axis=[1, 2]) / ordered_pairs


def kl_to_fused(member_logit: tf.Tensor, fused_logit: tf.Tensor) -> tf.Tensor:
    """KL(fused || member), mean over the members, in nats: each is drawn to what all say together, which stays.

    Source: our choice.

    Args:
        member_logit: [B, M] float, log odds. fused_logit: [B] float, log odds; gets no gradient.
    Returns:
        [B] float32.
    """
    teacher = tf.stop_gradient(tf.cast(fused_logit, tf.float32))[:, tf.newaxis]
    return tf.reduce_mean(_kl(teacher, tf.cast(member_logit, tf.float32)), axis=1)


def _kl(p_logit: tf.Tensor, q_logit: tf.Tensor) -> tf.Tensor:
    """KL(p || q) of two clicks by their log odds: p ln p/q + (1 - p) ln (1 - p)/(1 - q), by softplus alone."""
    click = tf.math.softplus(-q_logit) - tf.math.softplus(-p_logit)
    none = tf.math.softplus(q_logit) - tf.math.softplus(p_logit)
    both = tf.sigmoid(p_logit) * click + tf.sigmoid(-p_logit) * none
    return tf.maximum(both, 0.0)  # rounding may leave a little below
