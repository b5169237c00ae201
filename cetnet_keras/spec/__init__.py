"""The two YAML files that describe a model: data.yaml (the columns) and model.yaml (members and training)."""

from cetnet_keras.spec.data_spec import ROW_KEY, CsvFormat, DataSpec
from cetnet_keras.spec.features import (
    BagFeature,
    CategoricalFeature,
    NumericFeature,
    SequenceFeature,
    Vocabulary,
)
from cetnet_keras.spec.model_spec import CollaborationSpec, FusionSpec, MemberSpec, ModelSpec, TrainingSpec
from cetnet_keras.spec.source import (
    check_members,
    error_at,
    load_data_spec,
    load_model_spec,
    parse_spec,
    read_text,
)
from cetnet_keras.spec.splits import FileSplits, HoldOut, RowSplits

__all__ = [
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
    "RowSplits",
    "SequenceFeature",
    "TrainingSpec",
    "Vocabulary",
    "check_members",
    "error_at",
    "load_data_spec",
    "load_model_spec",
    "parse_spec",
    "read_text",
]
