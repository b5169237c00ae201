"""The collaborative term of the loss, by which members learn from one another."""

import tensorflow as tf


def symmetric_kl(member_logit: tf.Tensor) -> tf.Tensor:
    """Half the symmetric Kullback-Leibler divergence between members' predictions, mean over the pairs, in nats.

    S(p, q) = (KL(p||q) + KL(q||p)) / 2 = (p - q)(z_p - z_q) / 2, exactly and without a logarithm of a probability.
    Source: CETNet (arXiv 2411.13700), section 3.3, for one pair; the mean over M(M-1)/2 pairs is our choice.

    Args:
        member_logit: [B, M] float, log odds; both sides of a pair get gradients.
    Returns:
        [B] float32, 0 for one member.
    """
    z, members = tf.cast(member_logit, tf.float32), member_logit.shape[-1]
    p = tf.sigmoid(z)
    divergence = (
        (p[:, :, tf.newaxis] - p[:, tf.newaxis]) * (z[:, :, tf.newaxis] - z[:, tf.newaxis]) / 2
    )  # [B, M, M]
    ordered_pairs = max(members * (members - 1), 1)  # each pair stands in both orders; the diagonal is 0
    return tf.reduce_sum(divergence, axis=[1, 2]) / ordered_pairs
