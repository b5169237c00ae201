"""preprocessing_fn under Beam, feature type by feature type, on the columns that are easily got wrong.

One Beam run analyses and transforms all of them. TRAIN is what is analysed; SERVED is transformed by the same graph and
holds what training has not seen. Expected values are written out or computed in NumPy.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from cetnet_keras.spec import ROW_KEY, DataSpec, parse_spec
from pipeline.create_pipeline import BEAM_ARGS
from pipeline.schema import schema_of
from pipeline.transform import preprocessing_fn, vocabulary_sizes

SPEC = """
name: edges
label: y
features:
  word: {type: categorical}
  frequent: {type: categorical, vocabulary: {min_count: 2}}
  top: {type: categorical, vocabulary: {top_k: 2, oov_buckets: 3}}
  never: {type: categorical}
  number: {type: categorical, dtype: int64}
  place: {type: categorical, identity: 4}
  hashed: {type: categorical, hash_buckets: 8}
  counted: {type: categorical, vocabulary: {count: all}}
  uncounted: {type: sequence, vocabulary: counted}
  shared: {type: sequence, vocabulary: word, max_length: 3}
  numbers: {type: sequence, dtype: int64, separator: " ", vocabulary: number}
  items: {type: sequence, align: behaviour, max_length: 3}
  shops: {type: sequence, align: behaviour, max_length: 3}
  places: {type: sequence, hash_buckets: 8}
  pool: {type: bag, separator: "|", max_length: 2}
  mean: {type: numeric}
  share: {type: numeric, transform: minmax}
  logged: {type: numeric, transform: log1p}
  squared: {type: numeric, transform: log_squared}
  plain: {type: numeric, transform: none}
  filled: {type: numeric, transform: none, default: 7}
  filled_mean: {type: numeric, default: 7}
  mean_none: {type: numeric}
  share_none: {type: numeric, transform: minmax}
  buckets_none: {type: numeric, buckets: 3}
  mean_same: {type: numeric}
  share_same: {type: numeric, transform: minmax}
  buckets_same: {type: numeric, buckets: 3}
  mean_one: {type: numeric}
  buckets_one: {type: numeric, buckets: 3}
  quarter: {type: numeric, buckets: 4}
  quarter_filled: {type: numeric, buckets: 4, default: 50}
"""
N = 8  # rows of TRAIN; `quarter` alone has more of them, in FILLERS
TRAIN = {
    "word": ["a", "a", "a", "b", "b", "007", "7", ""],
    "frequent": ["x", "x", "x", "y", "y", "z", "", ""],
    "top": ["p", "p", "p", "q", "q", "r", "s", ""],
    "never": [""] * N,
    "number": [7, 7, 7, 0, 0, 12, None, None],
    "place": [0, 1, 2, 3, None, 0, 0, 0],
    "hashed": ["a", "b", "", "a", "c", "d", "e", "f"],
    "counted": ["k", "l", "", "", "", "", "", ""],
    "uncounted": ["m^m^m", "l^l", "", "", "", "", "", ""],
    "shared": ["a^b", "", "b^^a^new^007^7", "^", "7^007", "", "", ""],
    "numbers": ["7 0 12", "007 00 -0", "", " 7 ", "99", "", "", ""],
    "items": ["i^j^k^l", "i^^k", "", "^", "i", "", "", ""],
    "shops": ["s^s^t^t", "^t^s", "", "s^", "^", "", "", ""],
    "places": ["a^b^a", "", "^a", "", "", "", "", ""],
    "pool": ["g|h|g", "", "|h", "h", "g|", "", "", ""],
    "mean": [1.0, 2.0, None, 6.0, 3.0, None, 0.0, -4.0],
    "share": [1.0, 2.0, None, 6.0, 3.0, None, 0.0, -4.0],
    "logged": [0.0, 2.0, None, -50.0, 3.0, None, 1e6, -0.5],
    "squared": [0.0, 2.0, None, -50.0, 3.0, None, 1e6, 2.5],
    "plain": [0.0, 2.0, None, -50.0, 3.0, None, 1e6, 2.5],
    "filled": [0.0, None, 3.0, -1.0, 2.0, 4.0, 5.0, 6.0],
    "filled_mean": [0.0, None, 3.0, -1.0, 2.0, 4.0, 5.0, 6.0],
    "mean_none": [None] * N,
    "share_none": [None] * N,
    "buckets_none": [None] * N,
    "mean_same": [5.0] * 6 + [None] * 2,
    "share_same": [5.0] * 6 + [None] * 2,
    "buckets_same": [5.0] * 6 + [None] * 2,
    "mean_one": [3.0] + [None] * 7,
    "buckets_one": [3.0] + [None] * 7,
    "quarter": [None] * N,
    "quarter_filled": [None] * N,
}
QUARTERS = np.random.default_rng(3).permutation(400).astype(float)  # of `quarter`, in rows that hold nothing else
SERVED = {
    "word": ["007", "07", "", "7.0"],
    "frequent": ["z", "y", "x", "new"],
    "top": ["r", "s", "t", "p"],
    "never": ["anything", "", "b", "c"],
    "number": [-5, 8, None, 7],
    "place": [4, 99, -3, None],
    "hashed": ["new", "", "a", "007"],
    "counted": ["m", "n", "k", ""],
    "uncounted": ["k^n", "", "", ""],
    "shared": ["^".join(["b", "a"] * 75), "new", "", "a"],
    "numbers": ["8 7", "", "-5", "12"],
    "items": ["new^i", "", "", ""],
    "shops": ["s^new", "", "", ""],
    "places": ["new", "", "", ""],
    "pool": ["g|new|h", "", "", ""],
    "mean": [1e30, None, -1e30, 2.0],
    "share": [100.0, None, -100.0, 2.0],
    "logged": [1e30, None, -1e30, 2.0],
    "squared": [1e30, None, -1e30, 2.0],
    "plain": [1e30, None, -1e30, 2.0],
    "filled": [1e30, None, -1e30, 2.0],
    "filled_mean": [1e30, None, -1e30, 2.0],
    "mean_none": [5.0, None, -5.0, 0.0],
    "share_none": [5.0, None, -5.0, 0.0],
    "buckets_none": [5.0, None, -5.0, 0.0],
    "mean_same": [5.0, None, 4.0, 6.0],
    "share_same": [5.0, None, 4.0, 6.0],
    "buckets_same": [5.0, None, 4.0, 6.0],
    "mean_one": [3.0, None, 4.0, 0.0],
    "buckets_one": [3.0, None, 4.0, 0.0],
    "quarter": [1e30, None, -1e30, 200.0],
    "quarter_filled": [1e30, None, -1e30, 200.0],
}


class Transformed(NamedTuple):
    """What the graph made of both sets, by column, and the graph's own description."""

    train: dict[str, list[Any]]
    served: dict[str, list[Any]]
    sizes: dict[str, int]
    output: tft.TFTransformOutput


