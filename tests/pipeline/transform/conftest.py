"""Rows that one Beam run analyses and transforms, and that a server puts through the same graph, unseen ones too."""

import json
from collections.abc import Callable, Mapping
from functools import partial
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

from cetnet_keras.spec import ROW_KEY, BagFeature, DataSpec, SequenceFeature, parse_spec
from cetnet_keras.spec.raw import MISSING
from pipeline.create_pipeline import BEAM_ARGS
from pipeline.schema import schema_of
from pipeline.trainer import ServingTransform
from pipeline.transform import preprocessing_fn, vocabulary_sizes
from serving.signatures import DTYPES

Columns = dict[str, list[Any]]


class Transformed(NamedTuple):
    """What the graph made of the rows, by column; tokens are lists without the padding at their end."""

    spec: DataSpec
    train: Columns
    fillers: Columns
    again: Columns  # those of `train`, as a server has them
    served: Columns
    sizes: dict[str, int]


@pytest.fixture(scope="session")
def transform_rows(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Transformed]:
    """(spec's text, columns to train on, columns to serve, further rows to train on, rows of a batch) -> Transformed.

    A further row names some columns; the others are empty there.
    """

    def transform(
        text: str,
        train: Columns,
        served: Columns,
        fillers: list[dict[str, Any]] | None = None,
        batch_size: int | None = None,
    ) -> Transformed:
        spec, folder = parse_spec(DataSpec, text, "data.yaml"), tmp_path_factory.mktemp("transform")
        size = len(next(iter(train.values())))
        rows = [{name: values[row] for name, values in train.items()} for row in range(size)]
        empty: dict[str, Any] = {
            name: [] if spec.raw_shapes[name] else "" if kind == "string" else None
            for name, kind in spec.raw_types.items()
        }
        rows += [empty | filler for filler in fillers or []]
        instances = [_instance(spec, row, number) for number, row in enumerate(rows)]
        function = partial(preprocessing_fn, custom_config={"data_spec": text})
        context = tft_beam.Context(str(folder / "temporary"), desired_batch_size=batch_size)
        with beam.Pipeline(argv=BEAM_ARGS) as pipeline, context:
            data = pipeline | beam.Create(instances), DatasetMetadata(schema_of(spec))
            (found, _), graph = data | tft_beam.AnalyzeAndTransformDataset(function)
            _ = found | beam.Map(_encoded) | beam.io.WriteToText(str(folder / "rows"))
            _ = graph | tft_beam.WriteTransformFn(str(folder / "graph"))
        parts = [path.read_text().splitlines() for path in folder.glob("rows-*")]
        lines = sorted((json.loads(line) for part in parts for line in part), key=lambda row: row[ROW_KEY])
        output = tft.TFTransformOutput(str(folder / "graph"))
        server = partial(_served, spec, ServingTransform(spec, output))
        beams = _columns(lines[:size]), _columns(lines[size:])
        return Transformed(spec, *beams, server(train), server(served), vocabulary_sizes(spec, output))

    return transform


@pytest.fixture(scope="session")
def assert_served_as_trained() -> Callable[[Transformed], None]:
    """Fails where a server makes something else of the rows of training than Beam did, or serves what is not a number."""
    return _assert_served_as_trained


def _assert_served_as_trained(transformed: Transformed) -> None:
    assert set(transformed.again) == set(transformed.train) - {"y", ROW_KEY}
    for key, found in transformed.again.items():
        assert [_without_end(row) for row in found] == [
            _without_end(row) for row in transformed.train[key]
        ], key
    for key, found in transformed.served.items():
        values = [value for row in found for value in (row if isinstance(row, list) else [row])]
        assert np.isfinite(values).all(), key


def _instance(spec: DataSpec, row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """As TFT takes it: a number is a list of none or one."""
    as_it_is = {n for n, kind in spec.raw_types.items() if kind == "string" or spec.raw_shapes[n]}
    cells = {n: v if n in as_it_is else [v] * (v is not None) for n, v in row.items()}
    return cells | {"y": 0, ROW_KEY: number}


def _encoded(row: Any) -> str:
    return json.dumps({name: np.asarray(value).tolist() for name, value in row.items()})


def _columns(rows: list[dict[str, Any]]) -> Columns:
    """By column; of tokens the values alone, which are sorted by row and position."""
    found = {}
    for key in rows[0] if rows else ():
        name, _, part = key.partition("$")
        if part in ("", "sparse_values"):
            found[name] = [row[key] for row in rows]
    return found


def _served(spec: DataSpec, transform: Callable[..., Any], columns: Columns) -> Columns:
    raw = {}
    for name, kind in spec.raw_types.items():
        missing, values = MISSING[kind], columns[name]
        if spec.raw_shapes[name]:
            size = spec.raw_shapes[name][0] or max(len(value) for value in values)
            values = [value + [missing] * (size - len(value)) for value in values]
        raw[name] = tf.constant([missing if value is None else value for value in values], DTYPES[kind])
    return {
        key: [
            _without_padding(row) if key in spec.of_type(SequenceFeature, BagFeature) else row
            for row in value.numpy().tolist()
        ]
        for key, value in transform(raw).items()
    }


def _without_padding(ids: list[int]) -> list[int]:
    return [] if not any(ids) else ids[: max(place for place, known in enumerate(ids) if known) + 1]


def _without_end(value: Any) -> Any:
    return _without_padding(value) if isinstance(value, list) else value
