"""The peers, assembled from the layers, the base model and the training loop of the fuxictr package.

Its wheel has the single models for long histories alone; these have the structure of its repository's model_zoo.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import (
    CrossNetV2,
    DIN_Attention,
    FeatureEmbedding,
    FeatureEmbeddingDict,
    MLP_Block,
)
from fuxictr.pytorch.models import BaseModel
from model_zoo.LongCTR.FinalMLP.FinalMLP import FeatureSelection, InteractionAggregation
from torch import nn

Batch = dict[str, torch.Tensor]
MEAN = "layers.MaskedAveragePooling()"


def feature_map(
    name: str, features: dict[str, dict[str, Any]], pooled: bool, grouped: bool, width: int
) -> FeatureMap:
    """FuxiCTR's description of the columns.

    Args:
        name: of the data set.
        features: of `features.json`.
        pooled: whether a sequence enters as the mean of its tokens.
        grouped: whether rows have a group.
        width: of the embeddings.
    """
    found = FeatureMap(name, ".")
    specs: OrderedDict[str, dict[str, Any]] = OrderedDict()
    for key, feature in features.items():
        specs[key] = {
            "type": "categorical",
            "source": "",
            "padding_idx": 0,
            "vocab_size": feature["vocab_size"],
        }
        if "target" in feature:
            specs[key] |= {
                "type": "sequence",
                "max_len": feature["max_len"],
                "share_embedding": feature["target"],
                "feature_encoder": MEAN if pooled else None,
            }
    if grouped:
        specs["group"] = {"type": "meta"}
        found.group_id = "group"
    found.features, found.labels, found.default_emb_dim = specs, ["label"], width
    found.num_fields = found.get_num_fields()
    return found


class Peer(BaseModel):
    """FuxiCTR's base model, which keeps the figures of each evaluation.

    Args:
        features: of `feature_map`.
        training: learning_rate, embedding_regularizer, early_stop_patience, monitor and, beside FuxiCTR's own,
            plateau_patience: evaluations without gain before the rate drops tenfold (FuxiCTR has 1).
        folder: for its checkpoint.
    """

    def __init__(self, features: FeatureMap, training: dict[str, Any], folder: Path) -> None:
        settings = {key: value for key, value in training.items() if key not in OURS}
        super().__init__(
            features, verbose=0, model_root=str(folder), metrics=[training["monitor"], "logloss"], **settings
        )
        Path(self.model_dir).mkdir(parents=True, exist_ok=True)
        self.evaluations: list[float] = []
        self._plateau_patience = training.get("plateau_patience", 1)

    def ready(self, learning_rate: float) -> None:
        """What the models of the model_zoo end their constructor with."""
        self.compile("adam", "binary_crossentropy", learning_rate)
        self.reset_parameters()

    def tables(self) -> set[nn.Parameter]:
        """The embedding tables; what shares one has it once."""
        return {module.weight for module in self.modules() if isinstance(module, nn.Embedding)}

    def checkpoint_and_earlystop(self, logs: dict[str, float], min_delta: float = 1e-6) -> None:
        self.evaluations.append(self._monitor.get_value(logs))
        super().checkpoint_and_earlystop(logs, min_delta)

    def lr_decay(self, factor: float = 0.1, min_lr: float = 1e-6) -> float:
        due = self._stopping_steps % self._plateau_patience == 0
        return float(super().lr_decay(factor if due else 1.0, min_lr))


OURS = ("learning_rate", "plateau_patience", "batch_size")  # settings that are not the base model's


class DNN(Peer):
    """The embeddings through an MLP."""

    def __init__(
        self, features: FeatureMap, training: dict[str, Any], folder: Path, mlp: dict[str, Any]
    ) -> None:
        super().__init__(features, training, folder)
        self.embedding_layer = FeatureEmbedding(features, features.default_emb_dim)
        self.mlp = MLP_Block(features.sum_emb_out_dim(), output_dim=1, output_activation="Sigmoid", **mlp)
        self.ready(training["learning_rate"])

    def forward(self, inputs: Batch) -> Batch:
        embedded = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        return {"y_pred": self.mlp(embedded)}


class DCNv2(Peer):
    """Cross layers beside an MLP."""

    def __init__(
        self,
        features: FeatureMap,
        training: dict[str, Any],
        folder: Path,
        cross_layers: int,
        mlp: dict[str, Any],
    ) -> None:
        super().__init__(features, training, folder)
        width = features.sum_emb_out_dim()
        self.embedding_layer = FeatureEmbedding(features, features.default_emb_dim)
        self.cross = CrossNetV2(width, cross_layers)
        self.mlp = MLP_Block(width, output_dim=None, output_activation=None, **mlp)
        self.fc = nn.Linear(width + mlp["hidden_units"][-1], 1)
        self.ready(training["learning_rate"])

    def forward(self, inputs: Batch) -> Batch:
        embedded = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        both = torch.cat([self.cross(embedded), self.mlp(embedded)], dim=-1)
        return {"y_pred": torch.sigmoid(self.fc(both))}


class DIN(Peer):
    """The histories as the candidate calls them up, through an MLP."""

    def __init__(
        self,
        features: FeatureMap,
        training: dict[str, Any],
        folder: Path,
        attention: dict[str, Any],
        mlp: dict[str, Any],
    ) -> None:
        super().__init__(features, training, folder)
        self.embedding_layer = FeatureEmbeddingDict(features, features.default_emb_dim)
        self.sequences = [k for k, spec in features.features.items() if spec["type"] == "sequence"]
        self.targets = [features.features[key]["share_embedding"] for key in self.sequences]
        self.attention = DIN_Attention(features.default_emb_dim * len(self.sequences), **attention)
        self.mlp = MLP_Block(features.sum_emb_out_dim(), output_dim=1, output_activation="Sigmoid", **mlp)
        self.ready(training["learning_rate"])

    def forward(self, inputs: Batch) -> Batch:
        ids = self.get_inputs(inputs)
        embedded = self.embedding_layer(ids)
        target = torch.cat([embedded[key] for key in self.targets], dim=-1)
        tokens = torch.cat([embedded[key] for key in self.sequences], dim=-1)
        called_up = self.attention(target, tokens, ids[self.sequences[0]] != 0)
        embedded |= zip(
            self.sequences, called_up.split(self.feature_map.default_emb_dim, dim=-1), strict=True
        )
        return {"y_pred": self.mlp(self.embedding_layer.dict2tensor(embedded, flatten_emb=True))}


class FinalMLP(Peer):
    """Two gated MLPs and the bilinear form of what they say."""

    def __init__(
        self,
        features: FeatureMap,
        training: dict[str, Any],
        folder: Path,
        selection: dict[str, Any],
        mlp: dict[str, Any],
        second_mlp: dict[str, Any],
        heads: int,
    ) -> None:
        super().__init__(features, training, folder)
        width, embedding = features.sum_emb_out_dim(), features.default_emb_dim
        self.embedding_layer = FeatureEmbedding(features, embedding)
        self.selection = FeatureSelection(features, width, embedding, **selection)
        self.towers = nn.ModuleList(
            MLP_Block(width, output_dim=None, output_activation=None, **tower) for tower in (mlp, second_mlp)
        )
        self.aggregation = InteractionAggregation(
            mlp["hidden_units"][-1], second_mlp["hidden_units"][-1], num_heads=heads
        )
        self.ready(training["learning_rate"])

    def forward(self, inputs: Batch) -> Batch:
        ids = self.get_inputs(inputs)
        chosen = self.selection(ids, self.embedding_layer(ids, flatten_emb=True))
        first, second = (tower(part) for tower, part in zip(self.towers, chosen, strict=True))
        return {"y_pred": torch.sigmoid(self.aggregation(first, second))}


MODELS: dict[str, type[Peer]] = {"DNN": DNN, "DCNv2": DCNv2, "DIN": DIN, "FinalMLP": FinalMLP}
