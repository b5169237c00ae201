"""preprocessing_fn: raw columns to ids and numbers, one graph for training and for every signature of the served model."""

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from cetnet_keras.embeddings import missing_key
from cetnet_keras.spec import (
    ROW_KEY,
    BagFeature,
    CategoricalFeature,
    DataSpec,
    NumericFeature,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
    parse_spec,
)
from cetnet_keras.spec.features import IdFeature
from cetnet_keras.spec.raw import MISSING
from pipeline.groups import NO_GROUP
from pipeline.timestamps import timestamp_ids

GROUP_KEY = "cetnet_group"  # hash of the group's raw value or NO_GROUP, for gAUC in training
MISSING_INT = MISSING["int64"]
Tensors = dict[str, Any]


def preprocessing_fn(inputs: Tensors, custom_config: dict[str, Any]) -> Tensors:
    """What TFX Transform runs: every feature of the spec as the model's FeatureBatch has it, and label, row and group.

    Args:
        inputs: raw features by name, as the schema has them; dense strings [B], sparse numbers [B, 0 or 1], sparse
            lists [B, T] and vectors [B, 0 or n].
        custom_config: {"data_spec": text of data.yaml}.
    Returns:
        ids int64 [B], of a timestamp [B, parts], tokens sparse int64 [B, T], numbers float32 [B] and vectors [B, n]
        with their missing indicators; label, ROW_KEY, and where the spec has them weight and hash of the group.
    """
    spec = parse_spec(DataSpec, custom_config["data_spec"], "data.yaml")
    tokens = _tokens(spec, inputs)
    vocabularies = {o: _vocabulary(spec, o, tokens) for o in spec.owners if has_vocabulary(spec, o)}
    outputs: Tensors = {spec.label: inputs[spec.label], ROW_KEY: inputs[ROW_KEY]}
    if spec.group is not None:
        outputs[GROUP_KEY] = _group(_text(inputs[spec.group]))
    if spec.weight is not None:
        outputs[spec.weight] = inputs[spec.weight]
    for name, feature in spec.features.items():
        if isinstance(feature, NumericFeature):
            outputs |= _numeric(name, feature, inputs[name])
        elif isinstance(feature, VectorFeature):
            outputs |= _vector(name, feature, inputs[name])
        elif isinstance(feature, TimestampFeature):
            outputs[name] = _timestamp(feature, inputs[name])
        elif name in tokens:
            outputs[name] = _ids(spec, name, tokens[name], vocabularies.get(spec.owner(name)))
    for key in slice_keys(spec):
        if slice_vocabulary(spec, key) not in vocabularies:
            _counted(_flat(tokens[key]), slice_vocabulary(spec, key), spec.slice_top)
    return outputs


def has_vocabulary(spec: DataSpec, owner: str) -> bool:
    """Whether an owner's ids come from a vocabulary that is counted in the data."""
    feature = spec.features[owner]
    if not isinstance(feature, IdFeature) or feature.hash_buckets is not None:
        return False
    return getattr(feature, "identity", None) is None


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
    """Ids of an owner whose spec says how many there are: quantiles, hash buckets, an identity's or a time's range."""
    keys = ("buckets", "hash_buckets", "identity", "size")
    sizes = (getattr(spec.features[owner], key, None) for key in keys)
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


def _group(text: tf.Tensor) -> tf.Tensor:
    return tf.where(text == "", tf.constant(NO_GROUP, tf.int64), tf.strings.to_hash_bucket_fast(text, 2**62))


def _dense(raw: tf.SparseTensor, default: Any) -> tf.Tensor:
    """[B, 0 or 1] as [B], `default` where there is nothing."""
    column = tf.sparse.SparseTensor(raw.indices, raw.values, [raw.dense_shape[0], 1])
    return tf.sparse.to_dense(column, default)[:, 0]


def _tokens(spec: DataSpec, inputs: Tensors) -> Tensors:
    """Every column of tokens as text: [B], or ragged [B, T] for a sequence (oldest first) or bag."""
    tokens: Tensors = {}
    aligned: dict[str, Tensors] = {}
    for name, feature in spec.features.items():
        if not isinstance(feature, IdFeature) or name not in inputs:
            continue
        if isinstance(feature, CategoricalFeature):
            tokens[name] = _text(inputs[name])
        elif isinstance(feature, SequenceFeature) and feature.align is not None:
            aligned.setdefault(feature.align, {})[name] = _split(spec, name, feature, inputs[name])
        else:
            split = _split(spec, name, feature, inputs[name])
            tokens[name] = _cut(feature, tf.ragged.boolean_mask(split, split != ""))
    for behaviour in aligned.values():
        tokens |= {name: _cut(spec.features[name], kept) for name, kept in _in_step(behaviour).items()}
    return {name: tokens[name] for name in spec.features if name in tokens}


