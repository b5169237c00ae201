"""Trains every model of a data set with every seed, and writes the tables. A run that has its JSON file is not repeated.

`python -m benchmarks.quality --data ../data --sets frappe_x1 --seeds 1 2 3`
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from benchmarks.quality.data_sets import DATA_SETS, HERE, prepared
from benchmarks.quality.models import load_models
from benchmarks.quality.peers.settings import QUICK_EPOCHS, QUICK_SEEDS, QUICK_SETS, load_peers
from benchmarks.quality.record import Record
from benchmarks.quality.results import read_runs
from benchmarks.quality.run_file import data_digest, is_of
from benchmarks.quality.tables import claims_table, models_table
from benchmarks.quality.training import train_once
from cetnet_keras.spec import ModelSpec, load_data_spec
from pipeline.code_digest import code_digest

QUICK_MODELS = ["finalmlp", "finalnet", "cetnet-paper", "cetnet"]  # two members alone and in both recipes


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
        "--quick", action="store_true", help="one set, seed and epoch, four models: to see that it works"
    )
    parser.add_argument(
        "--tables-only", action="store_true", help="train nothing, write the tables of what is there"
    )
    arguments = parser.parse_args()
    logging.set_verbosity(logging.INFO)  # of each evaluation
    sets, models, seeds = arguments.sets, arguments.models, arguments.seeds
    output, kept = arguments.output, HERE
    if arguments.quick:
        sets, seeds, output = QUICK_SETS, QUICK_SEEDS, output / "quick"
        kept, models = output, models or QUICK_MODELS
    for name in sets:
        known = models_of(name, arguments.quick)
        if unknown := [model for model in models or [] if model not in known]:
            found, expected = ", ".join(unknown), ", ".join(known)
            parser.error(f"--models: found {found}, expected some of {name}'s: {expected}")
    code = code_digest()  # now: a sweep takes days, and the sources may change under it
    for name in sets:
        if not arguments.tables_only:
            train_all(name, arguments.data, models, seeds, output / name, arguments.quick, code)
    sections = [(HERE / "head.md").read_text(encoding="utf-8")]
    for name in DATA_SETS:
        path = kept / "measured" / f"{name}.json"
        record = Record.read(path).with_runs(read_runs(output / name), settings_of(name, arguments.quick))
        if record.trainings:
            record.write(path)
            sections.append(section(name, record))
    results = kept / "RESULTS.md"
    results.write_text("\n".join(sections), encoding="utf-8")
    print(results)


def section(name: str, record: Record) -> str:
    """What RESULTS.md says of a data set."""
    return "\n".join([f"## {name}", "", *models_table(record), "", *claims_table(record)]) + "\n"


def models_of(name: str, quick: bool) -> dict[str, ModelSpec]:
    """The models of a data set, by name."""
    models = load_models(DATA_SETS[name].models, load_data_spec(DATA_SETS[name].spec))
    if not quick:
        return models
    training = {
        model: spec.training.model_copy(update={"epochs": QUICK_EPOCHS}) for model, spec in models.items()
    }
    return {model: spec.model_copy(update={"training": training[model]}) for model, spec in models.items()}


def settings_of(name: str, quick: bool) -> dict[str, Any]:
    """What the runs of each model and peer must be of: `model` and `data`, as their JSON files have them."""
    peers, data = load_peers(HERE / name, QUICK_EPOCHS if quick else None), data_digest(DATA_SETS[name].spec)
    found = {model: settings(spec) for model, spec in models_of(name, quick).items()} | peers
    return {model: {"model": of_model, "data": data} for model, of_model in found.items()}


def settings(model_spec: ModelSpec) -> dict[str, Any]:
    return model_spec.model_dump(mode="json", exclude_unset=True)


def train_all(
    name: str,
    source: Path,
    models: list[str] | None,
    seeds: list[int],
    folder: Path,
    quick: bool,
    code: str,
) -> None:
    """Trains what is not there yet, seed by seed, so that an early stop leaves whole seeds.

    `code`, a digest of the sources, is kept of each run, so that one can ask; a run of other sources still counts.
    """
    rows = prepared(name, source, folder / "rows")
    data = data_digest(folder / "rows" / "data.yaml")
    known = models_of(name, quick)
    for seed in seeds:
        for model in models or known:
            result, model_spec = folder / model / f"{seed}.json", known[model]
            if result.exists() and is_of({"model": settings(model_spec), "data": data}, result):
                continue
            result.unlink(missing_ok=True)
            result.parent.mkdir(parents=True, exist_ok=True)
            found, arrays = train_once(rows, model_spec, seed, result.parent)
            found |= {"data": data, "code": code}
            np.savez_compressed(result.with_suffix(".npz"), **arrays)
            # last: it says that all is there
            result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            auc = {key: value["auc"] for key, value in found["eval"].items()}
            print(name, model, seed, f"{found['train_seconds']:.0f} s, AUC on eval:", auc, flush=True)


if __name__ == "__main__":
    main()
