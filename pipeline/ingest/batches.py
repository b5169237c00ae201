"""What the readers of all formats hand over: the columns of a file, and its rows a batch at a time."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa


class Column(NamedTuple):
    """A column of a file, before its rows are read."""

    name: str
    is_list: bool | None  # of several values a row; None where the format does not say
    type: pa.DataType | None = None  # None where the cells are text


class Fault(NamedTuple):
    """Why a row is none, or does not fit."""

    row: int  # its number in the file, from 1
    message: str


class Batch(NamedTuple):
    """Rows in the order of the file, as they are there: cells of CSV as bytes, other formats with their types."""

    number: np.ndarray  # [N] int64, of each row in the file, from 1; rows that are none are missing here
    columns: dict[str, pa.Array]  # [N] each
    faults: list[Fault]  # the rows that are none, in any order

    def take(self, keep: np.ndarray) -> "Batch":
        """The rows of a mask [N]."""
        mask = pa.array(keep)
        return Batch(self.number[keep], {name: c.filter(mask) for name, c in self.columns.items()}, [])
