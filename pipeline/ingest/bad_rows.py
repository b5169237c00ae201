"""Rows that do not fit: how many may be left out, how many are, and the first of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cetnet_keras.errors import InputError
from cetnet_keras.spec import CsvFormat
from pipeline.ingest.batches import Fault
from pipeline.ingest.files import SourceFile
from pipeline.ingest.reading import row_error

_SHOWN = 5


class _BadRow(NamedTuple):
    """Sorts by file and row: the first one is the first in any order of reading."""

    file: int
    row: int
    path: str
    message: str


@dataclass
class BadRows:
    """Bad rows of one file or, merged, of several. Each file is read until it alone has too many."""

    allowed: int  # in all files together
    count: int = 0
    first: list[_BadRow] = field(default_factory=list)

    def add(self, file: SourceFile, faults: Iterable[Fault]) -> None:
        """Counts rows of a file, each of which is given once."""
        added = [_BadRow(file.index, fault.row, file.path, fault.message) for fault in faults]
        self.count += len(added)
        self.first = sorted(self.first + added)[:_SHOWN]

    @property
    def too_many(self) -> bool:
        """Whether there are more than allowed."""
        return self.count > self.allowed

    def merged(self, others: Iterable["BadRows"]) -> "BadRows":
        """These and those of other files together."""
        parts = [self, *others]
        first = sorted(row for part in parts for row in part.first)[:_SHOWN]
        return BadRows(self.allowed, sum(part.count for part in parts), first)

    def refuse(self, dialect: CsvFormat) -> None:
        """Raises InputError, about the first of them, where there are too many."""
        if self.too_many:
            error = self._errors(dialect, 1)[0]
            if self.allowed:
                error += f"; this is the first of more than {self.allowed} bad rows, as many as --max-bad-rows allows"
            raise InputError(error)

    def report(self, dialect: CsvFormat) -> dict[str, Any]:
        """For metrics.json: how many rows are left out, and why the first of them."""
        return {"left_out": self.count, "first": self._errors(dialect, _SHOWN)}

    def _errors(self, dialect: CsvFormat, number: int) -> list[str]:
        return [str(row_error(bad.path, bad.row, dialect, bad.message)) for bad in self.first[:number]]
