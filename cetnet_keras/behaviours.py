"""Sequences as a member reads them: one behaviour each, several columns of one behaviour side by side."""

from typing import NamedTuple

import tensorflow as tf

from cetnet_keras.embeddings import EmbeddedFeatures, candidate_of, field_names, sequence_names
from cetnet_keras.spec import DataSpec, PretrainedFeature

_SHORT = 20  # tokens; 94 in 100 of the histories of amazon_sports, of up to 100, have no more


class Behaviour(NamedTuple):
    """The sequences of one behaviour and the candidate field that each is about, None for one that is about none."""

    sequences: tuple[str, ...]
    candidates: tuple[str | None, ...]  # as long as `sequences`, or empty where none has one


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
        candidates = tuple(candidate_of(spec, name) for name in names)
        found.append(Behaviour(tuple(names), candidates if any(candidates) else ()))
    return tuple(found)


def read_behaviours(spec: DataSpec, member: str) -> tuple[Behaviour, ...]:
    """The behaviours of a spec for a member that is about them. Raises ValueError where there are none."""
    found = behaviours(spec)
    if not found:
        raise ValueError(
            f"{member} needs a sequence; the data spec has no sequence: add one, or name another member"
        )
    return found


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


class LengthGroup(NamedTuple):
    """Examples of a batch whose sequences are of like length, padded to the longest of these."""

    rows: tf.Tensor  # [n] int32, where they stand in the batch
    tokens: tf.Tensor  # [n, T', k]
    mask: tf.Tensor  # [n, T']


def length_groups(tokens: tf.Tensor, mask: tf.Tensor) -> tuple[LengthGroup, ...]:
    """The short sequences of a batch and the long ones; either may be none at all.

    `tf.dynamic_stitch` puts what was found for each group back in the order of the batch.
    Most histories are short, and one long one, to which all are padded, is in every batch: of the places for tokens nine in
    ten are padding, and attention costs their square. Source: our choice, measured.

    Args:
        tokens: [B, T, k]. mask: [B, T], 1 for a token.
    """
    place = 1 + tf.range(tf.shape(mask)[1])
    length = tf.reduce_max(tf.cast(mask > 0, tf.int32) * place, axis=1)  # up to the last token, gaps and all
    is_long, groups = tf.cast(length > _SHORT, tf.int32), []
    parts = (tf.dynamic_partition(x, is_long, 2) for x in (tf.range(tf.size(length)), length, tokens, mask))
    for rows, lengths, own, own_mask in zip(*parts, strict=True):
        longest = tf.maximum(tf.reduce_max(lengths), 0)
        groups.append(LengthGroup(rows, own[:, :longest], own_mask[:, :longest]))
    return tuple(groups)


def candidate_embedding(features: EmbeddedFeatures, spec: DataSpec, behaviour: Behaviour) -> tf.Tensor:
    """What a behaviour is asked with, [B, k d] for its k sequences: the embedding of the candidate field of each.

    Zeros stand for a sequence that has none, such as what was thought of each item beside the items. Source: our choice.
    """
    names = field_names(spec)
    nothing = tf.zeros_like(features.fields[:, 0])
    asked = [
        nothing if name is None else features.fields[:, names.index(name)] for name in behaviour.candidates
    ]
    return tf.concat(asked, axis=-1)


def flat_fields(features: EmbeddedFeatures) -> tf.Tensor:
    """The fields side by side, [B, F d]."""
    size, fields, width = tf.shape(features.fields)[0], features.fields.shape[1], features.fields.shape[2]
    return tf.reshape(features.fields, [size, fields * width])  # -1 for B fails where there are no fields


def with_pooled_rows(rows: tf.Tensor, features: EmbeddedFeatures) -> tf.Tensor:
    """Rows [B, n, d] and the mean of each of S sequences as one more row, [B, n + S, d]."""
    return tf.concat([rows, *(mean[:, tf.newaxis] for mean in features.pooled.values())], axis=1)


def flat_features(features: EmbeddedFeatures) -> tf.Tensor:
    """Everything side by side, [B, F d + N + S d]: fields, numbers, the mean of each of S sequences."""
    return tf.concat([flat_fields(features), features.dense, *features.pooled.values()], axis=-1)
