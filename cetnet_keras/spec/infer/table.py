"""A sample of rows, column by column, as every guess sees it: whatever file it was read from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from cetnet_keras.spec.data_spec import ROW_KEY, CsvFormat
from cetnet_keras.spec.document import printable

Declared = Literal["text", "whole", "number", "boolean", "time", "list", "numbers", "other"]
"""What the schema of a Parquet file says of a column."""


@dataclass(frozen=True)
class Column:
    """A column of the sample.

    Attributes:
        name: as the file or `--columns` has it.
        cells: one text a row, empty where there is none; empty altogether for a column of lists.
        lists: the tokens of each row, for a column of lists.
        declared: None for CSV, where every cell is text.
        twin: whether another column of the file has the same name.
    """

    name: str
    cells: Sequence[str]
    lists: Sequence[Sequence[str]] | None = None
    declared: Declared | None = None
    twin: bool = False

    @property
    def can_be_named(self) -> bool:
        """Whether the spec can name it as a column of one value a row."""
        usable = self.lists is None and self.declared != "other" and not self.twin
        return usable and self.name not in ("", ROW_KEY)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each value stands there, empty cells aside."""
        counts = Counter(self.cells)
        counts.pop("", None)
        return counts

    @cached_property
    def filled(self) -> int:
        """Rows with a value."""
        return sum(self.counts.values())

    @property
    def empty(self) -> int:
        """Rows without a value."""
        return len(self.cells) - self.filled

    @property
    def distinct(self) -> int:
        """Different values."""
        return len(self.counts)

    @cached_property
    def once(self) -> int:
        """Values that stand in one row alone."""
        return sum(1 for count in self.counts.values() if count == 1)

    @cached_property
    def top(self) -> tuple[str, float]:
        """The most frequent value, empty cells among them, and its share of the rows."""
        if not self.cells:
            return "", 1.0
        most = self.counts.most_common(1)
        if not most or self.empty >= most[0][1]:
            return "", self.empty / len(self.cells)
        return most[0][0], most[0][1] / len(self.cells)

    @cached_property
    def evenness(self) -> float:
        """1 / sum of squared shares: as how many equally frequent values the column divides the rows."""
        counts = [*self.counts.values(), self.empty]
        return len(self.cells) ** 2 / max(1, sum(count * count for count in counts))


@dataclass(frozen=True)
class Table:
    """The sample.

    Attributes:
        path: the file that most of it is from.
        rows: in the sample.
        whole: whether the sample is all rows of its files.
        about: rows of the files, roughly where the sample is not all of them.
        csv: the dialect; None for Parquet.
    """

    path: str
    columns: Sequence[Column]
    rows: int
    whole: bool
    about: int
    csv: CsvFormat | None = None

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self.columns)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for an error message: on one line, and not more than that."""
    shown = [
        printable(name if len(name) <= 40 else f"{name[:37]}...") or "(no name)" for name in names[:most]
    ]
    return ", ".join(shown) + (f", ... ({len(names)})" if len(names) > most else "")
