"""The two YAML files that describe a model: data.yaml (the columns) and model.yaml (members and training).

Names load when they are first used, so that the commands of this package show their help without pydantic.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cetnet_keras.spec.data_spec import ROW_KEY, CsvFormat, DataSpec
    from cetnet_keras.spec.features import (
        BagFeature,
        CategoricalFeature,
        NumericFeature,
        PretrainedFeature,
        SequenceFeature,
        TimestampFeature,
        VectorFeature,
        Vocabulary,
    )
    from cetnet_keras.spec.model_spec import (
        CollaborationSpec,
        FusionSpec,
        MemberSpec,
        ModelSpec,
        TrainingSpec,
    )
    from cetnet_keras.spec.source import (
        DEFAULT_MODEL,
        check_members,
        error_at,
        load_data_spec,
        load_model_source,
        load_model_spec,
        parse_spec,
        read_text,
    )
    from cetnet_keras.spec.splits import FileSplits, HoldOut, RowSplits

__all__ = [
    "DEFAULT_MODEL",
    "ROW_KEY",
    "BagFeature",
    "CategoricalFeature",
    "CollaborationSpec",
    "CsvFormat",
    "DataSpec",
    "FileSplits",
    "FusionSpec",
    "HoldOut",
    "MemberSpec",
    "ModelSpec",
    "NumericFeature",
    "PretrainedFeature",
    "RowSplits",
    "SequenceFeature",
    "TimestampFeature",
    "TrainingSpec",
    "VectorFeature",
    "Vocabulary",
    "check_members",
    "error_at",
    "load_data_spec",
    "load_model_source",
    "load_model_spec",
    "parse_spec",
    "read_text",
]
_HOMES = ("data_spec", "features", "model_spec", "source", "splits")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
