"""Bytes of a text file, some from its beginning and some from further on, whatever its size."""

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cetnet_keras.errors import InputError

FIRST_BYTES = 4 << 20
"""Read from the beginning of a file."""
PLACES = 8
"""Places further on, at equal distances."""
PLACE_BYTES = 512 << 10
"""Read at each of them."""
INFLATED_BYTES = 256 << 20
"""A gzip file can only be read in order: this far at most, which takes about a second."""
_BLOCK = 1 << 20


class Parts(NamedTuple):
    """What was read of a file.

    `first` and each of `further` end at the end of a line, and each of `further` begins at the beginning of one:
    of a line, not of a row, where a cell has line breaks. `share` of the file's bytes is `first`, 1 if it is all.
    """

    first: bytes
    further: list[bytes]
    share: float


def read_parts(path: Path, beginning_only: bool = False) -> Parts:
    """Reads the parts of a file; one whose name ends in .gz is decompressed.

    Raises:
        InputError: it cannot be read, is empty, is no text, or has a line of more than `FIRST_BYTES`.
    """
    try:
        with path.open("rb") as file:
            parts = _parts(file, path, beginning_only)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise InputError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); check the path"
        ) from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip file ({error}); write it again") from error
    _refuse_other_than_text(parts.first, path)
    return parts


def _parts(file: BinaryIO, path: Path, beginning_only: bool) -> Parts:
    size = os.fstat(file.fileno()).st_size
    packed = path.name.lower().endswith(".gz")
    stream: BinaryIO = gzip.GzipFile(fileobj=_Fine(file)) if packed else file  # type: ignore[call-overload]
    limit = PLACE_BYTES if beginning_only else FIRST_BYTES
    first = stream.read(limit)
    after = stream.read(1)
    if not after:
        return Parts(first, [], 1.0)
    share = min(1.0, (file.tell() if packed else limit) / max(size, 1))
    if beginning_only:
        further: Iterator[bytes] = iter(())
    else:
        further = _inflated_places(stream, file, size) if packed else _places(file, size)
    cut = first.rfind(b"\n") + 1
    if not cut:
        found = f"found no line break in the first {len(first):,} bytes, expected lines of cells"
        raise InputError(f"{path}: {found}; check that this is the right file")
    return Parts(first[:cut], [lines for part in further if (lines := _whole_lines(part))], share)


class _Fine:
    """A compressed file whose `tell` is near what was decompressed: since Python 3.12 gzip reads 128 KiB ahead."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 8 << 10))


def _places(file: BinaryIO, size: int) -> Iterator[bytes]:
    for place in range(PLACES):
        file.seek(FIRST_BYTES + (size - FIRST_BYTES) * place // PLACES)
        yield file.read(PLACE_BYTES)


def _inflated_places(stream: BinaryIO, file: BinaryIO, size: int) -> Iterator[bytes]:
    """As `_places`, by how far the compressed file is read."""
    start, inflated = file.tell(), FIRST_BYTES
    for place in range(PLACES):
        while file.tell() < start + (size - start) * place // PLACES:
            block = stream.read(_BLOCK)
            inflated += len(block)
            if not block or inflated > INFLATED_BYTES:
                return
        yield stream.read(PLACE_BYTES)
        inflated += PLACE_BYTES


def _whole_lines(part: bytes) -> bytes:
    return part[part.find(b"\n") + 1 : part.rfind(b"\n") + 1]


def _refuse_other_than_text(first: bytes, path: Path) -> None:
    beginning, expected = first[:4096], "expected CSV text in UTF-8"
    if not beginning.strip():
        raise InputError(f"{path}: found an empty file, expected rows; write it again")
    if beginning.startswith(b"PAR1"):
        raise InputError(f"{path}: found a Parquet file, {expected}; give it a name that ends in .parquet")
    if beginning.startswith(b"\x1f\x8b"):
        raise InputError(f"{path}: found a gzip file, {expected}; give it a name that ends in .gz")
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: found UTF-16, {expected}; save the file as UTF-8")
    if b"\0" in beginning:
        raise InputError(
            f"{path}: found a binary file, {expected} or Parquet; check that it is the right file"
        )
