"""Teaches the out-of-vocabulary rows: some known ids of training batches are replaced by out-of-vocabulary ones."""

from collections.abc import Mapping

import tensorflow as tf

from cetnet_keras.embeddings import FeatureBatch
from cetnet_keras.spec import DataSpec


def replace_by_oov(
    batch: FeatureBatch, spec: DataSpec, vocabulary_sizes: Mapping[str, int], seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Replaces each id above 0 by an out-of-vocabulary one with the probability `oov_rate` of its vocabulary.

    Done on the global batch, before it is shared out to replicas, so that the number of replicas changes nothing.
    Source: our choice; where every training token has a row, an out-of-vocabulary row would never be trained.

    Args:
        batch: FeatureBatch; keys that are no features of the spec pass through.
        spec: the data spec.
        vocabulary_sizes: ids beside 0 of each owner; the last `oov_buckets` of them are out-of-vocabulary.
        seed: int64 [2]; the same seed gives the same replacements.
    Returns:
        a new batch of the same shapes.
    """
    replaced = dict(batch)
    for position, name in enumerate(spec.features):
        owner = spec.owner(name)
        if not spec.has_ids(name) or spec.oov_rate(owner) == 0:
            continue
        ids, buckets = batch[name], spec.oov_buckets(owner)
        whether, which = tf.unstack(tf.random.split(tf.random.fold_in(seed, position)))
        chance = tf.random.stateless_uniform(tf.shape(ids), whether)
        bucket = tf.random.stateless_uniform(tf.shape(ids), which, 0, buckets, ids.dtype)
        oov = vocabulary_sizes[owner] - buckets + 1 + bucket
        replaced[name] = tf.where((ids > 0) & (chance < spec.oov_rate(owner)), oov, ids)
    return replaced