@pytest.fixture(scope="module")
def spec() -> DataSpec:
    return parse_spec(DataSpec, SPEC, "data.yaml")


def rows_of(columns: dict[str, list[Any]], first: int) -> list[dict[str, Any]]:
    count = len(columns["word"])
    assert all(len(values) == count for values in columns.values()) and len(columns) == len(TRAIN)
    keys = {"y": [0] * count, ROW_KEY: list(range(first, first + count))}
    return [_row({name: values[row] for name, values in (columns | keys).items()}) for row in range(count)]


def _row(cells: dict[str, Any]) -> dict[str, Any]:
    """As TFT takes it: a number that may be missing is a list of none or one."""
    numbers = [name for name in cells if not isinstance(TRAIN.get(name, [0])[0], str) and name in TRAIN]
    return {name: [v for v in [cell] if v is not None] if name in numbers else cell for name, cell in cells.items()}


def filler(value: float, number: int) -> dict[str, Any]:
    """A row that has a value in the columns of quarters alone."""
    empty = {name: "" if isinstance(values[0], str) else None for name, values in TRAIN.items()}
    return _row(empty | {"quarter": value, "quarter_filled": value, "y": 1, ROW_KEY: number})


@pytest.fixture(scope="module")
def transformed(spec: DataSpec, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """Analyses TRAIN and transforms both sets, in one pipeline."""
    folder = tmp_path_factory.mktemp("transform")
    metadata = DatasetMetadata(schema_of(spec))
    train = rows_of(TRAIN, 0) + [filler(value, 1000 + n) for n, value in enumerate(QUARTERS)]
    function = partial(preprocessing_fn, custom_config={"data_spec": SPEC})
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline, tft_beam.Context(str(folder / "temporary")):
        data = pipeline | "Train" >> beam.Create(train), metadata
        (found, _), graph = data | tft_beam.AnalyzeAndTransformDataset(function)
        served = pipeline | "Served" >> beam.Create(rows_of(SERVED, 2000)), metadata
        more, _ = (served, graph) | tft_beam.TransformDataset()
        for name, rows in {"train": found, "served": more}.items():
            _ = rows | f"Encode{name}" >> beam.Map(_encoded) | f"Write{name}" >> beam.io.WriteToText(str(folder / name))
        _ = graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    output = tft.TFTransformOutput(str(folder / "graph"))
    return Transformed(_columns(folder, "train"), _columns(folder, "served"), vocabulary_sizes(spec, output), output)


def _encoded(row: dict[str, Any]) -> str:
    return repr({name: np.asarray(value).tolist() for name, value in row.items()})


def _columns(folder: Path, name: str) -> dict[str, list[Any]]:
    """By column, in the order of the row numbers; tokens as lists."""
    lines = [line for path in folder.glob(f"{name}-*") for line in path.read_text().splitlines()]
    rows = sorted((eval(line, {"nan": np.nan, "inf": np.inf}) for line in lines), key=lambda row: row[ROW_KEY])
    found: dict[str, list[Any]] = {key: [row[key] for row in rows] for key in rows[0] if "$" not in key}
    for key in {key.partition("$")[0] for key in rows[0] if key.endswith("$sparse_values")}:
        found[key] = [row[f"{key}$sparse_values"] for row in rows]
    return found
