"""The ExampleGen component for a data spec."""

import glob
from pathlib import Path

from google.protobuf import any_pb2, struct_pb2
from tfx.components import FileBasedExampleGen
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.proto import example_gen_pb2

from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.ingest.executor import Executor
from pipeline.ingest.files import split_patterns


def example_gen(spec_text: str, base: Path, code_digest: str, max_bad_rows: int = 0) -> FileBasedExampleGen:
    """Ingests the files of a data spec into the splits train, eval and test.

    All arguments are execution properties: a change of one of them, or of a file, makes the cache stale.

    Args:
        spec_text: the data spec, as YAML.
        base: the folder of the spec; relative paths in it start there.
        code_digest: stands for the source of this project.
        max_bad_rows: rows that do not fit, in all files together, that may be left out.
    Returns:
        a component whose output `examples` has one tf.Example a row: each raw feature by its type and shape in the spec
        (no value for an empty number or vector), the label (int64), the weight (float), the group and the id columns
        (bytes unless they are features), and ROW_KEY (int64: number of the file << 40 | number of the row, counted
        from 1). Beside the splits is BAD_ROWS, JSON: {"left_out": rows, "first": [reasons]}.
    Raises:
        InputError: the spec is wrong. Files are looked at when the component runs.
    """
    base = base.resolve()
    settings, packed = struct_pb2.Struct(), any_pb2.Any()
    settings.update({"spec": spec_text, "code_digest": code_digest, "max_bad_rows": str(max_bad_rows)})
    packed.Pack(settings)
    return FileBasedExampleGen(
        input_base=glob.escape(str(base)),
        input_config=_fingerprinted(parse_spec(DataSpec, spec_text, "data spec")),
        custom_config=example_gen_pb2.CustomConfig(custom_config=packed),
        custom_executor_spec=BeamExecutorSpec(Executor),
    ).with_id("ExampleGen")


def _fingerprinted(spec: DataSpec) -> example_gen_pb2.Input:
    """What TFX's driver looks at to tell whether a file has changed: it takes one pattern under one name."""
    splits = [
        example_gen_pb2.Input.Split(name=name if position == 0 else f"{name}_{position}", pattern=pattern)
        for name, patterns in split_patterns(spec).items()
        for position, pattern in enumerate(patterns)
    ]
    return example_gen_pb2.Input(splits=splits)
