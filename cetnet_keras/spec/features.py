"""The feature types of a data spec: how a raw column becomes ids or numbers, and its side of a request."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from cetnet_keras.spec.base import Count, LocatedError, SpecModel, Text
from cetnet_keras.spec.raw import RawShape, RawType

Role = Literal["context", "candidate"]

RESERVED_ROLES = {"position": "leave the column out, so that training and serving see the same"}
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
        description="share of training ids replaced by out-of-vocabulary, so that its rows learn; large, such as 0.5, "
        "where most ids of a request are new: the model learns to do without",
    )
    count: Literal["owner", "all"] = Field(
        default="owner",
        description="count tokens in the owner column alone, or in every feature that shares the vocabulary",
    )


class _Feature(SpecModel):
    """What every feature has that is a column of the rows."""

    role: Role = Field(default="context", description=_ROLE)

    @property
    def raw_shape(self) -> RawShape:
        """Shape of the raw value of one row."""
        return ()


class _Ids(_Feature):
    """A column of tokens. 0 is missing or padding, 1..V are known tokens, then come out-of-vocabulary ids."""

    RESERVED: ClassVar[dict[str, str]] = {"private": "replace the ids by keyed hashes in the file"}

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


class NumericFeature(_Feature):
    """One number a row; a missing one has a default and an indicator."""

    type: Literal["numeric"] = Field(description="always numeric")
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

    separator: Text | None = Field(
        default="^",
        description="what stands between two tokens of a cell; null where the column holds lists, as in Parquet: "
        "requests then have [B, T], padded with an empty string or, of int64, with -1",
    )
    padding: Text | None = Field(
        default=None, description="a token that stands for none, such as the 0 of rows padded to one length"
    )

    @property
    def raw_type(self) -> RawType:
        """Type of the raw value in the file, the tf.Example and the request: the joined string, or a list's token."""
        return "string" if self.separator is not None else self.dtype

    @property
    def raw_shape(self) -> RawShape:
        """Shape of the raw value of one row: one joined string, or a list of any length."""
        return () if self.separator is not None else (None,)


class SequenceFeature(_Tokens):
    """Tokens in the order of time, oldest first, such as the items that a user clicked before."""

    type: Literal["sequence"] = Field(description="always sequence")
    max_length: Count = Field(
        default=100, description="ids kept, the most recent ones; older ones are dropped"
    )
    align: Text | None = Field(
        default=None,
        description="sequences with one name here are one behaviour in several columns: tokens pair by position, and "
        "of histories each earlier row with a token in any of them takes a position in all",
    )
    of: Text | None = Field(
        default=None,
        description="build the history from earlier rows: the column that is collected, which may be the label",
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
        if given and self.separator is None:
            message = "found null, but a history is built as one text; name a separator or remove the key"
            raise LocatedError(("separator",), message)
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


SINCE_1970 = ("seconds", "milliseconds", "microseconds", "nanoseconds")
"""Formats of a timestamp that is a whole number."""
DIRECTIVES = {"%Y": 4, "%y": 2, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2}
"""What a timestamp's format may hold, each with its digits."""
PART_SIZES = {"hour": 24, "weekday": 7, "weekend": 2}
"""The parts of a timestamp and how many values each has; a week begins on Monday."""


class TimestampFeature(_Feature):
    """A time, of which the model sees the hour of the day, the day of the week and whether it is a weekend."""

    type: Literal["timestamp"] = Field(description="always timestamp")
    format: Text = Field(
        default="iso",
        description="iso: a date or time such as 2024-05-31 or 2024-05-31T23:59:59Z; seconds, milliseconds, "
        "microseconds or nanoseconds since 1970; or digits as %Y %y %m %d %H %M %S describe them, such as "
        "%y%m%d%H",
    )
    parts: list[Literal["hour", "weekday", "weekend"]] = Field(
        default=["hour", "weekday", "weekend"],
        min_length=1,
        description="each becomes an id with embedding rows of its own",
    )
    utc_offset: float = Field(
        default=0,
        ge=-14,
        le=14,
        description="hours added before the parts are taken; a time that names no zone counts as UTC",
    )

    @field_validator("format")
    @classmethod
    def _names_a_day(cls, text: str) -> str:
        if text == "iso" or text in SINCE_1970:
            return text
        found = re.findall(r"%.?", text)
        unknown = [directive for directive in found if directive not in DIRECTIVES]
        if unknown or len(set(found)) < len(found):
            what = f"{unknown[0]} in it" if unknown else "a directive twice"
            raise ValueError(f"found {what}, expected each of {' '.join(DIRECTIVES)} once at most")
        if not ({"%Y", "%y"} & set(found) and {"%m", "%d"} <= set(found)):
            message = f"found {text!r}, expected iso, {', '.join(SINCE_1970)}, or year, month and day as in"
            raise ValueError(f"{message} %Y-%m-%d or %y%m%d%H")
        return text

    @model_validator(mode="after")
    def _has_its_parts(self) -> "TimestampFeature":
        if len(set(self.parts)) < len(self.parts):
            raise LocatedError(("parts",), "found a part twice, expected each once; remove one")
        if "hour" in self.parts and self.format.startswith("%") and "%H" not in self.format:
            message = f"found hour, but the format {self.format!r} has no %H; write parts: [weekday, weekend]"
            raise LocatedError(("parts",), message)
        return self

    @property
    def raw_type(self) -> RawType:
        """Type of the raw value in the file, the tf.Example and the request."""
        return "int64" if self.format in SINCE_1970 else "string"

    @property
    def size(self) -> int:
        """Ids of all parts together, laid end to end in their order."""
        return sum(PART_SIZES[part] for part in self.parts)


class VectorFeature(_Feature):
    """A dense array of numbers in the row, such as an image embedding; the model sees them as they are."""

    type: Literal["vector"] = Field(description="always vector")
    dimension: Count = Field(description="how many numbers it has")
    separator: Text = Field(
        default=" ", description="what stands between two numbers of a cell; a column of lists needs none"
    )

    @property
    def raw_type(self) -> RawType:
        """Type of the raw value in the file, the tf.Example and the request."""
        return "float32"

    @property
    def raw_shape(self) -> RawShape:
        """Shape of the raw value of one row."""
        return (self.dimension,)


class PretrainedFeature(SpecModel):
    """A vector that is known for each id of another feature, from a file; it is no column of the rows.

    Members map it to their width by a linear map of their own. Of a sequence it is a sequence as well, aligned with it.
    """

    type: Literal["pretrained"] = Field(description="always pretrained")
    of: Text = Field(description="the categorical, sequence or bag feature whose ids have the vectors")
    file: Text = Field(
        description="where they are, relative to this file: .npz or .h5 with the arrays `key` [n] and `value` "
        "[n, dimension]; or .parquet or .csv with the id in the first column and the numbers after it or in a list"
    )
    dimension: Count = Field(description="numbers in a vector")
    trainable: bool = Field(
        default=False, description="whether the vectors are tuned; an id without one begins at zero"
    )


IdFeature = CategoricalFeature | SequenceFeature | BagFeature
Feature = Annotated[
    CategoricalFeature
    | NumericFeature
    | SequenceFeature
    | BagFeature
    | TimestampFeature
    | VectorFeature
    | PretrainedFeature,
    Field(discriminator="type"),
]
FEATURE_TYPES = ("categorical", "numeric", "sequence", "bag", "timestamp", "vector", "pretrained")
