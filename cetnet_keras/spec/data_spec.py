"""The data spec: the one place that knows the columns. All that depends on them is derived from it."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from cetnet_keras.spec.base import Count, SpecModel, Text
from cetnet_keras.spec.columns import FEATURE_NAME, ROW_KEY, column_uses, refuse_contradictions
from cetnet_keras.spec.features import (
    CategoricalFeature,
    Feature,
    NumericFeature,
    Role,
    SequenceFeature,
    Vocabulary,
)
from cetnet_keras.spec.raw import RawType
from cetnet_keras.spec.splits import Splits

__all__ = ["ROW_KEY", "CsvFormat", "DataSpec"]


class CsvFormat(SpecModel):
    """The dialect of the files."""

    delimiter: str = Field(
        default=",",
        pattern=r"^[\t -!#-~]$",
        description='one ASCII character between two cells; a tab is "\\t" in double quotes',
    )
    columns: list[Text] | None = Field(
        default=None, min_length=1, description="the names of the columns, for files without a header line"
    )


class DataSpec(SpecModel):
    """A data set and what its columns mean. Raises pydantic's ValidationError where it contradicts itself."""

    RESERVED: ClassVar[dict[str, str]] = {
        "weight": "every row counts as one",
        "negative_keep_rate": "train on all rows, or calibrate the served CTR by yourself",
        "id": "columns that are no features are not read",
        "ids": "columns that are no features are not read",
        "crosses": "add a column that joins the two values",
    }

    version: Literal[1] = Field(default=1, description="of this format")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="name of the data set and of the served model: letters, digits, _ and -",
    )
    label: Text = Field(description="the column that holds 1 for a click and 0 for none")
    group: Text | None = Field(default=None, description="who a ranking is for: gAUC is computed within it")
    csv: CsvFormat = Field(default_factory=CsvFormat, description="the dialect of CSV files")
    features: dict[str, Feature] = Field(
        min_length=1,
        description="one entry a column that the model sees, by its name; the types timestamp, vector and "
        "pretrained are reserved",
        json_schema_extra={"propertyNames": {"pattern": FEATURE_NAME}},
    )
    slices: list[list[str]] = Field(
        default=[[]], description="metrics are given for the whole, [], and for each value of these columns"
    )
    slice_top: Count = Field(
        default=20, description="values kept of a slice key, by rows; the rest is `other`"
    )
    splits: Splits | None = Field(
        default=None,
        description="how rows are divided into train, eval and test; a file has to say it",
    )

    @field_validator("slices")
    @classmethod
    def _the_whole_is_a_slice(cls, slices: list[list[str]]) -> list[list[str]]:
        return (
            slices if [] in slices else [*slices, []]
        )  # at the end: an error names the position in the file

    @model_validator(mode="after")
    def _hangs_together(self) -> "DataSpec":
        refuse_contradictions(self)
        return self

    def owner(self, name: str) -> str:
        """The feature whose vocabulary and embedding rows `name` uses: itself, or the one it shares with."""
        shared = getattr(self.features[name], "vocabulary", None)
        return shared if isinstance(shared, str) else name

    def has_ids(self, name: str) -> bool:
        """Whether a feature becomes embedding rows (ids) and not a plain number."""
        feature = self.features[name]
        return feature.buckets is not None if isinstance(feature, NumericFeature) else True

    @property
    def owners(self) -> tuple[str, ...]:
        """The features that have embedding rows of their own, in the order of the spec."""
        return tuple(name for name in self.features if self.has_ids(name) and self.owner(name) == name)

    def oov_buckets(self, owner: str) -> int:
        """Rows for tokens outside the vocabulary; 0 where every value has a row (hash buckets, quantiles)."""
        feature = self.features[owner]
        if isinstance(feature, NumericFeature) or feature.hash_buckets is not None:
            return 0
        if isinstance(feature, CategoricalFeature) and feature.identity is not None:
            return 1
        return self.vocabulary(owner).oov_buckets

    def oov_rate(self, owner: str) -> float:
        """Share of training ids of this owner's vocabulary that are replaced by out-of-vocabulary ones."""
        return self.vocabulary(owner).oov_rate if self.oov_buckets(owner) else 0.0

    def vocabulary(self, owner: str) -> Vocabulary:
        """The limits of an owner's vocabulary; the defaults where the spec names none."""
        found = getattr(self.features[owner], "vocabulary", None)
        return found if isinstance(found, Vocabulary) else Vocabulary()

    def with_role(self, role: Role) -> tuple[str, ...]:
        """The features on one side of a ranking request."""
        return tuple(name for name, feature in self.features.items() if feature.role == role)

    def of_type(self, *types: type) -> tuple[str, ...]:
        """The features of the given types, in the order of the spec."""
        return tuple(name for name, feature in self.features.items() if isinstance(feature, types))

    @property
    def raw_types(self) -> dict[str, RawType]:
        """Type of each raw feature in a file, a tf.Example and a request. The label is not among them."""
        return {name: feature.raw_type for name, feature in self.features.items()}

    @property
    def histories(self) -> dict[str, SequenceFeature]:
        """The sequences that ingestion builds from earlier rows."""
        return {n: f for n, f in self.features.items() if isinstance(f, SequenceFeature) and f.is_history}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the files have to have; histories are built and are not among them."""
        return tuple(dict.fromkeys(column for _, column in column_uses(self) if column not in self.histories))
