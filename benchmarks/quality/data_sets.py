"""The data sets: what their rows are prepared from, and the rows as the pipeline transforms them."""

import csv
import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from benchmarks.quality.run_file import data_digest
from benchmarks.transformed_rows import Rows
from cetnet_keras.spec import load_data_spec

HERE = Path(__file__).resolve().parent
MOVIELENS = HERE.parents[1] / "recipes" / "movielens_100k"
# Anything that runs: the rows are what is wanted of it.
SMALLEST_MODEL = "{members: [{type: mlp, embedding_dim: 2, hidden: [4]}], training: {epochs: 1}}\n"


def _copy(source: Path, folder: Path) -> None:
    for file in source.iterdir():
        shutil.copy(file, folder)


def _hold_out_users(source: Path, folder: Path) -> None:
    """Validation: all training rows of a tenth of the users. Test stays as it is."""
    shutil.copy(source / "test.csv.gz", folder)
    with gzip.open(source / "train.csv.gz", "rt", newline="") as text, ExitStack() as files:
        rows = csv.reader(text)
        header = next(rows)
        user = header.index("user_id")
        writers = [
            csv.writer(files.enter_context(open(folder / f"{name}.csv", "w", newline="")))
            for name in ("valid", "train")
        ]
        for writer in writers:
            writer.writerow(header)
        for row in rows:
            writers[crc32(row[user].encode()) % 10 > 0].writerow(row)


def _movielens(source: Path, folder: Path) -> None:
    plain = folder / "published"
    plain.mkdir(exist_ok=True)
    for file in source.glob("*.gz"):
        (plain / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    prepare = [str(MOVIELENS / "prepare.py"), "--source", str(plain), "--folder", str(folder / "data")]
    subprocess.run([sys.executable, *prepare], check=True)


class DataSet(NamedTuple):
    """Where a data set comes from and what is trained on it."""

    source: str  # the folder of the published files
    spec: Path
    models: Path  # its models.yaml
    write: Callable[[Path, Path], None]  # (published files, folder) -> the files that the spec names


DATA_SETS = {
    name: DataSet(name, HERE / name / "data.yaml", HERE / name / "models.yaml", write)
    for name, write in (("frappe_x1", _copy), ("amazon_sports", _hold_out_users))
} | {
    name: DataSet("movielens_100k", MOVIELENS / spec, HERE / name / "models.yaml", _movielens)
    for name, spec in (
        ("movielens_100k", "data.yaml"),
        ("movielens_100k_prior", "data.yaml"),
        ("movielens_100k_global_time", "data_global_time.yaml"),
    )
}


def prepared(name: str, source: Path, folder: Path) -> Rows:
    """The transformed rows of a data set; what is in `folder` already is not made again, unless of another spec.

    Args:
        name: of DATA_SETS.
        source: folder with a folder of published files for each set.
        folder: for the prepared files and the pipeline's run.
    """
    data_set, folder = DATA_SETS[name], folder.resolve()
    spec = load_data_spec(data_set.spec)
    run = folder / "run"
    if run.exists() and data_digest(folder / "data.yaml") != data_digest(data_set.spec):
        shutil.rmtree(run)
    if not (run / "metrics.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        data_set.write(source / data_set.source, folder)
        shutil.copy(data_set.spec, folder / "data.yaml")
        (folder / "model.yaml").write_text(SMALLEST_MODEL, encoding="utf-8")
        command = f"{Path(sys.executable).with_name('cetnet')} run --data data.yaml --model model.yaml"
        options = ["--output", str(run), "--min-auc", "0"]
        ended = subprocess.run([*command.split(), *options], cwd=folder, check=False)
        if ended.returncode not in (0, 3):  # 3: the smallest model is no good one
            raise SystemExit(f"{folder}: the pipeline failed, see {run}/log.txt")
    return Rows.of(spec, run)
