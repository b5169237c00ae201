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

import tensorflow_transform as tft

from cetnet_keras.spec import DataSpec, load_data_spec
from pipeline.artifacts import required_outputs

HERE = Path(__file__).resolve().parent
# Anything that runs: the rows are what is wanted of it.
SMALLEST_MODEL = "{members: [{type: mlp, embedding_dim: 2, hidden: [4]}], training: {epochs: 1}}\n"


class Rows(NamedTuple):
    """A data set as training takes it."""

    spec: DataSpec
    transformed: tft.TFTransformOutput
    files: dict[str, list[str]]  # patterns of each split: train, eval, test


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


DATA_SETS: dict[str, Callable[[Path, Path], None]] = {
    "frappe_x1": _copy,
    "amazon_sports": _hold_out_users,
}


def prepared(name: str, source: Path, folder: Path) -> Rows:
    """The transformed rows of a data set; what is in `folder` already is not made again.

    Args:
        name: of DATA_SETS.
        source: folder with the published files.
        folder: for the prepared files and the pipeline's run.
    """
    folder, spec = folder.resolve(), load_data_spec(HERE / name / "data.yaml")
    database = folder / "run" / "tfx" / "metadata.sqlite"
    if not (folder / "run" / "metrics.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        DATA_SETS[name](source, folder)
        shutil.copy(HERE / name / "data.yaml", folder)
        (folder / "model.yaml").write_text(SMALLEST_MODEL, encoding="utf-8")
        command = f"{Path(sys.executable).with_name('cetnet')} run --data data.yaml --model model.yaml"
        options = ["--output", str(folder / "run"), "--min-auc", "0"]
        ended = subprocess.run([*command.split(), *options], cwd=folder, check=False)
        if ended.returncode not in (0, 3):  # 3: the smallest model is no good one
            raise SystemExit(f"{folder}: the pipeline failed, see {folder}/run/log.txt")
    outputs = required_outputs(database, spec.name, "Transform")
    examples = outputs.folder("transformed_examples")
    return Rows(
        spec,
        tft.TFTransformOutput(str(outputs.folder("transform_graph"))),
        {split: [str(examples / f"Split-{split}" / "*")] for split in ("train", "eval", "test")},
    )
