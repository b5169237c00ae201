"""`cetnet spec infer`: a first data spec from a sample of rows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cetnet_keras.errors import InputError
from cetnet_keras.spec.document import shown
from cetnet_keras.spec.infer.csv_table import csv_table
from cetnet_keras.spec.infer.emit import as_yaml
from cetnet_keras.spec.infer.files import by_split, is_parquet, read_sources
from cetnet_keras.spec.infer.guess import guess_spec
from cetnet_keras.spec.infer.layout import read_columns
from cetnet_keras.spec.infer.parquet_table import parquet_table
from cetnet_keras.spec.infer.table import Table, listed

__all__ = ["infer"]


def infer(files: Sequence[str], base: Path, columns: str | None = None, label: str | None = None) -> str:
    """The text of a data.yaml for click rows, guessed from a sample of the first training file.

    The sample is the first rows of the file and rows from several places further on, so it takes as long for a large
    file as for a small one; of the other files the first rows are looked at, for their layout.

    Args:
        files: CSV, plain or gzipped, or Parquet; paths and patterns. Names such as train.csv and test.csv say the split.
        base: the folder that the spec will be in: paths in it are relative to it.
        columns: names of the columns, divided by commas, for files without a header line.
        label: the label's column; without it, it is guessed.
    Raises:
        InputError: a file cannot be read or understood, there is no label, or no column can be a feature.
    """
    sources = read_sources(files)
    train = by_split(sources).get("train") or sources
    learnt = [path for source in train for path in source.files]
    names = read_columns(columns) if columns else None
    read = parquet_table if is_parquet(learnt[0]) else csv_table
    table = read(learnt[0], names)
    for path in [*learnt[1:], *(path for source in sources if source not in train for path in source.files)]:
        _refuse_other_layout(table, read(path, names, beginning_only=True))
    if len(learnt) > 1:
        table = replace(table, whole=False, about=table.about * len(learnt))
    return as_yaml(guess_spec(table, sources, base, label), table)


def _refuse_other_layout(table: Table, other: Table) -> None:
    names, other_names = ({column.name for column in one.columns} for one in (table, other))
    if names != other_names:
        found = f"other columns: {listed(sorted(names ^ other_names))}"
    elif table.csv and other.csv and table.csv.delimiter != other.csv.delimiter:
        found = f"{shown(other.csv.delimiter)} between cells and not {shown(table.csv.delimiter)}"
    elif table.csv and other.csv and table.csv.has_header != other.csv.has_header:
        found = "a header line" if other.csv.has_header else "no header line"
    else:
        return
    raise InputError(f"{other.path}: found {found}, expected a file as {table.path}; write both alike")
