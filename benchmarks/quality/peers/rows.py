"""The transformed rows of a data set as NumPy arrays: `python -m benchmarks.quality.peers.rows --help`."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.quality.data_sets import HERE, prepared
from benchmarks.quality.peers.settings import QUICK_SETS
from benchmarks.quality.run_file import data_digest
from benchmarks.transformed_rows import Rows
from cetnet_keras.spec import SequenceFeature
from pipeline.dataset import inputs_of, transformed_batches
from pipeline.transform import GROUP_KEY, vocabulary_sizes

SETS = sorted(path.parent.name for path in HERE.glob("*/peers.yaml"))
BATCH = 10_000


def write_rows(rows: Rows, folder: Path) -> None:
    """Writes `train.npz`, `eval.npz` and `test.npz`, and `features.json`.

    Ids [N] are those that ours are trained on: 0 for missing, then the vocabulary, then one for what is not in it.
    Tokens are [N, max_length], padded with 0 at their end. `label` is [N], and so is `group` where the spec has one;
    rows of NO_GROUP are one group to FuxiCTR, which knows of no such rows.
    """
    spec, sizes = rows.spec, vocabulary_sizes(rows.spec, rows.transformed)
    longest = {name: spec.features[name].max_length for name in spec.of_type(SequenceFeature)}  # type: ignore[union-attr]
    folder.mkdir(parents=True, exist_ok=True)
    for split, files in rows.files.items():
        found: dict[str, list[np.ndarray]] = {}
        for batch in transformed_batches(files, rows.transformed, BATCH):
            columns = inputs_of(spec, batch) | {"label": batch[spec.label]}
            if spec.group is not None:
                columns["group"] = batch[GROUP_KEY]
            for key, value in columns.items():
                array = value.numpy()
                if key in longest:
                    array = np.pad(array, ((0, 0), (0, longest[key] - array.shape[1])))
                found.setdefault(key, []).append(array)
        np.savez_compressed(folder / f"{split}.npz", **{key: np.concatenate(v) for key, v in found.items()})
    features: dict[str, dict[str, int | str]] = {}
    for name in spec.features:
        owner = spec.owner(name)
        features[name] = {"vocab_size": sizes[owner] + 2}
        if name in longest:
            features[name] |= {"max_len": longest[name], "target": owner}
    (folder / "features.json").write_text(json.dumps(features, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with a folder of published files a set"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    parser.add_argument("--quick", action="store_true", help="one set")
    arguments, _ = parser.parse_known_args()  # others are those of the training, which comes next
    sets, output = arguments.sets, arguments.output
    if arguments.quick:
        sets, output = QUICK_SETS, output / "quick"
    for name in sets:
        folder = output / name
        rows, spec, arrays = prepared(name, arguments.data, folder / "rows"), "data.yaml", folder / "arrays"
        if data_digest(arrays / spec) != data_digest(folder / "rows" / spec):
            write_rows(rows, arrays)
            shutil.copy(folder / "rows" / spec, arrays)  # last: it says that all is there, and of what
        print(arrays)


if __name__ == "__main__":
    main()
