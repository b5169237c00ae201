"""MLP: a deep network on everything side by side, with no interaction made by hand."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cetnet_keras.behaviours import flat_features
from cetnet_keras.embeddings import EmbeddedFeatures
from cetnet_keras.members.base import Member
from cetnet_keras.members.registry import register_member


@register_member("mlp")
class MlpMember(Member):
    """Fields, numbers and the mean of each sequence, side by side, through an MLP.

    Source: the deep model of Wide & Deep (arXiv 1606.07792), "DNN" in BARS; pooling of sequences and widths are our choice.

    Args:
        hidden: widths of the MLP; the last is the width of the output embedding.
    Output embedding:
        the last layer of the MLP.
    """

    def __init__(self, *args: Any, hidden: Sequence[int] = (128, 64), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hidden = tuple(hidden)
        self._mlp = self.mlp(self.hidden, "mlp")

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        return self._mlp(flat_features(features), training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"hidden": list(self.hidden)}
