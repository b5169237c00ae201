"""The signatures of the pushed SavedModel, each with the transform graph inside: training and serving cannot differ."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cetnet_keras.cetnet import CETNet
from cetnet_keras.embeddings import CONTEXT_ROW
from cetnet_keras.spec import BagFeature, DataSpec
from cetnet_keras.spec.raw import MISSING

Tensors = dict[str, tf.Tensor]
Transform = Callable[[Tensors], Tensors]

DTYPES = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}


def parse_raw(spec: DataSpec, examples: tf.Tensor) -> Tensors:
    """The raw tensors of serialised tf.Examples [B] as requests have them: [B], lists [B, T] padded, vectors [B, n]."""
    features: dict[str, Any] = {}
    for name, raw_type in spec.raw_types.items():
        sizes = [size for size in spec.raw_shapes[name] if size is not None]
        if len(sizes) < len(spec.raw_shapes[name]):
            features[name] = tf.io.VarLenFeature(DTYPES[raw_type])
        else:
            nothing = np.full(sizes, MISSING[raw_type])
            features[name] = tf.io.FixedLenFeature(sizes, DTYPES[raw_type], nothing)
    parsed = tf.io.parse_example(examples, features)
    return {
        name: tf.sparse.to_dense(value, MISSING[spec.raw_types[name]])
        if isinstance(value, tf.SparseTensor)
        else value
        for name, value in parsed.items()
    }


def _as_text(values: tf.Tensor) -> tf.Tensor:
    """Raw values as strings; a missing one is empty."""
    if values.dtype == tf.string:
        return values
    text = tf.strings.as_string(values, shortest=values.dtype.is_floating)
    missing = tf.math.is_nan(values) if values.dtype.is_floating else values == MISSING["int64"]
    return tf.where(missing, "", text)


class ServableModel(tf.Module):
    """A trained model with its transform, ready to be saved.

    Args:
        model: the trained CETNet.
        transform: dense raw tensors of some features of the spec in, the model's inputs for these features out.
        slice_values: the most frequent values of each slice key; every other value is `other`.
        assets: files that travel in the SavedModel's assets folder, such as the two YAML files.
    """

    def __init__(
        self,
        model: CETNet,
        transform: Transform,
        slice_values: Mapping[str, Sequence[str]],
        assets: Sequence[Path] = (),
    ) -> None:
        super().__init__(name="servable")
        self.spec, self._member_names, self._transform = model.spec, model.member_names, transform
        # the variables and not the Keras model are tracked: saving a Keras model traces each of its layers once more
        self._variables, self._predict = model.variables, lambda batch: model(batch, training=False)
        self._slice_values = dict(slice_values)
        self._assets = [tf.saved_model.Asset(str(path)) for path in assets]

    def save(self, path: str) -> None:
        """Writes the SavedModel with all signatures to a folder."""
        row = {
            name: tf.TensorSpec([None, *self.spec.raw_shapes[name]], DTYPES[raw_type], name)
            for name, raw_type in self.spec.raw_types.items()
        }
        candidates = self.spec.with_role("candidate")
        rank = row | {n: tf.TensorSpec([None, *row[n].shape], row[n].dtype, n) for n in candidates}
        serialised = tf.TensorSpec([None], tf.string, "examples")
        signatures = {
            "serving_default": tf.function(self._serve, autograph=False).get_concrete_function(**row),
            "explain": tf.function(self._explain, autograph=False).get_concrete_function(**row),
            "examples": tf.function(self._score_examples, autograph=False).get_concrete_function(serialised),
        }
        if candidates:
            signatures["rank"] = tf.function(self._rank, autograph=False).get_concrete_function(**rank)
        if self._slice_values:
            signatures["slices"] = tf.function(self._slices, autograph=False).get_concrete_function(
                serialised
            )
        tf.saved_model.save(self, path, signatures=signatures)

    def _serve(self, **raw: tf.Tensor) -> Tensors:
        return {"ctr": self._explain(**raw)["ctr"]}

    def _explain(self, **raw: tf.Tensor) -> Tensors:
        return self._predict(self._transform(raw))

    def _score_examples(self, examples: tf.Tensor) -> Tensors:
        raw = self._parsed(examples)
        output = self._explain(**raw)
        each = {f"ctr_{name}": output["member_ctr"][:, m] for m, name in enumerate(self._member_names)}
        ids = {name: _as_text(raw[name]) for name in self.spec.id if name in raw}
        others = {n: tf.io.FixedLenFeature([], tf.string, "") for n in self.spec.id if n not in raw}
        return output | each | ids | (tf.io.parse_example(examples, others) if others else {})

    def _slices(self, examples: tf.Tensor) -> Tensors:
        raw = self._parsed(examples)
        return {f"slice_{key}": self._slice(key, raw[key]) for key in self._slice_values}

    def _slice(self, key: str, raw: tf.Tensor) -> tf.Tensor:
        """The value or `other`, [B]; those of a bag [B, T], padded with an empty string."""
        values, feature = self._slice_values[key], self.spec.features[key]
        text = _as_text(raw)
        if isinstance(feature, BagFeature) and feature.separator is not None:
            text = tf.strings.split(text, feature.separator).to_tensor("")
        known = tf.reduce_any(
            text[..., tf.newaxis] == tf.constant(list(values), tf.string, [len(values)]), axis=-1
        )
        kept = tf.where(known, text, "other")
        return tf.where(text == "", "", kept) if isinstance(feature, BagFeature) else kept

    def _parsed(self, examples: tf.Tensor) -> Tensors:
        return parse_raw(self.spec, examples)

    def _rank(self, **raw: tf.Tensor) -> Tensors:
        """Scores N candidates for each of B contexts; what is known of a context is transformed and embedded once."""
        candidates = {name: raw[name] for name in self.spec.with_role("candidate")}
        contexts = {name: raw[name] for name in self.spec.with_role("context")}
        shape = tf.shape(next(iter(candidates.values())))[:2]  # [B, N]
        flat = {n: tf.reshape(v, tf.concat([[-1], tf.shape(v)[2:]], 0)) for n, v in candidates.items()}
        batch = self._transform(
            {name: tf.ensure_shape(v, [None, *self.spec.raw_shapes[name]]) for name, v in flat.items()}
        )
        if contexts:
            batch |= self._transform(contexts) | {CONTEXT_ROW: tf.repeat(tf.range(shape[0]), shape[1])}
        return {"ctr": tf.reshape(self._predict(batch)["ctr"], shape)}
