"""A cheap check of the files before anything runs: they can be read, and have the columns that the spec needs."""

import difflib
from pathlib import Path

import pyarrow as pa

from cetnet_keras.cells.conversions import TEXT, conversions
from cetnet_keras.cells.messages import type_text
from cetnet_keras.cells.scalars import UnfitType
from cetnet_keras.errors import InputError
from cetnet_keras.formats import format_of
from cetnet_keras.spec import BagFeature, CsvFormat, DataSpec, SequenceFeature, VectorFeature
from cetnet_keras.spec.columns import column_uses
from pipeline.ingest.batches import Column
from pipeline.ingest.files import source_files
from pipeline.ingest.reading import columns_of

_Heads = dict[str, list[Column]]  # by path


def needed_columns(spec: DataSpec) -> dict[str, str]:
    """The columns that are read from the files, each with the key of the spec that asks for it first."""
    needed: dict[str, str] = {}
    for loc, column in column_uses(spec):
        if loc != ("features", column) or column not in spec.histories:  # a history is built, not read
            needed.setdefault(column, ".".join(map(str, loc)))
    return needed


def check_files(spec: DataSpec, base: Path) -> list[str]:
    """Looks at the beginning of every file: it exists, and has each needed column once, of a type that fits.

    Args:
        base: the folder of the spec; relative patterns start there.
    Returns:
        the columns that the files have and nothing uses.
    Raises:
        InputError: names the file, what was found, what was expected and what to do.
    """
    needed = needed_columns(spec)
    heads = {file.path: columns_of(file.path, spec.csv) for file in source_files(spec, base)}
    _check_names(heads, needed, spec.csv)
    for name in needed:
        _check_types(heads, name, spec)
    return list(dict.fromkeys(c.name for head in heads.values() for c in head if c.name not in needed))


def _check_names(heads: _Heads, needed: dict[str, str], dialect: CsvFormat) -> None:
    in_examples = [c.name for path, head in heads.items() for c in head if format_of(path) == "TFRecord"]
    for path, head in heads.items():
        names = [column.name for column in head]
        for name, reason in needed.items():
            if names.count(name) > 1:
                found = f"found column {name!r} {names.count(name)} times, expected once"
                raise InputError(f"{path}: {found}; rename the others")
            if name in names or (format_of(path) == "TFRecord" and name in in_examples):
                continue  # an Example leaves out what has no value
            other = next((p for p, columns in heads.items() if name in [c.name for c in columns]), None)
            lack = f"found no column {name!r}, expected it for {reason}"
            lack += f" and as {other} has it" if other else ""
            raise InputError(f"{path}: {lack}; {_advice(path, name, names, dialect)}")


def _advice(path: str, name: str, found: list[str], dialect: CsvFormat) -> str:
    close = difflib.get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    columns = ", ".join(found[:12])[:300] + (f", ... ({len(found)} columns)" if len(found) > 12 else "")
    if format_of(path) != "CSV":
        return f"{hint}The file has: {columns}"
    if dialect.columns:
        return f"{hint}csv.columns has: {columns}"
    if len(found) == 1:
        return f"the file has one column, {found[0][:60]!r}: set csv.delimiter to what separates its cells"
    return f"{hint}The file has: {columns}. If it has no header line, name its columns in csv.columns"


def _check_types(heads: _Heads, name: str, spec: DataSpec) -> None:
    """Refuses a column that can hold nothing of what the spec expects, or is a list in some files alone."""
    conversion = conversions(spec).get(name, TEXT)
    feature = spec.features.get(name)
    takes_lists = isinstance(feature, SequenceFeature | BagFeature | VectorFeature)
    takes_lists &= {loc for loc, column in column_uses(spec) if column == name} == {("features", name)}
    takes_lists_alone = isinstance(feature, SequenceFeature | BagFeature) and feature.separator is None
    first: dict[str, tuple[str, Column]] = {}
    for path, head in heads.items():
        column = next((column for column in head if column.name == name), None)
        if column is None or column.is_list is None:
            continue
        if column.is_list and not takes_lists:
            raise _misfit(path, column, "one value a row; name a column of single values")
        if takes_lists_alone and not column.is_list and format_of(path) == "CSV":
            why = "separator is null, but a CSV cell cannot hold a list; name what separates its tokens"
            raise InputError(f"{path}: column {name}: {why}")
        if takes_lists_alone and not column.is_list:
            raise _misfit(path, column, "a list, as separator is null; name what separates its tokens")
        other, same = first.setdefault(format_of(path), (path, column))
        if same.is_list != column.is_list:
            raise _misfit(path, column, f"{_kind(same)} as in {other}; write both files alike")
        if column.type is None:
            continue
        try:
            conversion.parse(pa.array([], column.type))
        except (UnfitType, pa.ArrowNotImplementedError) as error:
            expected = f"{conversion.expected}; convert the column, or change the spec"
            raise _misfit(path, column, expected) from error


def _misfit(path: str, column: Column, expected: str) -> InputError:
    return InputError(f"{path}: column {column.name}: found {_kind(column)}, expected {expected}")


def _kind(column: Column) -> str:
    if column.type is not None:
        return type_text(column.type)
    return "a list of cells" if column.is_list else "one cell"
