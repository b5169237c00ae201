"""How rows are divided into train, eval and test. Eval stops the training, test is only ever measured."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from cetnet_keras.spec.base import LocatedError, SpecModel, Text

Files = Text | Annotated[list[Text], Field(min_length=1)]


class HoldOut(SpecModel):
    """An eval split taken out of the training files, by a hash of one column: equal values stay together."""

    by: Literal["hash"] = Field(default="hash", description="always hash")
    column: Text = Field(description="the column that is hashed: equal values fall on the same side")
    fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of the training rows, by value of the column"
    )


class FileSplits(SpecModel):
    """The splits come as files of their own; paths are relative to the spec and may be globs."""

    train: Files = Field(description="files to learn from")
    eval: Files | HoldOut = Field(description="files to stop by, or a share of the training files")
    test: Files = Field(description="files to measure on")

    @model_validator(mode="after")
    def _nothing_is_measured_on_what_was_learnt(self) -> "FileSplits":
        for split in ("eval", "test"):
            again = set(_listed(self.train)) & set(_listed(getattr(self, split)))
            if again:
                message = f"found {sorted(again)[0]!r}, which is in train too, expected other files"
                raise LocatedError((split,), f"{message}; name them, or cut the splits by hash or time")
        return self


class RowSplits(SpecModel):
    """The splits are cut out of one set of files."""

    files: Files = Field(description="all rows; paths are relative to the spec and may be globs")
    by: Literal["hash", "time"] = Field(
        description="hash: by a hash of `column`; time: the latest rows are eval and test"
    )
    column: Text = Field(description="the column that is hashed, or the time")
    within: Text | None = Field(
        default=None, description="with by: time, cut each value of this column on its own"
    )
    eval: float = Field(default=0.1, gt=0, lt=1, description="share of the rows")
    test: float = Field(default=0.1, gt=0, lt=1, description="share of the rows")

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> "RowSplits":
        if self.eval + self.test >= 1:
            total = f"found eval + test = {self.eval + self.test:g}"
            raise ValueError(f"{total}, expected less than 1; leave a share for train")
        if self.within is not None and self.by != "time":
            message = "found `within` beside by: hash, expected it beside by: time; remove it or change `by`"
            raise LocatedError(("within",), message)
        if self.within == self.column:
            message = f"found {self.within!r}, which is the time itself, expected whose rows are cut"
            raise LocatedError(("within",), f"{message}; name another column")
        return self


def _listed(files: str | list[str] | HoldOut) -> list[str]:
    if isinstance(files, HoldOut):
        return []
    return [files] if isinstance(files, str) else files


def _kind_of_splits(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", ())
    return "RowSplits" if {"files", "by", "column", "within"} & set(keys) else "FileSplits"


Splits = Annotated[
    Annotated[FileSplits, Tag("FileSplits")] | Annotated[RowSplits, Tag("RowSplits")],
    Discriminator(_kind_of_splits),
]
