"""preprocessing_fn: raw columns to ids and numbers, one graph for training and for every signature of the served model."""

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from cetnet_keras.embeddings import missing_key
from cetnet_keras.spec import (
    ROW_KEY,
    BagFeature,
    DataSpec,
    NumericFeature,
    SequenceFeature,
    parse_spec,
)
from cetnet_keras.spec.raw import MISSING

GROUP_KEY = "cetnet_group"  # hash of the group's raw value, for gAUC in training
MISSING_INT = MISSING["int64"]
Tensors = dict[str, Any]


def preprocessing_fn(inputs: Tensors, custom_config: dict[str, Any]) -> Tensors:
    """What TFX Transform runs: every feature of the spec as the model's FeatureBatch has it, and label, row and group.

    Args:
        inputs: raw features by name, as the schema has them; dense strings [B], sparse numbers [B, 0 or 1].
        custom_config: {"data_spec": text of data.yaml}.
    Returns:
        ids int64 [B], tokens sparse int64 [B, T], numbers float32 [B] with their missing indicators.
    """
    spec = parse_spec(DataSpec, custom_config["data_spec"], "data.yaml")
    tokens = {
        name: _tokens(spec, name, inputs[name])
        for name, feature in spec.features.items()
        if not isinstance(feature, NumericFeature)
    }
    vocabularies = {o: _vocabulary(spec, o, tokens) for o in spec.owners if has_vocabulary(spec, o)}
    outputs: Tensors = {spec.label: inputs[spec.label], ROW_KEY: inputs[ROW_KEY]}
    if spec.group is not None:
        outputs[GROUP_KEY] = tf.strings.to_hash_bucket_fast(_text(inputs[spec.group]), 2**62)
    for name, feature in spec.features.items():
        if isinstance(feature, NumericFeature):
            outputs |= _numeric(name, feature, inputs[name])
        else:
            outputs[name] = _ids(spec, name, tokens[name], vocabularies.get(spec.owner(name)))
    for key in slice_keys(spec):
        if slice_vocabulary(spec, key) not in vocabularies:
            _counted(_flat(tokens[key]), slice_vocabulary(spec, key), spec.slice_top)
    return outputs


def has_vocabulary(spec: DataSpec, owner: str) -> bool:
    """Whether an owner's ids come from a vocabulary that is counted in the data."""
    feature = spec.features[owner]
    fixed = isinstance(feature, NumericFeature) or feature.hash_buckets is not None
    return not fixed and getattr(feature, "identity", None) is None


def slice_keys(spec: DataSpec) -> list[str]:
    """The features that metrics are sliced by."""
    return sorted({key for keys in spec.slices for key in keys})


def slice_vocabulary(spec: DataSpec, key: str) -> str:
    """The vocabulary, most frequent first, that names a slice key's values: the key's own where it has one."""
    return key if key in spec.owners and has_vocabulary(spec, key) else f"slice_{key}"


def vocabulary_sizes(spec: DataSpec, transformed: tft.TFTransformOutput) -> dict[str, int]:
    """Ids beside 0 of each owner, out-of-vocabulary ids included: what CETNet needs to know of the data."""
    return {
        owner: (
            transformed.vocabulary_size_by_name(owner)
            if has_vocabulary(spec, owner)
            else _fixed_size(spec, owner)
        )
        + spec.oov_buckets(owner)
        for owner in spec.owners
    }


def _fixed_size(spec: DataSpec, owner: str) -> int:
    """Ids of an owner whose spec says how many there are: quantiles, hash buckets, or the range of an identity."""
    sizes = (getattr(spec.features[owner], key, None) for key in ("buckets", "hash_buckets", "identity"))
    return next(size for size in sizes if size is not None)


def _flat(tokens: Any) -> tf.Tensor:
    return tokens.flat_values if isinstance(tokens, tf.RaggedTensor) else tokens


def _vocabulary(spec: DataSpec, owner: str, tokens: Tensors) -> Any:
    """Counts the owner's tokens, or with `count: all` those of every feature that shares them."""
    limits = spec.vocabulary(owner)
    counted = [owner] if limits.count == "owner" else [n for n in spec.features if spec.owner(n) == owner]
    flat = tf.concat([_flat(tokens[name]) for name in counted], axis=0)
    return _counted(flat, owner, limits.top_k, limits.min_count)


def _counted(flat: tf.Tensor, name: str, top_k: int | None, min_count: int = 1) -> Any:
    """A vocabulary of the tokens that are not empty, most frequent first."""
    threshold = min_count if min_count > 1 else None
    return tft.vocabulary(
        tf.boolean_mask(flat, flat != ""), top_k=top_k, frequency_threshold=threshold, vocab_filename=name
    )


def _text(raw: Any) -> tf.Tensor:
    """A raw id as text, [B]; an empty one where it is missing."""
    if not isinstance(raw, tf.SparseTensor):
        return raw
    number = _dense(raw, MISSING_INT)  # int64: the cell may be absent
    return tf.where(number == MISSING_INT, "", tf.strings.as_string(number))


