"""FinalMLP: two MLPs that each look at their own choice of the features, and a bilinear form of both."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cetnet_keras.behaviours import flat_features, flat_fields
from cetnet_keras.embeddings import EmbeddedFeatures, FeatureBatch
from cetnet_keras.members.base import Member
from cetnet_keras.members.registry import register_member
from cetnet_keras.mlp import Mlp
from cetnet_keras.spec import CategoricalFeature


@tf.keras.utils.register_keras_serializable(package="cetnet")
class FeatureGate(tf.keras.layers.Layer):
    """A stream's choice of the features: x * 2 sigmoid(MLP(c)), with c a context or, without one, a learned row.

    Source: FinalMLP (arXiv 2304.00902), section 3.3, equations 6 and 7. The row starts at random: from zero, as in its
    authors' code, neither it nor a hidden layer, whose biases are 0 too, would ever have a gradient.

    Args:
        hidden: widths of the MLP before its last layer, which has the width of x.
        context_width: of the learned row where there is no context.
    Call arguments:
        inputs: [B, n], and [B, k] of the context or [B, 0].
    Returns:
        [B, n].
    """

    def __init__(self, hidden: Sequence[int], context_width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden, self.context_width = tuple(hidden), context_width
        self._mlp = Mlp(self.hidden, dtype=self.dtype_policy, name="gate")

    def build(self, input_shape: Any) -> None:
        inputs, context = input_shape
        self._row = None
        if not context[-1]:
            self._row = self.add_weight("context", [1, self.context_width], initializer="glorot_uniform")
        self._last = tf.keras.layers.Dense(
            int(inputs[-1]), "sigmoid", dtype=self.dtype_policy, name="gate_of_inputs"
        )
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        x, context = inputs
        if self._row is not None:
            context = tf.cast(self._row, self.compute_dtype)
        return x * (2 * self._last(self._mlp(context)))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"hidden": list(self.hidden), "context_width": self.context_width}


def check_heads(heads: int, widths: Sequence[int]) -> None:
    """Raises ValueError where both streams cannot be cut into so many heads."""
    if heads < 1 or any(width % heads for width in widths):
        raise ValueError(f"`heads` must divide the widths {list(widths)} of both streams. Received: {heads}")


@tf.keras.utils.register_keras_serializable(package="cetnet")
class BilinearFusion(tf.keras.layers.Layer):
    """b + w_1 . o_1 + w_2 . o_2 + sum over heads of o_1h W_h o_2h: the log odds of two streams.

    Source: FinalMLP (arXiv 2304.00902), section 3.4, equations 8 to 10.

    Args:
        heads: into which both are cut.
    Call arguments:
        inputs: [B, n] and [B, m].
    Returns:
        [B].
    Raises:
        ValueError: a width that `heads` does not divide.
    """

    def __init__(self, heads: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: Any) -> None:
        widths = [int(shape[-1]) for shape in input_shape]
        check_heads(self.heads, widths)
        first, second = (width // self.heads for width in widths)
        self._linear = self.add_weight("linear", [sum(widths), 1])
        self._bias = self.add_weight("bias", [1], initializer="zeros")
        self._forms = self.add_weight(
            "bilinear", [self.heads, first, second], initializer=tf.keras.initializers.GlorotNormal()
        )
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        first, second = inputs
        linear = (tf.concat([first, second], axis=-1) @ self._linear + self._bias)[:, 0]
        heads = [tf.reshape(x, [-1, self.heads, x.shape[-1] // self.heads]) for x in (first, second)]
        return linear + tf.einsum("bhi,hij,bhj->b", heads[0], self._forms, heads[1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"heads": self.heads}


@register_member("finalmlp")
class FinalMlpMember(Member):
    """Two streams, each an MLP on the features that its gate lets through, and a bilinear form of them for the logit.

    Source: FinalMLP (arXiv 2304.00902), equations 5 to 10. The context features have embedding rows of their own beside the
    member's, as in its authors' code. Pooling of sequences, the widths and the output embedding are our choice.

    Args:
        hidden: widths of the first stream's MLP. second_hidden: of the second's.
        second_dropout: of the second's; none: `dropout`, which is the first's.
        selection: whether each stream has a gate; else both read all features.
        gate_hidden: widths of the gates' MLPs.
        context: names of categorical features that the first stream's gate looks at, each with a vocabulary of its own.
        second_context: the same for the second stream's.
        heads: of the bilinear form; they divide both last widths.
    Output embedding:
        [first stream | second stream].
    Raises:
        ValueError: a context that is no such feature, is there twice or that no gate looks at, widths that `heads` does
            not divide, a `projection`.
    """

    def __init__(
        self,
        *args: Any,
        hidden: Sequence[int] = (128, 64),
        second_hidden: Sequence[int] = (64,),
        second_dropout: float | None = None,
        selection: bool = True,
        gate_hidden: Sequence[int] = (64,),
        context: Sequence[str] = (),
        second_context: Sequence[str] = (),
        heads: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.refuse_projection()
        self.hidden, self.second_hidden = tuple(hidden), tuple(second_hidden)
        self.second_dropout, self.heads = second_dropout, heads
        self.selection, self.gate_hidden = selection, tuple(gate_hidden)
        self.context, self.second_context, policy = tuple(context), tuple(second_context), self.dtype_policy
        self._contexts = [
            self._context(self.context, "context"),
            self._context(self.second_context, "second_context"),
        ]
        self._gates = [
            FeatureGate(self.gate_hidden, self.embedding_dim, dtype=policy, name=name) if selection else None
            for name in ("gate", "second_gate")
        ]
        self._streams = [
            self.mlp(self.hidden, "stream"),
            self.mlp(self.second_hidden, "second_stream", dropout=second_dropout),
        ]
        self._bilinear = BilinearFusion(heads, dtype="float32", name="bilinear")
        if not (self.hidden and self.second_hidden):
            raise ValueError("`hidden` and `second_hidden` must have a width each. Received: an empty list")
        check_heads(heads, [self.hidden[-1], self.second_hidden[-1]])

    def _context(self, names: tuple[str, ...], option: str) -> tf.keras.layers.Layer | None:
        own = [
            name
            for name, feature in self.spec.features.items()
            if isinstance(feature, CategoricalFeature) and self.spec.owner(name) == name
        ]
        wrong = [name for name in names if name not in own]
        if wrong:
            known = f"categorical features with a vocabulary of their own: {', '.join(own)}"
            raise ValueError(f"`{option}` must name {known}. Received: {wrong[0]!r}")
        if len(set(names)) < len(names):
            again = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"`{option}` must name each feature once. Received: {again!r} twice")
        if names and not self.selection:
            raise ValueError(f"`{option}` is what a gate looks at, and with `selection: false` there is none")
        if not names:
            return None
        spec = self.spec.model_copy(update={"features": {name: self.spec.features[name] for name in names}})
        return self.tables(spec, self.features.vocabulary_sizes, option)

    def embed(self, batch: FeatureBatch) -> EmbeddedFeatures:
        features = self.features(batch)
        rows = [tables(batch).fields for tables in self._contexts if tables is not None]
        return features._replace(fields=tf.concat([features.fields, *rows], axis=1))

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        contexts = [len(self.context), len(self.second_context)]
        own = features.fields.shape[1] - sum(contexts)
        x = flat_features(features._replace(fields=features.fields[:, :own]))
        streams, begins = [], own
        for gate, mlp, rows in zip(self._gates, self._streams, contexts, strict=True):
            context = flat_fields(features._replace(fields=features.fields[:, begins : begins + rows]))
            streams.append(mlp(gate((x, context)) if gate is not None else x, training=training))
            begins += rows
        return tf.concat(streams, axis=-1)

    def logit(self, embedding: tf.Tensor, training: bool | None) -> tf.Tensor:
        embedding = tf.cast(embedding, tf.float32)
        first = self.hidden[-1]
        return self._bilinear((embedding[:, :first], embedding[:, first:]))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden": list(self.hidden),
            "second_hidden": list(self.second_hidden),
            "second_dropout": self.second_dropout,
            "selection": self.selection,
            "gate_hidden": list(self.gate_hidden),
            "context": list(self.context),
            "second_context": list(self.second_context),
            "heads": self.heads,
        }
