"""Warm-up requests of a pushed model: rows of the values that training saw most often, as long as rows get."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import cycle, islice
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from cetnet_keras.spec import (
    BagFeature,
    DataSpec,
    NumericFeature,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
)
from pipeline.transform import has_vocabulary
from serving.signatures import DTYPES

_TOKENS = 100  # of a vocabulary that rows are made of
_IN_A_BAG = 3  # tokens, such as genres
_TIME = datetime(2024, 5, 31, 12, tzinfo=timezone.utc)
_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


def warmup_requests(
    spec: DataSpec, transformed: tft.TFTransformOutput, batch_sizes: Sequence[int]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """A (signature, inputs) for each signature that is called and each number of rows, or of candidates to rank.

    The first run of a shape costs several times what later ones do, and a row without tokens leaves out most kernels.
    """
    candidates = spec.with_role("candidate")
    tokens = {owner: _frequent(spec, transformed, owner) for owner in spec.owners}
    for size in batch_sizes:
        rows = [
            {name: _value(spec, name, tokens, number) for name in spec.raw_types} for number in range(size)
        ]
        columns = {
            name: np.array([row[name] for row in rows], DTYPES[raw_type].as_numpy_dtype)
            for name, raw_type in spec.raw_types.items()
        }
        yield "serving_default", columns
        yield "explain", columns
        yield "examples", {"examples": np.array([_example(spec, row) for row in rows], np.object_)}
        if candidates:
            ranked = {name: columns[name][np.newaxis] for name in candidates}
            yield "rank", {name: ranked.get(name, column[:1]) for name, column in columns.items()}


def _frequent(spec: DataSpec, transformed: tft.TFTransformOutput, owner: str) -> list[str]:
    """Tokens of an owner's vocabulary, most frequent first; numbers where it has none."""
    if not has_vocabulary(spec, owner):
        return ["0", "1"]
    with tf.io.gfile.GFile(transformed.vocabulary_file_by_name(owner)) as lines:
        return [line.rstrip("\n") for line in islice(lines, _TOKENS)] or [""]


def _value(spec: DataSpec, name: str, tokens: Mapping[str, Sequence[str]], number: int) -> Any:
    """What row `number` has of a feature: a text, a number, or a list."""
    feature = spec.features[name]
    if isinstance(feature, NumericFeature):
        return 1.0
    if isinstance(feature, VectorFeature):
        return [1.0] * feature.dimension
    if isinstance(feature, TimestampFeature):
        return _time(feature)
    known = tokens[spec.owner(name)]
    if not isinstance(feature, SequenceFeature | BagFeature):
        return known[number % len(known)]
    length = min(feature.max_length, _IN_A_BAG) if isinstance(feature, BagFeature) else feature.max_length
    many = list(islice(cycle(known), number % len(known), number % len(known) + length))
    return many if feature.separator is None else feature.separator.join(many)


def _time(feature: TimestampFeature) -> str | int:
    if feature.format in _PER_SECOND:
        return int(_TIME.timestamp()) * _PER_SECOND[feature.format]
    return _TIME.isoformat() if feature.format == "iso" else _TIME.strftime(feature.format)


def _example(spec: DataSpec, row: Mapping[str, Any]) -> bytes:
    features = {}
    for name, raw_type in spec.raw_types.items():
        values = row[name] if isinstance(row[name], list) else [row[name]]
        if raw_type == "string":
            own = tf.train.Feature(bytes_list={"value": [value.encode() for value in values]})
        elif raw_type == "int64":
            own = tf.train.Feature(int64_list={"value": [int(value) for value in values]})
        else:
            own = tf.train.Feature(float_list={"value": values})
        features[name] = own
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