def _dense(raw: tf.SparseTensor, default: Any) -> tf.Tensor:
    """[B, 0 or 1] as [B], `default` where there is nothing."""
    column = tf.sparse.SparseTensor(raw.indices, raw.values, [raw.dense_shape[0], 1])
    return tf.sparse.to_dense(column, default)[:, 0]


def _tokens(spec: DataSpec, name: str, raw: Any) -> Any:
    """A column's tokens as text: [B], or ragged [B, T] for a sequence (oldest first) or bag."""
    feature = spec.features[name]
    if not isinstance(feature, SequenceFeature | BagFeature):
        return _text(raw)
    tokens = tf.strings.split(raw, feature.separator)
    if not (
        isinstance(feature, SequenceFeature) and feature.align
    ):  # aligned columns keep step with one another
        tokens = tf.ragged.boolean_mask(tokens, tokens != "")
    length = feature.max_length
    tokens = tokens[:, :length] if isinstance(feature, BagFeature) else tokens[:, -length:]
    if _dtype(spec, name) == "int64":  # 007 is 7, as it is where the column itself is int64
        flat = tokens.flat_values
        number = tf.strings.to_number(tf.where(flat == "", str(MISSING_INT), flat), tf.int64)
        tokens = tokens.with_flat_values(tf.where(number == MISSING_INT, "", tf.strings.as_string(number)))
    return tokens


def _dtype(spec: DataSpec, name: str) -> str:
    return getattr(spec.features[spec.owner(name)], "dtype", "string")


def _ids(spec: DataSpec, name: str, tokens: Any, vocabulary: Any) -> Any:
    """Ids: 0 for an empty token, then the known ones, then out-of-vocabulary."""
    owner, flat = spec.features[spec.owner(name)], _flat(tokens)
    assert not isinstance(owner, NumericFeature)
    if vocabulary is not None:
        buckets = spec.oov_buckets(spec.owner(name))
        found = tft.apply_vocabulary(flat, vocabulary, num_oov_buckets=buckets)
    elif owner.hash_buckets is not None:
        found = tf.strings.to_hash_bucket_fast(flat, owner.hash_buckets)
    else:
        number = tf.strings.to_number(tf.where(flat == "", str(MISSING_INT), flat), tf.int64)
        flat = tf.where(number < 0, "", flat)
        found = tf.minimum(
            number, _fixed_size(spec, spec.owner(name))
        )  # whatever is too large is out of vocabulary
    ids = tf.where(flat == "", tf.zeros_like(found), found + 1)
    return tokens.with_flat_values(ids).to_sparse() if isinstance(tokens, tf.RaggedTensor) else ids


def _numeric(name: str, feature: NumericFeature, raw: tf.SparseTensor) -> Tensors:
    present = _dense(tf.SparseTensor(raw.indices, tf.ones_like(raw.values), raw.dense_shape), 0.0) > 0
    default = 0.0 if feature.default is None else feature.default
    value = _scaled(feature, _dense(raw, default), raw)
    if feature.buckets is not None:
        has_value = present if feature.default is None else tf.ones_like(present)
        return {name: tf.where(has_value, value + 1, tf.zeros_like(value))}
    if feature.default is None:
        value = tf.where(present, value, tf.zeros_like(value))
    return {name: value, missing_key(name): tf.cast(~present, tf.float32)}


def _scaled(feature: NumericFeature, dense: tf.Tensor, raw: tf.SparseTensor) -> tf.Tensor:
    """The transform of a column, with statistics over the values that are there."""
    if feature.buckets is not None:
        boundaries = tft.quantiles(raw.values, feature.buckets, epsilon=0.01)
        return tft.apply_buckets(dense, boundaries)
    before = {"log1p": _log1p, "log_squared": _log_squared}.get(feature.transform, lambda x: x)
    dense, values = before(dense), before(raw.values)
    if feature.transform == "none":
        return dense
    if feature.transform == "minmax":
        low, high = tft.min(values), tft.max(values)
        return _finite(tf.clip_by_value(tf.math.divide_no_nan(dense - low, high - low), 0.0, 1.0))
    mean, variance = tft.mean(values), tft.var(values)
    return _finite(tf.math.divide_no_nan(dense - mean, tf.sqrt(variance)))


def _finite(scaled: tf.Tensor) -> tf.Tensor:
    """0 instead of what has no value: a column that was always missing in training has no statistics."""
    return tf.where(tf.math.is_finite(scaled), scaled, tf.zeros_like(scaled))


def _log1p(x: tf.Tensor) -> tf.Tensor:
    return tf.sign(x) * tf.math.log1p(tf.abs(x))


def _log_squared(x: tf.Tensor) -> tf.Tensor:
    """floor(ln(x)^2) above 2, as the winners of Criteo's contest had it; smaller values stay."""
    return tf.where(x > 2, tf.floor(tf.square(tf.math.log(tf.maximum(x, 2.0)))), x)
