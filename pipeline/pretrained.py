"""Pretrained vectors: from a file of ids and numbers to the table of a model's vocabulary."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, PretrainedFeature

_FORMATS = (".npz", ".h5", ".parquet", ".csv")


def pretrained_files(spec: DataSpec, base: Path) -> dict[str, str]:
    """A digest of each file of pretrained vectors, by its path as the spec has it.

    Args:
        base: the folder of the spec; relative paths start there.
    Raises:
        InputError: a file cannot be read, or is of no known format.
    """
    found: dict[str, str] = {}
    for name, feature in spec.pretrained.items():
        path = base / feature.file
        if path.suffix not in _FORMATS:
            known = ", ".join(_FORMATS)
            raise InputError(f"{path}: found {path.suffix or 'no ending'}, expected {known}; {_where(name)}")
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {_where(name)}") from error
        found[feature.file] = digest.hexdigest()
    return found


def pretrained_tables(
    spec: DataSpec, base: Path, tokens_of: Callable[[str], list[str]], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The table of each pretrained feature that owns one: vectors in the order of ids, zero where there is none.

    Args:
        spec: the data spec.
        base: the folder of the spec.
        tokens_of: the tokens of an owner of ids, in the order of their ids from 1 on.
        sizes: ids beside 0 of each owner, out-of-vocabulary ids included.
    Returns:
        float32 [ids + 1, dimension] by `spec.owner` of the feature.
    Raises:
        InputError: a file that cannot be read or does not fit, or that has a vector for none of the ids.
    """
    tables = {}
    for owner in dict.fromkeys(spec.owner(name) for name in spec.pretrained):
        feature = spec.pretrained[owner]
        path, ids = base / feature.file, spec.owner(feature.of)
        keys, vectors = _read(path, feature, owner)
        row_of = {key: row for row, key in enumerate(keys)}
        table = np.zeros([sizes[ids] + 1, feature.dimension], np.float32)
        found = [(n, row_of[token]) for n, token in enumerate(tokens_of(ids), 1) if token in row_of]
        if not found:
            example = f"{keys[0]!r}" if keys else "no id at all"
            raise InputError(
                f"{path}: found {example}, which is no value of {feature.of!r}, nor is any other of its ids, "
                f"expected ids as the rows have them; {_where(owner)}"
            )
        table[[n for n, _ in found]] = vectors[[row for _, row in found]]
        logging.info("%s: a vector for %d of %d ids of %s", path, len(found), sizes[ids], ids)
        tables[owner] = table
    return tables


def _where(name: str) -> str:
    return f"correct features.{name}.file in the data spec, or the file"


def _read(path: Path, feature: PretrainedFeature, name: str) -> tuple[list[str], np.ndarray]:
    """The ids as text and their vectors [n, dimension]."""
    try:
        keys, values = {".npz": _npz, ".h5": _h5, ".parquet": _parquet, ".csv": _csv}[path.suffix](path)
        vectors = np.asarray(values, np.float32)
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise InputError(f"{path}: cannot be read as vectors ({reason}); {_where(name)}") from error
    if vectors.ndim != 2 or vectors.shape != (len(keys), feature.dimension):
        expected = f"expected {len(keys)} vectors of {feature.dimension} numbers"
        raise InputError(f"{path}: found an array of shape {list(vectors.shape)}, {expected}; {_where(name)}")
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        which = keys[int(np.argmax(bad))]
        raise InputError(f"{path}: found a vector of {which!r} that is not finite; {_where(name)}")
    twice = _repeated(keys)
    if twice is not None:
        raise InputError(f"{path}: found {twice!r} twice, expected each id once; {_where(name)}")
    return keys, vectors


def _repeated(keys: list[str]) -> str | None:
    """The first id that was there before, in one pass: a file may have millions."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _texts(keys: Any) -> list[str]:
    array = np.asarray(keys)
    if array.dtype.kind not in "iuSUO":
        raise ValueError(f"its ids are {array.dtype}, expected text or whole numbers")
    return [key.decode() if isinstance(key, bytes) else str(key) for key in array.tolist()]


def _npz(path: Path) -> tuple[list[str], Any]:
    with np.load(path) as arrays:  # no pickles: they could run code
        return _texts(arrays["key"]), arrays["value"]


def _h5(path: Path) -> tuple[list[str], Any]:
    import h5py  # here: TensorFlow brings it, and few specs need it

    with h5py.File(path, "r") as file:
        return _texts(file["key"][:]), file["value"][:]


def _parquet(path: Path) -> tuple[list[str], Any]:
    import pyarrow.parquet as pq

    return _columns(pq.read_table(path))


def _csv(path: Path) -> tuple[list[str], Any]:
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    with path.open(encoding="utf-8") as file:
        first = file.readline().rstrip("\r\n").split(",")[0].strip('"')
    ids = pa_csv.ConvertOptions(column_types={first: pa.string()})  # 007 stays 007
    return _columns(pa_csv.read_csv(path, convert_options=ids))


def _columns(table: Any) -> tuple[list[str], Any]:
    keys = _texts(np.array(table.column(0).to_pylist(), object))
    if table.num_columns == 2:
        rows = table.column(1).to_pylist()
        return keys, np.array([row if isinstance(row, list) else [row] for row in rows])
    return keys, np.stack([table.column(place).to_numpy() for place in range(1, table.num_columns)], axis=1)
