"""The executor of ExampleGen: a Beam pipeline from the files of a data spec to the splits of an artifact."""

import json
import re
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
from cetnet_keras.spec import DataSpec, RowSplits, parse_spec
from pipeline.ingest.bad_rows import BadRows
from pipeline.ingest.checks import check_files
from pipeline.ingest.examples import example_columns, write_examples
from pipeline.ingest.files import SPLITS, SourceFile, source_files
from pipeline.ingest.recovery import input_error_in
from pipeline.ingest.rows import RowReader, Shuffle, shuffles
from pipeline.ingest.shards import from_shard, shard_count, to_shards
from pipeline.ingest.splits import TimeCounts, TimeCuts

BAD_ROWS = "bad_rows.json"  # beside the splits: how many rows were left out, and why the first of them


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
        settings, base = _settings(exec_properties), _base(exec_properties)
        spec = parse_spec(DataSpec, settings["spec"], "data spec")
        check_files(spec, base)

        examples = output_dict[standard_component_specs.EXAMPLES_KEY]
        artifact = artifact_utils.get_single_instance(examples)
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        folders = [artifact_utils.get_split_uri(examples, name) for name in SPLITS]
        for folder in folders:
            fileio.makedirs(folder)
        try:
            with self._make_beam_pipeline() as pipeline:
                ingest = Ingest(spec, source_files(spec, base), folders, int(settings["max_bad_rows"]))
                _ = pipeline | "Ingest" >> ingest
        except Exception as error:
            found = input_error_in(error)
            if found is None:
                raise
            raise found from error
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")


def _base(exec_properties: dict[str, Any]) -> Path:
    """The folder of the spec: `input_base` is a pattern, in which `glob.escape` has put brackets round wildcards."""
    return Path(re.sub(r"\[([*?[])\]", r"\1", exec_properties[standard_component_specs.INPUT_BASE_KEY]))


def _settings(exec_properties: dict[str, Any]) -> dict[str, str]:
    config, settings = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    config.custom_config.Unpack(settings)
    return {key: str(value) for key, value in settings.items()}


class Ingest(beam.PTransform):
    """Pipeline in; out the rows written to each split, one array [3]. BAD_ROWS is written beside the splits.

    Fails with InputError on files that do not fit the spec, on more rows that do not than are allowed, and where a split
    has no rows.

    Args:
        files: of all splits.
        folders: of train, eval and test, in one folder; they exist.
        max_bad_rows: rows, in all files together, that may be left out.
    """

    def __init__(
        self, spec: DataSpec, files: list[SourceFile], folders: list[str], max_bad_rows: int = 0
    ) -> None:
        super().__init__()
        self._spec, self._files, self._folders, self._allowed = spec, files, folders, max_bad_rows

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        spec, files = self._spec, pipeline | "Files" >> beam.Create(self._files)
        reader, steps, cuts = RowReader(spec, self._allowed), shuffles(spec), None
        if isinstance(spec.splits, RowSplits) and spec.splits.by == "time" and spec.splits.within is None:
            times = files | "ReadTimes" >> beam.ParDo(_ReadTimes(reader, spec.splits.column))
            counts = times | "CountTimes" >> beam.CombineGlobally(_merged)
            cuts = beam.pvalue.AsSingleton(counts | "CutTimes" >> beam.Map(TimeCounts.cuts, spec.splits))
        columns, number = example_columns(spec), shard_count(self._files)
        if not steps:
            write = _WriteFile(reader, self._allowed, columns, self._folders)
            written, bad_rows = files | "Write" >> beam.ParDo(write, cuts).with_outputs(_BAD, main="written")
        else:
            read = _ReadFile(reader, self._allowed, steps[0], number)
            shards, bad_rows = files | "Read" >> beam.ParDo(read, cuts).with_outputs(_BAD, main="shards")
            for step, following in pairwise(steps):
                shards = shards | f"GroupBy[{step.key}]" >> beam.GroupByKey()
                regroup = beam.ParDo(_ToNextShards(step, following, number))
                shards = shards | f"Histories[{step.key}]" >> regroup
            shards = shards | f"GroupBy[{steps[-1].key}]" >> beam.GroupByKey()
            written = shards | "Write" >> beam.ParDo(_WriteShard(steps[-1], columns, self._folders))
        total = written | "CountRows" >> beam.CombineGlobally(_total)
        all_bad = bad_rows | "CountBadRows" >> beam.CombineGlobally(BadRows(self._allowed).merged)
        report = f"{self._folders[0].rpartition('/')[0]}/{BAD_ROWS}"
        return total | "Refuse" >> beam.Map(_refuse, beam.pvalue.AsSingleton(all_bad), spec, report)


