"""Quality on MovieLens-100K: CETNet beside each member trained alone, over several seeds, on the recipe's split.

`make demo` first: it leaves the transformed rows that this trains on. Then, say,
`.venv/bin/python benchmarks/movielens_members.py --seeds 1 2 3 --output runs/movielens_members.json`.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from rich.console import Console
from rich.table import Table

from cetnet_keras.cetnet import CETNet
from cetnet_keras.spec import MemberSpec, ModelSpec, load_data_spec, load_model_spec
from pipeline.artifacts import latest_outputs
from pipeline.dataset import transformed_batches
from pipeline.evaluate_split import EvalSplit
from pipeline.trainer import optimizer_of, train
from pipeline.transform import vocabulary_sizes

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "movielens_100k"
METRICS = ("auc", "gauc", "log_loss")


def main() -> None:
    """Trains every model with every seed and prints test metrics: mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/movielens_100k"), help="DIR of the demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--fusions", nargs="*", default=["paper"], help="fusions of the ensemble to compare")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    recipe = load_model_spec(RECIPE / "model.yaml")
    models = {
        f"CETNet {'+'.join(m.type for m in recipe.members or [])}, {fusion}": recipe.model_copy(
            update={"fusion": recipe.fusion.model_copy(update={"type": fusion})}
        )
        for fusion in arguments.fusions
    }
    models |= {
        f"{member.type} alone, d = {member.embedding_dim}": recipe.model_copy(update={"members": [member]})
        for member in alone(recipe)
    }
    console, found = Console(), dict[str, list[dict[str, float]]]()
    for name, spec in models.items():
        found[name] = []
        for seed in arguments.seeds:
            found[name].append(measure(arguments.run, spec, seed))
            console.print(name, "seed", seed, found[name][-1])
    console.print(_table(found, arguments.seeds))
    if arguments.output:
        arguments.output.write_text(json.dumps({"seeds": arguments.seeds, "models": found}, indent=2) + "\n")


def alone(recipe: ModelSpec) -> list[MemberSpec]:
    """Each member at its own width, and DIN at the width of the first."""
    members = recipe.members or []
    din = {"type": "din", "hidden": [64, 32], "attention_hidden": [32], "dropout": 0.3}
    return [*members, MemberSpec.model_validate(din | {"embedding_dim": members[0].embedding_dim})]


def measure(run: Path, model_spec: ModelSpec, seed: int) -> dict[str, float]:
    """Trains a model with a seed on the run's transformed rows and measures it on the test split."""
    spec = load_data_spec(RECIPE / "data.yaml")
    outputs = latest_outputs(run / "tfx" / "metadata.sqlite", spec.name, "Transform")
    if outputs is None:
        raise SystemExit(f"{run}: no transformed rows there; run `make demo` first")
    transformed = tft.TFTransformOutput(str(outputs.folder("transform_graph")))
    files = {
        s: [str(outputs.folder("transformed_examples") / f"Split-{s}" / "*")]
        for s in ("train", "eval", "test")
    }
    training = model_spec.training.model_copy(update={"seed": seed})
    tf.keras.utils.set_random_seed(seed)
    with tf.distribute.MirroredStrategy().scope():
        sizes = vocabulary_sizes(spec, transformed)
        model = CETNet(spec, sizes, model_spec.members, model_spec.collaboration, model_spec.fusion)
        model.compile(optimizer=optimizer_of(training))
    held_out = EvalSplit.read(spec, transformed_batches(files["eval"], transformed, 8192))
    history = train(model, training, files["train"], transformed, held_out, Path(run) / "benchmark")
    if training.calibrate:
        model.calibrate(held_out.inputs, held_out.label, held_out.weight)
    test = EvalSplit.read(spec, transformed_batches(files["test"], transformed, 8192))
    monitored = history.history[f"eval_{training.monitor}"]
    best = max(range(len(monitored)), key=monitored.__getitem__)
    measured = test.measure(model.predict(test.inputs, verbose=0)["ctr"])
    tables = sum(v.shape.num_elements() for v in model.trainable_variables if "embeddings" in v.name)
    return {
        **{key: round(measured[key], 5) for key in METRICS},
        f"eval_{training.monitor}": round(monitored[best], 5),
        "best_evaluation": best + 1,
        "embedding_parameters": tables,
        "parameters": model.count_params(),
    }


def _table(found: dict[str, list[dict[str, float]]], seeds: list[int]) -> Table:
    table = Table(title=f"test split, mean and standard deviation over the seeds {seeds}")
    for head in ("model", "AUC", "gAUC", "log loss", "embedding / all parameters"):
        table.add_column(head, justify="left" if head == "model" else "right")
    for name, runs in found.items():
        cells: list[Any] = []
        for metric in METRICS:
            values = [run[metric] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.4f} +- {spread:.4f}")
        size = f"{runs[0]['embedding_parameters']:,} / {runs[0]['parameters']:,}"
        table.add_row(name, *cells, size)
    return table


if __name__ == "__main__":
    main()
