"""Sequences as a member reads them: one behaviour each, several columns of one behaviour side by side."""

from typing import NamedTuple

import tensorflow as tf

from cetnet_keras.embeddings import EmbeddedFeatures, candidate_of, field_names, sequence_names
from cetnet_keras.spec import DataSpec, PretrainedFeature


class Behaviour(NamedTuple):
    """The sequences of one behaviour and, where each of them has one, the candidate fields that they are about."""

    sequences: tuple[str, ...]
    candidates: tuple[str, ...]  # as long as `sequences`, or empty


def behaviours(spec: DataSpec) -> tuple[Behaviour, ...]:
    """The behaviours of a spec: sequences with one `align` together, every other sequence by itself.

    The pretrained vectors of a sequence are of its behaviour.
    """
    groups: dict[str, list[str]] = {}
    for name in sequence_names(spec):
        feature = spec.features[name]
        ids = feature.of if isinstance(feature, PretrainedFeature) else name
        align = getattr(spec.features[ids], "align", None)
        groups.setdefault(f"align {align}" if align else f"sequence {ids}", []).append(name)
    found = []
    for names in groups.values():
        candidates = [candidate for name in names if (candidate := candidate_of(spec, name)) is not None]
        found.append(Behaviour(tuple(names), tuple(candidates) if len(candidates) == len(names) else ()))
    return tuple(found)


def tokens_of(features: EmbeddedFeatures, behaviour: Behaviour) -> tuple[tf.Tensor, tf.Tensor]:
    """The tokens of a behaviour, [B, T, k d] for its k sequences, and their mask [B, T].

    A shorter sequence of the behaviour is padded at its end; a position counts where any of them has a token.
    """
    if len(behaviour.sequences) == 1:
        return features.sequences[behaviour.sequences[0]], features.masks[behaviour.sequences[0]]
    longest = tf.reduce_max([tf.shape(features.masks[name])[1] for name in behaviour.sequences])
    tokens, masks = [], []
    for name in behaviour.sequences:
        lack = longest - tf.shape(features.masks[name])[1]
        tokens.append(tf.pad(features.sequences[name], [[0, 0], [0, lack], [0, 0]]))
        masks.append(tf.pad(features.masks[name], [[0, 0], [0, lack]]))
    return tf.concat(tokens, axis=-1), tf.reduce_max(masks, axis=0)


def candidate_embedding(features: EmbeddedFeatures, spec: DataSpec, behaviour: Behaviour) -> tf.Tensor:
    """The embeddings [B, k d] of the candidate fields of a behaviour that has them."""
    names = field_names(spec)
    return tf.concat([features.fields[:, names.index(name)] for name in behaviour.candidates], axis=-1)


def mean_of_tokens(tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean [B, n] of the tokens [B, T, n] that the mask [B, T] counts; zero where there are none."""
    total = tf.reduce_sum(tokens * mask[:, :, tf.newaxis], axis=1)
    return total / tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1)


def flat_fields(features: EmbeddedFeatures) -> tf.Tensor:
    """The fields side by side, [B, F d]."""
    size, fields, width = tf.shape(features.fields)[0], features.fields.shape[1], features.fields.shape[2]
    return tf.reshape(features.fields, [size, fields * width])  # -1 for B fails where there are no fields


def pooled_sequences(features: EmbeddedFeatures) -> list[tf.Tensor]:
    """The mean [B, d] of each sequence, in the order of the spec."""
    return [mean_of_tokens(tokens, features.masks[name]) for name, tokens in features.sequences.items()]


def flat_features(features: EmbeddedFeatures) -> tf.Tensor:
    """Everything side by side, [B, F d + N + S d]: fields, numbers, the mean of each of S sequences."""
    return tf.concat([flat_fields(features), features.dense, *pooled_sequences(features)], axis=-1)