_BAD = "bad_rows"  # the tagged output


class _ReadTimes(beam.DoFn):
    def __init__(self, reader: RowReader, column: str) -> None:
        self._reader, self._column = reader, column

    def process(self, file: SourceFile) -> Iterator[TimeCounts]:
        yield from self._reader.times(file, self._column)


class _WriteFile(beam.DoFn):
    """Reads and writes a file in one pass: however large it is, a block of it is in memory at a time."""

    def __init__(self, reader: RowReader, allowed: int, columns: list[str], folders: list[str]) -> None:
        self._reader, self._allowed, self._columns, self._folders = reader, allowed, columns, folders

    def process(self, file: SourceFile, cuts: TimeCuts | None) -> Iterator[Any]:
        bad_rows = BadRows(self._allowed)
        rows = self._reader.rows(file, cuts, bad_rows)
        yield write_examples(rows, self._columns, file.index, self._folders)
        yield beam.pvalue.TaggedOutput(_BAD, bad_rows)


class _ReadFile(beam.DoFn):
    def __init__(self, reader: RowReader, allowed: int, step: Shuffle, shards: int) -> None:
        self._reader, self._allowed, self._step, self._shards = reader, allowed, step, shards

    def process(self, file: SourceFile, cuts: TimeCuts | None) -> Iterator[Any]:
        bad_rows = BadRows(self._allowed)
        for rows in self._reader.rows(file, cuts, bad_rows):
            yield from to_shards(rows, self._step, self._shards)
        yield beam.pvalue.TaggedOutput(_BAD, bad_rows)


class _ToNextShards(beam.DoFn):
    def __init__(self, step: Shuffle, following: Shuffle, shards: int) -> None:
        self._step, self._following, self._shards = step, following, shards

    def process(self, shard: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        for rows in from_shard(shard[1], self._step):
            yield from to_shards(rows, self._following, self._shards)


class _WriteShard(beam.DoFn):
    def __init__(self, step: Shuffle, columns: list[str], folders: list[str]) -> None:
        self._step, self._columns, self._folders = step, columns, folders

    def process(self, shard: tuple[int, Iterable[bytes]]) -> Iterator[np.ndarray]:
        yield write_examples(from_shard(shard[1], self._step), self._columns, shard[0], self._folders)


def _merged(counts: Iterable[TimeCounts]) -> TimeCounts:
    return TimeCounts.merged(list(counts))


def _total(rows_written: Iterable[np.ndarray]) -> np.ndarray:
    return sum(rows_written, np.zeros(len(SPLITS), np.int64))


def _refuse(rows_written: np.ndarray, bad_rows: BadRows, spec: DataSpec, report: str) -> np.ndarray:
    bad_rows.refuse(spec.csv)
    for name, rows in zip(SPLITS, rows_written, strict=True):
        if rows == 0:
            found = f"data spec: splits: found no row for {name} among {rows_written.sum()}"
            splits = spec.splits
            how = f" by the {splits.by} of {splits.column}" if isinstance(splits, RowSplits) else ""
            cure = "give larger shares, or a column with more values"
            raise InputError(f"{found}{how}, expected at least one; {cure}")
    with fileio.open(report, "w") as file:
        file.write(json.dumps(bad_rows.report(spec.csv)))
    return rows_written
