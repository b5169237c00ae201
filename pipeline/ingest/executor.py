"""The executor of ExampleGen: a Beam pipeline from the files of a data spec to the splits of an artifact."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from google.protobuf import struct_pb2
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, FileSplits, RowSplits, parse_spec
from pipeline.ingest.examples import example_columns, write_examples
from pipeline.ingest.files import SPLITS, SourceFile, check_files, source_files
from pipeline.ingest.recovery import input_error_in
from pipeline.ingest.rows import RowReader, Shuffle, shuffles
from pipeline.ingest.shards import from_shard, shard_count, to_shards
from pipeline.ingest.splits import TimeCounts, TimeCuts


class Executor(BaseBeamExecutor):
    """Writes the splits train, eval and test.

    TFX's BaseExampleGenExecutor passes each example through Beam on its own and shuffles it by a random key.
    This one passes whole record batches: a seventh of the processor time, and the same rows in
    the same order in every run.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads the files of the spec in `custom_config` and writes the Examples artifact.

        Raises:
            InputError: files, columns, rows or cells that do not fit the spec, or a split without rows.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = _settings(exec_properties)
        spec, base = parse_spec(DataSpec, config["spec"], "data spec"), Path(config["base"])
        check_files(spec, base)

        examples = output_dict[standard_component_specs.EXAMPLES_KEY]
        artifact = artifact_utils.get_single_instance(examples)
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        folders = [artifact_utils.get_split_uri(examples, name) for name in SPLITS]
        for folder in folders:
            fileio.makedirs(folder)
        try:
            with self._make_beam_pipeline() as pipeline:
                _ = pipeline | "Ingest" >> Ingest(spec, source_files(spec, base), folders)
        except Exception as error:
            found = input_error_in(error)
            if found is None:
                raise
            raise found from error
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")


def _settings(exec_properties: dict[str, Any]) -> dict[str, str]:
    config, settings = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    config.custom_config.Unpack(settings)
    return {key: str(value) for key, value in settings.items()}


class Ingest(beam.PTransform):
    """Pipeline in; out the rows written to each split, one array [3].

    Fails with InputError on files, rows or cells that do not fit the spec, and where a split has no rows.

    Args:
        files: of all splits.
        folders: of train, eval and test; they exist.
    """

    def __init__(self, spec: DataSpec, files: list[SourceFile], folders: list[str]) -> None:
        super().__init__()
        self._spec, self._files, self._folders = spec, files, folders

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        spec, files = self._spec, pipeline | "Files" >> beam.Create(self._files)
        steps, cuts = shuffles(spec), None
        if isinstance(spec.splits, RowSplits) and spec.splits.by == "time" and spec.splits.within is None:
            times = files | "ReadTimes" >> beam.ParDo(_ReadTimes(spec, spec.splits.column))
            counts = times | "CountTimes" >> beam.CombineGlobally(_merged)
            cuts = beam.pvalue.AsSingleton(counts | "CutTimes" >> beam.Map(TimeCounts.cuts, spec.splits))
        if not steps:
            written = files | "Write" >> beam.ParDo(_WriteFile(spec, self._folders), cuts)
        else:
            number = shard_count(self._files)
            shards = files | "Read" >> beam.ParDo(_ReadFile(spec, steps[0].key, number), cuts)
            for step, following in pairwise(steps):
                shards = shards | f"GroupBy[{step.key}]" >> beam.GroupByKey()
                regroup = beam.ParDo(_ToNextShards(step, following.key, number))
                shards = shards | f"Histories[{step.key}]" >> regroup
            shards = shards | f"GroupBy[{steps[-1].key}]" >> beam.GroupByKey()
            written = shards | "Write" >> beam.ParDo(_WriteShard(spec, steps[-1], self._folders))
        total = written | "CountRows" >> beam.CombineGlobally(_total)
        return total | "RefuseEmptySplits" >> beam.Map(_refuse_empty, spec.splits)


class _ReadTimes(beam.DoFn):
    def __init__(self, spec: DataSpec, column: str) -> None:
        self._reader, self._column = RowReader(spec), column

    def process(self, file: SourceFile) -> Iterator[TimeCounts]:
        yield from self._reader.times(file, self._column)


class _WriteFile(beam.DoFn):
    """Reads and writes a file in one pass: however large it is, a block of it is in memory at a time."""

    def __init__(self, spec: DataSpec, folders: list[str]) -> None:
        self._reader, self._columns, self._folders = RowReader(spec), example_columns(spec), folders

    def process(self, file: SourceFile, cuts: TimeCuts | None) -> Iterator[np.ndarray]:
        yield write_examples(self._reader.rows(file, cuts), self._columns, file.index, self._folders)


class _ReadFile(beam.DoFn):
    def __init__(self, spec: DataSpec, key: str, shards: int) -> None:
        self._reader, self._key, self._shards = RowReader(spec), key, shards

    def process(self, file: SourceFile, cuts: TimeCuts | None) -> Iterator[tuple[int, bytes]]:
        for rows in self._reader.rows(file, cuts):
            yield from to_shards(rows, self._key, self._shards)


class _ToNextShards(beam.DoFn):
    def __init__(self, step: Shuffle, next_key: str, shards: int) -> None:
        self._step, self._next_key, self._shards = step, next_key, shards

    def process(self, shard: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        for rows in from_shard(shard[1], self._step):
            yield from to_shards(rows, self._next_key, self._shards)


class _WriteShard(beam.DoFn):
    def __init__(self, spec: DataSpec, step: Shuffle, folders: list[str]) -> None:
        self._step, self._columns, self._folders = step, example_columns(spec), folders

    def process(self, shard: tuple[int, Iterable[bytes]]) -> Iterator[np.ndarray]:
        yield write_examples(from_shard(shard[1], self._step), self._columns, shard[0], self._folders)


def _merged(counts: Iterable[TimeCounts]) -> TimeCounts:
    return TimeCounts.merged(list(counts))


def _total(rows_written: Iterable[np.ndarray]) -> np.ndarray:
    return sum(rows_written, np.zeros(len(SPLITS), np.int64))


def _refuse_empty(rows_written: np.ndarray, splits: FileSplits | RowSplits | None) -> np.ndarray:
    for name, rows in zip(SPLITS, rows_written, strict=True):
        if rows == 0:
            found = f"data spec: splits: found no row for {name} among {rows_written.sum()}"
            how = f" by the {splits.by} of {splits.column}" if isinstance(splits, RowSplits) else ""
            cure = "give larger shares, or a column with more values"
            raise InputError(f"{found}{how}, expected at least one; {cure}")
    return rows_written
