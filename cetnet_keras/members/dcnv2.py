"""DCN-v2: explicit crosses of bounded degree beside a deep network."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from cetnet_keras.behaviours import flat_features
from cetnet_keras.embeddings import EmbeddedFeatures
from cetnet_keras.members.base import Member
from cetnet_keras.members.registry import register_member


@register_member("dcnv2")
class Dcnv2Member(Member):
    """x_(l+1) = x_0 * (W x_l + b) + x_l, beside (parallel) or below (stacked) an MLP.

    x_0 is everything laid side by side: fields, numbers and the mean of each sequence.
    Source: DCN-v2 (arXiv 2008.13535), equation 1 and figure 1; pooling of sequences is our choice.

    Args:
        cross_layers: number of crosses, 1 or more; the degree of the interactions is one above it.
        rank: of W = U V^T, 1 or more; none gives a full matrix.
        hidden: widths of the MLP.
        structure: "parallel" or "stacked".
    Output embedding:
        parallel: [x_L | MLP(x_0)]; stacked: MLP(x_L).
    Raises:
        ValueError: a value outside these ranges.
    """

    def __init__(
        self,
        *args: Any,
        cross_layers: int = 3,
        rank: int | None = None,
        hidden: Sequence[int] = (128, 64),
        structure: str = "parallel",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if cross_layers < 1:
            raise ValueError(f"`cross_layers` must be 1 or more. Received: cross_layers={cross_layers!r}")
        if rank is not None and rank < 1:
            raise ValueError(f"`rank` must be 1 or more, or none. Received: rank={rank!r}")
        if structure not in ("parallel", "stacked"):
            raise ValueError(f"`structure` must be parallel or stacked. Received: structure={structure!r}")
        self.cross_layers, self.rank, self.hidden, self.structure = (
            cross_layers,
            rank,
            tuple(hidden),
            structure,
        )
        self._crosses = [
            tfrs.layers.dcn.Cross(projection_dim=rank, dtype=self.dtype_policy, name=f"cross_{i}")
            for i in range(cross_layers)
        ]
        self._deep = self.mlp(self.hidden, "deep")

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        x0 = flat_features(features)  # [B, n]
        crossed = x0
        for cross in self._crosses:
            crossed = cross(x0, crossed)
        if self.structure == "stacked":
            return self._deep(crossed, training=training)
        return tf.concat([crossed, self._deep(x0, training=training)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "cross_layers": self.cross_layers,
            "rank": self.rank,
            "hidden": list(self.hidden),
            "structure": self.structure,
        }
