"""What error messages say of cells and columns that do not fit."""

import re

import pyarrow as pa

from cetnet_keras.cells.conversions import Conversion


def shown(value: object) -> str:
    """A cell for an error message: quoted if it is text, on one line, cut to 60 characters."""
    text = repr(_as_text(value))
    if isinstance(value, bytes) and text.startswith("b"):
        text = text[1:]
    return text if len(text) <= 60 else f"{text[:57]}..."


def misfit(name: str, cell: pa.Array, conversion: Conversion) -> str:
    """Why the one cell of an array does not fit its column, what was expected, and the cure."""
    if pa.types.is_temporal(cell.type):
        cell = cell.cast(pa.string())  # Python has no nanoseconds, and fewer years
    value = cell[0].as_py()
    found = "an empty cell" if value in (None, "", b"") else shown(value)
    if not _is_utf8(value):
        return f"column {name}: found {found}, expected UTF-8; save the file as UTF-8"
    cure = conversion.cure
    if value == name.encode():
        cure = "remove this header line, or csv.columns from the data spec if it names the columns again"
    return f"column {name}: found {found}, expected {conversion.expected}; {cure}"


def type_text(kind: pa.DataType) -> str:
    """An Arrow type as a message names it; Arrow names the items of lists variously."""
    return "the type " + re.sub(r"list<\w+: ", "list<", str(kind))


def _as_text(value: object) -> object:
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _is_utf8(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_utf8, value))
    try:
        return not isinstance(value, bytes) or value.decode() is not None
    except UnicodeDecodeError:
        return False
