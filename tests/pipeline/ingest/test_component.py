"""The component in a real run: what the cache answers, and that two runs write the same examples."""

from pathlib import Path
from typing import Any

import pytest

from cetnet_keras.errors import InputError

SPEC = """
name: c
label: y
features:
  item: {type: categorical}
  before: {type: sequence, of: item, by: user, time: ts, vocabulary: item}
splits: {train: [a/*.csv, more.csv], eval: {column: user, fraction: 0.5}, test: b.csv}
"""


DATA = "rows [1]?"  # a folder's name may hold wildcards


def write(folder: Path, rows: int) -> None:
    (folder / "a").mkdir(parents=True)
    for name in ("a/1.csv", "a/2.csv", "more.csv", "b.csv"):
        lines = "".join(f"u{n % 7},i{n},{n},{n % 2}\n" for n in range(rows))
        (folder / name).write_text("user,item,ts,y\n" + lines)


def run(folder: Path, spec: str, digest: str = "1") -> None:
    from tfx.orchestration import metadata, pipeline
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    from pipeline.ingest.component import example_gen

    LocalDagRunner().run(
        pipeline.Pipeline(
            "ingest",
            str(folder / "root"),
            components=[example_gen(spec, folder / DATA, digest)],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(folder / "mlmd.db")),
            enable_cache=True,
            beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=local"],
        )
    )


def runs(folder: Path) -> list[Path]:
    """The artifacts made so far, oldest first; a run that the cache answered made none."""
    return sorted((folder / "root" / "ExampleGen" / "examples").iterdir(), key=lambda path: int(path.name))


def contents(artifact: Path) -> dict[str, list[Any]]:
    """The examples of each file, in its order; within an example the order of the features says nothing."""
    import tensorflow as tf

    return {
        str(path.relative_to(artifact)): [
            tf.train.Example.FromString(example)
            for example in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
        ]
        for path in artifact.rglob("*.gz")
    }


def test_cache_answers_only_what_has_not_changed(tmp_path: Path) -> None:
    write(tmp_path / DATA, 20)
    run(tmp_path, SPEC)
    run(tmp_path, SPEC)
    assert len(runs(tmp_path)) == 1
    run(tmp_path, SPEC, digest="2")
    assert len(runs(tmp_path)) == 2
    first, second = runs(tmp_path)
    assert contents(first) and contents(first) == contents(second)
    run(tmp_path, SPEC.replace("time: ts", "time: ts, max_length: 5"))
    assert len(runs(tmp_path)) == 3
    (tmp_path / DATA / "more.csv").write_text("user,item,ts,y\nu1,new,5,1\n")
    run(tmp_path, SPEC)
    assert len(runs(tmp_path)) == 4
    assert contents(runs(tmp_path)[-1]) != contents(first)
    (tmp_path / DATA / "more.csv").write_text("user,item,ts,y\nu1,new,5,maybe\n")
    with pytest.raises(InputError, match=r"more\.csv:2: row 1: column y: found 'maybe'"):
        run(tmp_path, SPEC)


def test_wrong_spec_is_refused_before_anything_runs(tmp_path: Path) -> None:
    from pipeline.ingest.component import example_gen

    with pytest.raises(InputError, match="label"):
        example_gen(SPEC.replace("label: y\n", ""), tmp_path, "1")
    with pytest.raises(InputError, match="splits: missing"):
        example_gen(SPEC[: SPEC.index("splits")], tmp_path, "1")
