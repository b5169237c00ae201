"""Brings the rows with one value of a key together, many values to a shard, and works on whole shards."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cetnet_keras.formats import format_of
from cetnet_keras.spec import ROW_KEY
from pipeline.ingest.files import SourceFile
from pipeline.ingest.history import Histories, histories
from pipeline.ingest.rows import COLLECTED, KEY, SPLIT, TIME, TOKEN, Shuffle, as_time_keys
from pipeline.ingest.splits import split_within, stable_hash

_SHARD = 32 << 20  # bytes of text: a shard, with what is made of it, has to fit a worker's memory
_RATIO = 4  # of a compressed file
_ROWS = 8192  # a batch of finished rows: histories are wide


def shard_count(files: Iterable[SourceFile]) -> int:
    """How many shards these files are divided into: enough for many workers, but none of them tiny.

    Rows and histories do not depend on it; which file of the output a row stands in does.
    """
    size = 0
    for file in files:
        plain = format_of(file.path) != "Parquet" and not file.path.lower().endswith(".gz")
        size += Path(file.path).stat().st_size * (1 if plain else _RATIO)
    return min(max(size // _SHARD, 8), 1024)


def to_shards(rows: pa.RecordBatch, step: Shuffle, shards: int) -> Iterator[tuple[int, bytes]]:
    """Divides rows by a hash of their value of the step's key: (shard, the rows of that shard as an Arrow stream).

    Rows without a value have no history, and may be most of all: they are spread over all shards, unless the step cuts
    splits within a value, of which theirs is one.
    """
    key = rows.column(rows.schema.get_field_index(KEY + step.key))
    hashes = stable_hash(key)
    if step.within is None:
        nobody = pc.equal(key, "").to_numpy(zero_copy_only=False)
        hashes[nobody] = rows.column(rows.schema.get_field_index(ROW_KEY)).to_numpy()[nobody]
    shard = (hashes % np.uint64(shards)).astype(np.int64)
    order = np.argsort(shard, kind="stable")
    table = pa.Table.from_batches([rows]).take(pa.array(order)).combine_chunks()
    found, start, count = np.unique(shard[order], return_index=True, return_counts=True)
    for number, first, length in zip(found.tolist(), start.tolist(), count.tolist(), strict=True):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.slice(first, length))
        yield number, sink.getvalue().to_pybytes()


def from_shard(pieces: Iterable[bytes], shuffle: Shuffle) -> Iterator[pa.RecordBatch]:
    """The rows of a shard in the order of their keys, with the histories and splits that `shuffle` makes."""
    table = pa.concat_tables(pa.ipc.open_stream(piece).read_all() for piece in pieces)
    table = table.take(pa.array(np.argsort(table[ROW_KEY].to_numpy()))).combine_chunks()
    key = _only_chunk(table, KEY + shuffle.key).dictionary_encode()
    code = key.indices.to_numpy().astype(np.int64)
    dropped = [KEY + shuffle.key]

    nobody = pc.index(key.dictionary, "").as_py()  # rows without a value have no history
    made: dict[str, Histories] = {}
    for name, history in shuffle.histories.items():
        made[name] = histories(
            np.where(code == nobody, -1, code),
            _ranks(table, str(history.time)),
            _only_chunk(table, TOKEN + name),
            _only_chunk(table, COLLECTED + name).to_numpy(zero_copy_only=False),
            str(history.separator),
            history.max_length,
        )
        dropped += [TOKEN + name, COLLECTED + name]
    if shuffle.within is not None:
        bits = split_within(code, _ranks(table, shuffle.within.column), shuffle.within)
        table = table.set_column(table.schema.get_field_index(SPLIT), SPLIT, pa.array(bits, pa.uint8()))
    table = table.drop(dropped)
    for start in range(0, table.num_rows, _ROWS):
        part = table.slice(start, _ROWS)
        for name, strings in made.items():
            part = part.append_column(name, strings.of(slice(start, start + _ROWS)))
        yield from part.combine_chunks().to_batches()


def _only_chunk(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _ranks(table: pa.Table, time: str) -> np.ndarray:
    """[N] int64 that sort as the times do, equal for equal times."""
    return np.unique(as_time_keys(_only_chunk(table, TIME + time)), return_inverse=True)[1]
