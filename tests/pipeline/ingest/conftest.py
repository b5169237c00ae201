"""Runs the real executor on small files and reads back what it wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cetnet_keras  # noqa: F401  # before TensorFlow: it chooses the Keras
from cetnet_keras.spec import DataSpec, parse_spec

Row = dict[str, Any]
BEAM_ARGS = [
    "--runner=FnApiRunner",  # the default runner would try to download another one first
    "--sdk_container_image=local",  # there are no containers; without it TFX packs itself up, for seconds
]
Ingest = Callable[..., dict[str, list[Row]]]


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    """(spec text, more Beam arguments) -> the rows of each split; the files are those under tmp_path."""
    from tfx.types import standard_artifacts

    from pipeline.ingest.component import example_gen

    runs: list[Path] = []

    def run(spec: str, *beam_args: str) -> dict[str, list[Row]]:
        component = example_gen(spec, tmp_path, "digest")
        examples = standard_artifacts.Examples()
        examples.uri = str(tmp_path / f"examples_{len(runs)}")
        runs.append(Path(examples.uri))
        executor = component.executor_spec.executor_class
        context = executor.Context(
            beam_pipeline_args=[*BEAM_ARGS, *beam_args], tmp_dir=str(tmp_path / "temporary")
        )
        executor(context).Do({}, {"examples": [examples]}, dict(component.exec_properties))
        assert examples.split_names == '["train", "eval", "test"]'
        shapes = parse_spec(DataSpec, spec, "data.yaml").raw_shapes
        lists = {name for name, shape in shapes.items() if shape}
        folders = {name: Path(examples.uri) / f"Split-{name}" for name in ("train", "eval", "test")}
        return {name: read_split(folder, lists) for name, folder in folders.items()}

    return run


def read_split(folder: Path, lists: set[str]) -> list[Row]:
    """The rows of a split, in the order of its files; None for a feature without a value. `lists` may have several."""
    import tensorflow as tf

    files = sorted(str(path) for path in folder.iterdir())
    return [
        _decoded(example, lists) for example in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    ]


def _decoded(serialised: bytes, lists: set[str]) -> Row:
    import tensorflow as tf

    row: Row = {}
    for name, feature in tf.train.Example.FromString(serialised).features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        assert name in lists or len(values) <= 1, f"{name} has {len(values)} values"
        row[name] = values if name in lists else values[0] if values else None
    return row


@pytest.fixture(scope="session")
def read_all() -> Callable[[DataSpec, Path], list[Row]]:
    """(spec, folder) -> the typed rows of all files, read as the pipeline does but without Beam."""
    from pipeline.ingest.bad_rows import BadRows
    from pipeline.ingest.files import source_files
    from pipeline.ingest.rows import RowReader

    def read(spec: DataSpec, folder: Path) -> list[Row]:
        files = source_files(spec, folder)
        batches = [rows for file in files for rows in RowReader(spec).rows(file, None, BadRows(0))]
        return [row for rows in batches for row in rows.to_pylist()]

    return read
