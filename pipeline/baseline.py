"""Which model a new one has to keep up with."""

from pathlib import Path
from typing import Any

from absl import logging
from ml_metadata.metadata_store.metadata_store import MetadataStore
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import Artifact, BaseChannel, Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from cetnet_keras.errors import InputError
from pipeline.artifacts import pushes
from pipeline.pushed_model import signatures, unfit_input

NEW = "new"  # key of the model that is to be compared, among those that the strategy is given


def latest_blessed(
    strategy: type[LatestBlessedModelStrategy], new: BaseChannel | None = None, **config: Any
) -> Resolver:
    """The node whose output `model` is what a new model is compared with.

    Args:
        strategy: how it is found: LatestComparableModelStrategy, or TFX's own where a compiler knows no other.
        new: the new model, which LatestComparableModelStrategy asks for.
        config: the arguments of the strategy.
    """
    channels = {"model": Channel(type=Model), "model_blessing": Channel(type=ModelBlessing)}
    more = {} if new is None else {NEW: new}
    resolver = Resolver(strategy_class=strategy, config=config, **channels, **more)
    return resolver.with_id("LatestBlessed")


class LatestComparableModelStrategy(LatestBlessedModelStrategy):
    """The last pushed model that can be asked about the new rows: they have all columns that it takes. Source: our choice.

    TFX's own strategy takes the last model that the Evaluator blessed, also one that the parity gate refused, whatever it
    takes; Evaluator fails on it where a column has been dropped or has another type. The new model is not compared
    with itself: as long as nothing changes the Evaluator is given the same, so that the cache can answer.

    Args:
        pipeline: its name, which what it has pushed is found by.
        raw: the `pushed_model.raw_inputs` of the rows' data spec.
    """

    def __init__(self, pipeline: str, raw: dict[str, str]) -> None:
        super().__init__()
        self._pipeline, self._raw = pipeline, raw

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]] | None:
        """As TFX's own strategy, of the models that were pushed and can be compared; what is given is given back."""
        models = {artifact.id: artifact for artifact in input_dict["model"]}
        new = {artifact.id for artifact in input_dict[NEW]}
        for number in dict.fromkeys(push.model for push in pushes(store, self._pipeline)):
            if number in models and number not in new and self._fits(models[number]):
                only = {"model": [models[number]], "model_blessing": list(input_dict["model_blessing"])}
                found = super().resolve_artifacts(store, only)
                return None if found is None else found | {NEW: input_dict[NEW]}
        return {"model": [], "model_blessing": [], NEW: input_dict[NEW]}

    def _fits(self, model: Artifact) -> bool:
        try:
            default = signatures(Path(model.uri) / "Format-Serving")["serving_default"]
        except InputError as error:  # somebody has deleted it
            unfit: str | None = str(error)
        else:
            unfit = unfit_input(default, self._raw)
        if unfit is not None:
            logging.warning("A pushed model is not compared with: %s: %s", model.uri, unfit)
        return unfit is None
