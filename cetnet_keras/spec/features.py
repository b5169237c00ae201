"""The feature types of a data spec: how a raw column becomes ids or numbers, and its side of a request."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cetnet_keras.spec.base import Count, LocatedError, SpecModel, Text
from cetnet_keras.spec.raw import RawType

Role = Literal["context", "candidate"]

RESERVED_ROLES = {"position": "leave the column out, so that training and serving see the same"}
RESERVED_TYPES = {
    "timestamp": "give hour and weekday as categorical columns instead",
    "vector": "give its numbers as numeric columns instead",
    "pretrained": "use a categorical feature, which learns its embedding",
}
_ROLE = "context is known before the candidates; candidate differs between them; position is reserved"


class Vocabulary(SpecModel):
    """Which tokens get an id and an embedding row of their own; others share the out-of-vocabulary rows."""

    min_count: Count = Field(
        default=1, description="tokens seen less often in training become out-of-vocabulary"
    )
    top_k: Count | None = Field(default=None, description="keep only the most frequent tokens")
    oov_buckets: Count = Field(default=1, description="rows that tokens outside the vocabulary are hashed to")
    oov_rate: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="share of training ids replaced by out-of-vocabulary, so that its rows learn",
    )
    count: Literal["owner", "all"] = Field(
        default="owner",
        description="count tokens in the owner column alone, or in every feature that shares the vocabulary",
    )


class _Ids(SpecModel):
    """A column of tokens. 0 is missing or padding, 1..V are known tokens, then come out-of-vocabulary ids."""

    RESERVED: ClassVar[dict[str, str]] = {"private": "replace the ids by keyed hashes in the file"}

    role: Role = Field(default="context", description=_ROLE)
    dtype: Literal["string", "int64"] = Field(
        default="string",
        description="type of a raw id from file to request; string keeps 007 and 7 apart, int64 has -1 for missing",
    )
    vocabulary: Vocabulary | Text | None = Field(
        default=None,
        description="limits of a vocabulary of its own, or the feature whose vocabulary it shares",
    )
    hash_buckets: int | None = Field(
        default=None, ge=2, le=2**31 - 1, description="hash tokens to this many ids instead of a vocabulary"
    )

    @model_validator(mode="after")
    def _one_source_of_ids(self) -> "_Ids":
        given = [
            key for key in ("vocabulary", "hash_buckets", "identity") if getattr(self, key, None) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"found {' and '.join(given)} together, expected one of them; remove the others")
        return self


class CategoricalFeature(_Ids):
    """One token a row, such as a user id or a category."""

    type: Literal["categorical"] = Field(description="always categorical")
    identity: Count | None = Field(
        default=None, description="the column holds whole numbers 0..identity-1 already; implies dtype int64"
    )

    @model_validator(mode="before")
    @classmethod
    def _identity_implies_int64(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("identity") is not None:
            return {"dtype": "int64"} | value
        return value

    @model_validator(mode="after")
    def _identity_is_a_number(self) -> "CategoricalFeature":
        if self.identity is not None and self.dtype != "int64":
            message = f"found {self.dtype} beside identity, expected int64; remove the key"
            raise LocatedError(("dtype",), message)
        return self

    @property
    def raw_type(self) -> RawType:
        """Type of the raw value in the file, the tf.Example and the request."""
        return self.dtype


class NumericFeature(SpecModel):
    """One number a row; a missing one has a default and an indicator."""

    type: Literal["numeric"] = Field(description="always numeric")
    role: Role = Field(default="context", description=_ROLE)
    transform: Literal["zscore", "minmax", "log1p", "log_squared", "none"] = Field(
        default="zscore",
        description="zscore; minmax to 0..1; log1p: sign(x) ln(1 + |x|), then zscore; "
        "log_squared: floor(ln(x)^2) for x > 2, then zscore; none: as it is",
    )
    buckets: int | None = Field(
        default=None,
        ge=2,
        le=2**31 - 1,
        description="cut into this many quantiles, each with an embedding row",
    )
    default: float | None = Field(
        default=None, description="raw value used where it is missing; without it the transformed value is 0"
    )

    @model_validator(mode="after")
    def _quantiles_need_no_transform(self) -> "NumericFeature":
        if self.buckets is not None and self.transform not in ("zscore", "none"):
            message = (
                f"found {self.transform} beside buckets, which cut the raw number; remove one of the two keys"
            )
            raise LocatedError(("transform",), message)
        return self

    @property
    def raw_type(self) -> RawType:
        """Type of the raw value in the file, the tf.Example and the request."""
        return "float32"


class _Tokens(_Ids):
    """Several tokens in one cell, joined by a separator; empty tokens are dropped."""

    separator: Text = Field(default="^", description="what stands between two tokens of a cell")

    @property
    def raw_type(self) -> RawType:
        """Type of the raw value in the file, the tf.Example and the request: the joined string."""
        return "string"


class SequenceFeature(_Tokens):
    """Tokens in the order of time, oldest first, such as the items that a user clicked before."""

    type: Literal["sequence"] = Field(description="always sequence")
    max_length: Count = Field(
        default=100, description="ids kept, the most recent ones; older ones are dropped"
    )
    align: Text | None = Field(
        default=None, description="sequences with one name here are one behaviour in several columns"
    )
    of: Text | None = Field(
        default=None, description="build the history from earlier rows: the column that is collected"
    )
    by: Text | None = Field(default=None, description="whose history it is: rows with the same value here")
    time: Text | None = Field(
        default=None, description="the column that orders the rows; equal times are not earlier"
    )
    where: dict[str, str | int | float] = Field(
        default_factory=dict,
        description="only earlier rows with these values are collected, such as {label: 1}",
    )

    @model_validator(mode="after")
    def _history_is_whole(self) -> "SequenceFeature":
        given = [key for key in ("of", "by", "time") if getattr(self, key) is not None]
        if (given and len(given) < 3) or (self.where and not given):
            missing = [key for key in ("of", "by", "time") if getattr(self, key) is None]
            lack = f"found a history without {', '.join(missing)}"
            raise ValueError(
                f"{lack}, expected of, by and time together; add what lacks, or remove the others"
            )
        return self

    @property
    def is_history(self) -> bool:
        """Whether ingestion builds this column from earlier rows instead of reading it."""
        return self.of is not None


class BagFeature(_Tokens):
    """Tokens without order, such as genres; their embeddings are pooled into one."""

    type: Literal["bag"] = Field(description="always bag")
    max_length: Count = Field(default=100, description="ids kept, the first ones of the cell")
    pooling: Literal["mean", "sum"] = Field(
        default="mean", description="how the embeddings of one cell become one"
    )


def _name_reserved_types(schema: dict[str, Any]) -> None:
    description = "Reserved, cannot be used yet."
    schema["oneOf"].append(
        {"properties": {"type": {"enum": [*RESERVED_TYPES], "description": description}}, "not": {}}
    )


IdFeature = CategoricalFeature | SequenceFeature | BagFeature
Feature = Annotated[
    CategoricalFeature | NumericFeature | SequenceFeature | BagFeature,
    Field(discriminator="type", json_schema_extra=_name_reserved_types),
]
FEATURE_TYPES = ("categorical", "numeric", "sequence", "bag")
