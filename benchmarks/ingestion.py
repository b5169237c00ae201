"""Memory and speed of ingestion by the number of rows: `python benchmarks/ingestion.py [--output FILE]`.

The rows are made, from a seed: ids, a price, a time and a sequence of up to 20 clicks. Each measurement is a process of
its own, which reads a file into the three splits as ExampleGen does; the memory is the largest that the process had, less
what it had before it read. Target: flat in rows where a file is read in one pass (csv, parquet). Histories are built
from rows that are grouped by user, and Beam's local runner holds the groups in memory: that side grows.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console
from rich.table import Table

ROWS = (50_000, 200_000, 800_000)
SIDES = ("csv", "parquet", "history")
_BLOCK = 50_000
_MIB = 1024  # in KiB, as Linux counts the largest memory
SPEC = """\
name: made
label: click
features:
  user: {type: categorical}
  item: {type: categorical, role: candidate}
  price: {type: numeric, role: candidate}
  seen: {type: sequence, vocabulary: item%s}
splits: {files: clicks.%s, by: hash, column: user, eval: 0.1, test: 0.1}
"""


def block(number: int) -> pa.Table:
    """_BLOCK rows, in the order of time."""
    rng = np.random.default_rng(number)
    users, items = rng.integers(0, 20_000, _BLOCK), rng.zipf(1.3, (_BLOCK, 21)) % 100_000
    lengths = rng.integers(0, 21, _BLOCK)
    seen = ["|".join(map(str, row[1 : 1 + length])) for row, length in zip(items, lengths, strict=True)]
    return pa.table(
        {
            "user": pa.array(users).cast(pa.string()),
            "item": pa.array(items[:, 0]).cast(pa.string()),
            "price": rng.lognormal(size=_BLOCK).round(2),
            "ts": np.arange(_BLOCK) + number * _BLOCK,
            "seen": seen,
            "click": rng.integers(0, 2, _BLOCK),
        }
    )


def write_rows(folder: Path, side: str, rows: int) -> None:
    """A file with so many rows, and the data spec beside it."""
    first, kind = block(0), "parquet" if side == "parquet" else "csv"
    if side == "history":
        first = first.drop(["seen"])
    path = folder / f"clicks.{kind}"
    make = pa.parquet.ParquetWriter if kind == "parquet" else pa.csv.CSVWriter
    with make(path, first.schema) as writer:
        for number in range(rows // _BLOCK):
            writer.write_table(block(number).select(first.column_names))
    history = ", of: item, by: user, time: ts" if side == "history" else ', separator: "|"'
    (folder / "data.yaml").write_text(SPEC % (history, kind), encoding="utf-8")


def ingest(folder: Path) -> dict[str, float]:
    """Reads the rows of a folder in this process; its seconds and MiB."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from cetnet_keras.spec import load_data_spec
    from pipeline.create_pipeline import BEAM_ARGS
    from pipeline.ingest.executor import Ingest
    from pipeline.ingest.files import SPLITS, source_files

    spec = load_data_spec(folder / "data.yaml")
    folders = [folder / name for name in SPLITS]
    for split in folders:
        split.mkdir()
    before, start = _largest(), time.perf_counter()
    with beam.Pipeline(options=PipelineOptions(BEAM_ARGS)) as pipeline:
        _ = pipeline | Ingest(spec, source_files(spec, folder), [str(split) for split in folders])
    return {"seconds": time.perf_counter() - start, "mib": _largest() - before}


def _largest() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB


def measure(side: str, rows: int) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="cetnet-ingestion-") as folder:
        write_rows(Path(folder), side, rows)
        command = [sys.executable, __file__, "--folder", folder]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    found = json.loads(ended.stdout.splitlines()[-1])
    return {"side": side, "rows": rows, "rows_a_second": rows / found["seconds"]} | found


def show(results: list[dict[str, Any]]) -> None:
    table = Table(title="Ingestion by the number of rows")
    for column in ("side", "rows", "seconds", "rows/s", "MiB beyond the start"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for found in results:
        speed, seconds = f"{found['rows_a_second']:,.0f}", f"{found['seconds']:.1f}"
        table.add_row(found["side"], f"{found['rows']:,}", seconds, speed, f"{found['mib']:,.0f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help=f"multiples of {_BLOCK:,}")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument(
        "--folder", type=Path, help=argparse.SUPPRESS
    )  # what a measurement's process is given
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(ingest(arguments.folder)))
        return
    if any(rows % _BLOCK or rows <= 0 for rows in arguments.rows):
        parser.error(f"--rows: found {arguments.rows}, expected multiples of {_BLOCK}")
    results = [measure(side, rows) for side in arguments.sides for rows in arguments.rows]
    show(results)
    if arguments.output:
        machine = {"processor": platform.processor() or platform.machine(), "pyarrow": pa.__version__}
        arguments.output.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
