"""Which blessed model a new one has to keep up with."""

from pathlib import Path
from typing import Any

from absl import logging
from ml_metadata.metadata_store.metadata_store import MetadataStore
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import Artifact, Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from cetnet_keras.errors import InputError
from pipeline.pushed_model import signatures, unfit_input


def latest_blessed(strategy: type[LatestBlessedModelStrategy], **config: Any) -> Resolver:
    """The node whose output `model` is what a new model is compared with.

    Args:
        strategy: how it is found: LatestComparableModelStrategy, or TFX's own where a compiler knows no other.
        config: the arguments of the strategy.
    """
    resolver = Resolver(
        strategy_class=strategy,
        config=config,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    )
    return resolver.with_id("LatestBlessed")


class LatestComparableModelStrategy(LatestBlessedModelStrategy):
    """The last blessed model that can be asked about the new rows: they have all columns that it takes. Source: our choice.

    TFX's own strategy takes the last blessed model whatever it takes, and Evaluator fails on it where a column has
    been dropped or has another type.

    Args:
        raw: the `pushed_model.raw_inputs` of the rows' data spec.
    """

    def __init__(self, raw: dict[str, str]) -> None:
        super().__init__()
        self._raw = raw

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]] | None:
        """As TFX's own strategy, without the models that cannot be compared."""
        while True:
            found = super().resolve_artifacts(store, input_dict)
            unfit = [a for artifacts in (found or {}).values() for a in artifacts if not self._fits(a)]
            if not unfit:
                return found
            input_dict = {
                key: [artifact for artifact in artifacts if artifact not in unfit]
                for key, artifacts in input_dict.items()
            }

    def _fits(self, artifact: Artifact) -> bool:
        if not isinstance(artifact, Model):
            return True
        try:
            default = signatures(Path(artifact.uri) / "Format-Serving")["serving_default"]
        except InputError as error:  # somebody has deleted it
            unfit: str | None = str(error)
        else:
            unfit = unfit_input(default, self._raw)
        if unfit is not None:
            logging.warning("A blessed model is not compared with: %s: %s", artifact.uri, unfit)
        return unfit is None
