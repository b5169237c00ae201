"""The data spec: the one place that knows the columns. All that depends on them is derived from it."""

import re
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from cetnet_keras.spec.base import Count, LocatedError, SpecModel, Text
from cetnet_keras.spec.columns import FEATURE_NAME, ROW_KEY, column_uses, refuse_contradictions
from cetnet_keras.spec.features import (
    CategoricalFeature,
    Feature,
    NumericFeature,
    PretrainedFeature,
    Role,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
    Vocabulary,
)
from cetnet_keras.spec.raw import RawShape, RawType
from cetnet_keras.spec.splits import Splits

__all__ = ["ROW_KEY", "CsvFormat", "DataSpec"]


_CELLS = re.compile(r"(.+)\[([1-9][0-9]{0,4})\]")


class CsvColumn(NamedTuple):
    """A column of a CSV file; one with several cells is a list of them."""

    name: str
    cells: int  # side by side


class CsvFormat(SpecModel):
    """The dialect of the files."""

    delimiter: str = Field(
        default=",",
        pattern=r"^[\t -!#-~]$",
        description='one ASCII character between two cells; a tab is "\\t" in double quotes',
    )
    quote: Annotated[str, Field(pattern=r"^[!-~]$")] | None = Field(
        default='"',
        description="what a cell with delimiters or line breaks in it stands between; null where quotes are "
        "letters like any other",
    )
    header: bool | None = Field(
        default=None,
        description="whether the first line names the columns; left out, it does where `columns` is left out too",
    )
    columns: list[Text] | None = Field(
        default=None,
        min_length=1,
        description="the names of the columns, for files without a header line; with `header: true` they "
        "replace it. `NAME[50]` is a list in 50 cells side by side",
    )

    @model_validator(mode="after")
    def _hangs_together(self) -> "CsvFormat":
        if self.quote == self.delimiter:
            raise LocatedError(("quote",), f"found {self.quote!r}, the delimiter; name another or null")
        if self.columns is None and self.header is False:
            message = "found false, expected the names of the columns beside it; add csv.columns"
            raise LocatedError(("header",), message)
        return self

    @property
    def has_header(self) -> bool:
        """Whether the first line of a file is no row."""
        return self.columns is None if self.header is None else self.header

    @property
    def layout(self) -> tuple[CsvColumn, ...]:
        """The columns as `columns` describes them; none where the header line does."""
        matches = [(text, _CELLS.fullmatch(text)) for text in self.columns or ()]
        return tuple(CsvColumn(m[1], int(m[2])) if m else CsvColumn(text, 1) for text, m in matches)


class DataSpec(SpecModel):
    """A data set and what its columns mean. Raises pydantic's ValidationError where it contradicts itself."""

    RESERVED: ClassVar[dict[str, str]] = {
        "crosses": "add a column that joins the two values",
    }

    version: Literal[1] = Field(default=1, description="of this format")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="name of the data set and of the served model: letters, digits, _ and -",
    )
    label: Text = Field(description="the column that holds 1 for a click and 0 for none")
    group: Text | None = Field(
        default=None,
        description="who a ranking is for: gAUC is computed within it, without rows where it is empty",
    )
    weight: Text | None = Field(
        default=None,
        description="the column that says how much a row counts, 0 or more; without it each is 1",
    )
    negative_keep_rate: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the rows without a click that was kept in the files: predictions are brought back "
        "to all rows, p / (p + (1 - p) / rate), and metrics count such a row 1 / rate times",
    )
    id: list[Text] = Field(
        default=[],
        description="columns that are carried to the outputs of the signature `examples`, as text",
    )
    csv: CsvFormat = Field(default_factory=CsvFormat, description="the dialect of CSV files")
    features: dict[str, Feature] = Field(
        min_length=1,
        description="one entry a column that the model sees, by its name",
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
        """The feature whose vocabulary and embedding rows `name` uses: itself, or the one it shares with.

        Pretrained features of one file and one vocabulary share a table, which is the first one's.
        """
        feature = self.features[name]
        if isinstance(feature, PretrainedFeature):
            ids = self.owner(feature.of)
            same = (
                n for n, f in self.pretrained.items() if f.file == feature.file and self.owner(f.of) == ids
            )
            return next(same)
        shared = getattr(feature, "vocabulary", None)
        return shared if isinstance(shared, str) else name

    def has_ids(self, name: str) -> bool:
        """Whether a feature becomes ids, for embedding rows, and not plain numbers. Pretrained ones use another's."""
        feature = self.features[name]
        if isinstance(feature, NumericFeature):
            return feature.buckets is not None
        return not isinstance(feature, VectorFeature | PretrainedFeature)

    @property
    def owners(self) -> tuple[str, ...]:
        """The features that have ids and embedding rows of their own, in the order of the spec."""
        return tuple(name for name in self.features if self.has_ids(name) and self.owner(name) == name)

    def oov_buckets(self, owner: str) -> int:
        """Rows for tokens outside the vocabulary; 0 where every value has a row (hash buckets, quantiles, times)."""
        feature = self.features[owner]
        if isinstance(feature, NumericFeature | TimestampFeature):
            return 0
        if getattr(feature, "hash_buckets", None) is not None:
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
        """The raw features on one side of a ranking request; a pretrained one is in no request."""
        return tuple(name for name, f in self.features.items() if getattr(f, "role", None) == role)

    def of_type(self, *types: type) -> tuple[str, ...]:
        """The features of the given types, in the order of the spec."""
        return tuple(name for name, feature in self.features.items() if isinstance(feature, types))

    @property
    def raw_types(self) -> dict[str, RawType]:
        """Type of each raw feature in a file, a tf.Example and a request. The label is not among them."""
        return {n: f.raw_type for n, f in self.features.items() if not isinstance(f, PretrainedFeature)}

    @property
    def raw_shapes(self) -> dict[str, RawShape]:
        """Shape of one row's value of each raw feature, for the same names as `raw_types`."""
        return {n: f.raw_shape for n, f in self.features.items() if not isinstance(f, PretrainedFeature)}

    @property
    def pretrained(self) -> dict[str, PretrainedFeature]:
        """The features whose vectors come from a file."""
        return {n: f for n, f in self.features.items() if isinstance(f, PretrainedFeature)}

    @property
    def histories(self) -> dict[str, SequenceFeature]:
        """The sequences that ingestion builds from earlier rows."""
        return {n: f for n, f in self.features.items() if isinstance(f, SequenceFeature) and f.is_history}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the files have to have; histories are built and are not among them."""
        return tuple(dict.fromkeys(column for _, column in column_uses(self) if column not in self.histories))