def _split(spec: DataSpec, name: str, feature: SequenceFeature | BagFeature, raw: Any) -> tf.RaggedTensor:
    """The tokens of a cell or a list as text, ragged [B, T]; an empty text where one is missing or is padding."""
    if feature.separator is not None:
        tokens = tf.strings.split(raw, feature.separator)
    else:
        tokens = tf.RaggedTensor.from_sparse(raw)
    flat = tokens.flat_values
    if _dtype(spec, name) == "int64":  # 007 is 7, as it is where the column itself is int64
        if flat.dtype == tf.string:
            flat = tf.strings.to_number(tf.where(flat == "", str(MISSING_INT), flat), tf.int64)
        flat = tf.where(flat == MISSING_INT, "", tf.strings.as_string(flat))
    if feature.padding is not None:
        flat = tf.where(flat == feature.padding, "", flat)
    return tokens.with_flat_values(flat)


def _cut(feature: Any, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
    """The last `max_length` tokens of a sequence, the first ones of a bag."""
    return (
        tokens[:, : feature.max_length]
        if isinstance(feature, BagFeature)
        else tokens[:, -feature.max_length :]
    )


def _in_step(behaviour: dict[str, tf.RaggedTensor]) -> dict[str, tf.RaggedTensor]:
    """Columns of one behaviour, without the positions at which none of them has a token: all stay in step."""
    dense = tf.unstack(
        tf.ragged.stack(list(behaviour.values())).to_tensor(""), num=len(behaviour)
    )  # k of [B, T]
    somewhere = tf.reduce_any([tokens != "" for tokens in dense], axis=0)
    kept = (tf.ragged.boolean_mask(tokens, somewhere) for tokens in dense)
    return dict(zip(behaviour, kept, strict=True))


def _dtype(spec: DataSpec, name: str) -> str:
    return getattr(spec.features[spec.owner(name)], "dtype", "string")


def _ids(spec: DataSpec, name: str, tokens: Any, vocabulary: Any) -> Any:
    """Ids: 0 for an empty token, then the known ones, then out-of-vocabulary."""
    owner, flat = spec.features[spec.owner(name)], _flat(tokens)
    assert isinstance(owner, IdFeature)
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
    present = _is_present(raw)
    default = 0.0 if feature.default is None else feature.default
    value = _scaled(feature, _dense(raw, default), raw)
    if feature.buckets is not None:
        has_value = present if feature.default is None else tf.ones_like(present)
        return {name: tf.where(has_value, value + 1, tf.zeros_like(value))}
    if feature.default is None:
        value = tf.where(present, value, tf.zeros_like(value))
    return {name: value, missing_key(name): tf.cast(~present, tf.float32)}


def _vector(name: str, feature: VectorFeature, raw: tf.SparseTensor) -> Tensors:
    """The numbers as they are; zeros where the row has none."""
    rows = raw.dense_shape[0]
    sparse = tf.SparseTensor(raw.indices, raw.values, [rows, feature.dimension])
    dense = tf.ensure_shape(tf.sparse.to_dense(sparse), [None, feature.dimension])
    ones = tf.ones_like(raw.values)
    present = (
        tf.math.unsorted_segment_max(ones, raw.indices[:, 0], rows) > 0
    )  # of no element: the lowest float
    return {name: dense, missing_key(name): tf.cast(~present, tf.float32)}


def _timestamp(feature: TimestampFeature, raw: Any) -> tf.Tensor:
    if isinstance(raw, tf.SparseTensor):
        number = _dense(raw, tf.constant(MISSING_INT, tf.int64))
        return timestamp_ids(
            feature, number, number != MISSING_INT
        )  # in a file too, since a request cannot tell
    return timestamp_ids(feature, raw, raw != "")


def _is_present(raw: tf.SparseTensor) -> tf.Tensor:
    """Whether a row of [B, 0 or 1] has a value, [B]."""
    return _dense(tf.SparseTensor(raw.indices, tf.ones_like(raw.values), raw.dense_shape), 0) > 0


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
    wide = tf.cast(values, tf.float64)
    mean, variance = (tf.cast(moment, tf.float32) for moment in (tft.mean(wide), tft.var(wide)))
    return _finite(tf.math.divide_no_nan(dense - mean, tf.sqrt(variance)))


def _finite(scaled: tf.Tensor) -> tf.Tensor:
    """0 instead of what has no value: a column that was always missing in training has no statistics."""
    return tf.where(tf.math.is_finite(scaled), scaled, tf.zeros_like(scaled))


# Logs and moments are taken in float64, since how many rows Beam gives to a batch follows its timing: TensorFlow rounds the
# logs of float32 otherwise in the last rows of a batch, and sums by its length. The same rows would give another model,
# and a server another input.


def _log1p(x: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(x, tf.float64)
    return tf.cast(tf.sign(wide) * tf.math.log1p(tf.abs(wide)), tf.float32)


def _log_squared(x: tf.Tensor) -> tf.Tensor:
    """floor(ln(x)^2) above 2, as the winners of Criteo's contest had it; smaller values stay."""
    wide = tf.math.log(tf.maximum(tf.cast(x, tf.float64), 2.0))
    return tf.where(x > 2, tf.cast(tf.floor(tf.square(wide)), tf.float32), x)
