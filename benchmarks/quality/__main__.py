"""Trains every model of a data set with every seed, each run once: what has a JSON file is not trained again.

`python -m benchmarks.quality --data ../data --sets frappe_x1 --seeds 1 2 3`
"""

import argparse
import json
from pathlib import Path

import numpy as np
from absl import logging

from benchmarks.quality.data_sets import DATA_SETS, HERE, prepared
from benchmarks.quality.training import train_once
from cetnet_keras.spec import load_model_spec


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with a folder of published files for each set"
    )
    parser.add_argument("--sets", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--models", nargs="+", help="names of model files; all of a set's by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    arguments = parser.parse_args()
    logging.set_verbosity(logging.INFO)  # of each evaluation
    for name in arguments.sets:
        folder = arguments.output / name
        rows = prepared(name, arguments.data / name, folder / "rows")
        known = {path.stem: path for path in sorted((HERE / name / "models").glob("*.yaml"))}
        for seed in arguments.seeds:
            for model in arguments.models or known:
                result = folder / model / f"{seed}.json"
                if result.exists():
                    continue
                result.parent.mkdir(parents=True, exist_ok=True)
                found, arrays = train_once(rows, load_model_spec(known[model]), seed, result.parent)
                np.savez_compressed(result.with_suffix(".npz"), **arrays)
                result.write_text(
                    json.dumps(found, indent=1) + "\n", encoding="utf-8"
                )  # last: it says that all is there
                test = {key: value["auc"] for key, value in found["test"].items()}
                print(name, model, seed, f"{found['train_seconds']:.0f} s", test, flush=True)


if __name__ == "__main__":
    main()
