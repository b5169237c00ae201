"""Trains every model of a data set with every seed, and writes the tables. A run that has its JSON file is not repeated.

`python -m benchmarks.quality --data ../data --sets frappe_x1 --seeds 1 2 3`
"""

import argparse
import json
from pathlib import Path

import numpy as np
from absl import logging

from benchmarks.quality.claims import claims_table
from benchmarks.quality.data_sets import DATA_SETS, HERE, prepared
from benchmarks.quality.models import load_models
from benchmarks.quality.results import Runs, models_table, read_runs
from benchmarks.quality.training import train_once
from cetnet_keras.spec import ModelSpec

QUICK_SETS, QUICK_EPOCHS = ["frappe_x1"], 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with a folder of published files for each set"
    )
    parser.add_argument("--sets", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--models", nargs="+", help="names, as in the tables; all of a set's by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    parser.add_argument(
        "--quick", action="store_true", help="one set, one seed, one epoch: to see that it works"
    )
    parser.add_argument(
        "--tables-only", action="store_true", help="train nothing, write the tables of what is there"
    )
    arguments = parser.parse_args()
    logging.set_verbosity(logging.INFO)  # of each evaluation
    sets, seeds, output, results = arguments.sets, arguments.seeds, arguments.output, HERE / "RESULTS.md"
    if arguments.quick:
        sets, seeds, output = QUICK_SETS, seeds[:1], output / "quick"
        results = output / "RESULTS.md"
    for name in sets:
        if not arguments.tables_only:
            train_all(name, arguments.data, arguments.models, seeds, output / name, arguments.quick)
    sections = [section(name, runs) for name in DATA_SETS if (runs := read_runs(output / name))]
    results.write_text(
        "\n".join([(HERE / "head.md").read_text(encoding="utf-8"), *sections]), encoding="utf-8"
    )
    print(results)


def section(name: str, runs: Runs) -> str:
    """What RESULTS.md says of a data set."""
    return "\n".join([f"## {name}", "", *models_table(runs), "", *claims_table(runs)]) + "\n"


def train_all(
    name: str, source: Path, models: list[str] | None, seeds: list[int], folder: Path, quick: bool
) -> None:
    """Trains what is not there yet, seed by seed, so that an early stop leaves whole seeds."""
    rows = prepared(name, source, folder / "rows")
    known = load_models(DATA_SETS[name].models)
    for seed in seeds:
        for model in models or known:
            result, model_spec = folder / model / f"{seed}.json", known[model]
            if quick:
                training = model_spec.training.model_copy(update={"epochs": QUICK_EPOCHS})
                model_spec = model_spec.model_copy(update={"training": training})
            if result.exists() and is_of(model_spec, result):
                continue
            result.unlink(missing_ok=True)
            result.parent.mkdir(parents=True, exist_ok=True)
            found, arrays = train_once(rows, model_spec, seed, result.parent)
            np.savez_compressed(result.with_suffix(".npz"), **arrays)
            # last: it says that all is there
            result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            test = {key: value["auc"] for key, value in found["test"].items()}
            print(name, model, seed, f"{found['train_seconds']:.0f} s", test, flush=True)


def is_of(model_spec: ModelSpec, result: Path) -> bool:
    """Whether a run is of this model, and not of what its file held before."""
    found = json.loads(result.read_text(encoding="utf-8"))["model"]
    return bool(found == model_spec.model_dump(mode="json", exclude_unset=True))


if __name__ == "__main__":
    main()
