"""Trains the peers of a data set, seed by seed, on what `benchmarks.quality.peers.rows` wrote.

`.venv-peers/bin/python -m benchmarks.quality.peers --sets frappe_x1 --seeds 1 2 3`
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.pytorch.torch_utils import seed_everything
from fuxictr.version import __version__ as fuxictr_version

from benchmarks.quality.peers.models import MODELS, Batch, feature_map
from benchmarks.quality.peers.settings import QUICK_EPOCHS, QUICK_SEEDS, QUICK_SETS, load_peers
from benchmarks.quality.run_file import data_digest, is_of

QUALITY = Path(__file__).resolve().parents[1]
SETS = sorted(path.parent.name for path in QUALITY.glob("*/peers.yaml"))
EVAL_BATCH = 10_000


class Batches:
    """Batches of columns in memory, of which FuxiCTR wants the length and the items.

    Args:
        columns: {key: [N] or [N, T]}.
        batch_size: rows a batch; the last may be smaller.
        shuffled: whether the rows come in another order each time, by torch's seed.
    """

    def __init__(self, columns: dict[str, np.ndarray], batch_size: int, shuffled: bool) -> None:
        self._columns = {key: torch.from_numpy(column) for key, column in columns.items()}
        self._rows = len(columns["label"])
        self._batch_size, self._shuffled = batch_size, shuffled

    def __len__(self) -> int:
        return -(-self._rows // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(self._rows) if self._shuffled else torch.arange(self._rows)
        for rows in order.split(self._batch_size):
            yield {key: column[rows] for key, column in self._columns.items()}


def train_once(
    columns: dict[str, dict[str, np.ndarray]],
    features: dict[str, dict[str, Any]],
    settings: dict[str, Any],
    seed: int,
    folder: Path,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Trains and predicts. Returns what the files of a run hold, as `benchmarks.quality.training` has them."""
    training, own = settings["training"], dict(settings["members"][0])
    width, made = own.pop("embedding_dim"), MODELS[own.pop("type")]
    seed_everything(seed)
    described = feature_map("rows", features, made is not MODELS["DIN"], "group" in columns["eval"], width)
    model = made(described, training, folder, **own)
    seconds = time.perf_counter()
    model.fit(
        Batches(columns["train"], training["batch_size"], shuffled=True),
        settings["epochs"],
        Batches(columns["eval"], EVAL_BATCH, shuffled=False),
    )
    seconds = time.perf_counter() - seconds
    arrays: dict[str, np.ndarray] = {}
    for split in ("eval", "test"):
        ctr = model.predict(Batches(columns[split], EVAL_BATCH, shuffled=False)).astype(np.float32)
        arrays |= {f"{split}/ctr": ctr, f"{split}/member_ctr": ctr[:, np.newaxis]}
        arrays[f"{split}/label"] = columns[split]["label"].astype(np.int8)
        if "group" in columns[split]:
            arrays[f"{split}/group"] = columns[split]["group"]
    found = {
        "seed": seed,
        "model": settings,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "embedding_parameters": sum(weight.numel() for weight in model.tables()),
        "train_seconds": round(seconds, 1),
        "train_rows": len(columns["train"]["label"]),
        "best_evaluation": int(np.argmax(model.evaluations)) + 1,
        "evaluations": len(model.evaluations),
        "history": {training["monitor"]: [round(float(value), 6) for value in model.evaluations]},
        "versions": {
            "fuxictr": fuxictr_version,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    return found, arrays


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--models", nargs="+", help="names in peers.yaml; all of a set's by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    parser.add_argument("--quick", action="store_true", help="one set, one seed, one epoch")
    arguments = parser.parse_args()
    sets, seeds, output = arguments.sets, arguments.seeds, arguments.output
    if arguments.quick:
        sets, seeds, output = QUICK_SETS, QUICK_SEEDS, output / "quick"
    for name in sets:
        arrays = output / name / "arrays"
        features = json.loads((arrays / "features.json").read_text(encoding="utf-8"))
        columns = {split: dict(np.load(arrays / f"{split}.npz")) for split in ("train", "eval", "test")}
        peers = load_peers(QUALITY / name, QUICK_EPOCHS if arguments.quick else None)
        data = data_digest(arrays / "data.yaml")
        for seed in seeds:
            for peer in arguments.models or peers:
                result = output / name / peer / f"{seed}.json"
                if result.exists() and is_of({"model": peers[peer], "data": data}, result):
                    continue
                result.unlink(missing_ok=True)
                result.parent.mkdir(parents=True, exist_ok=True)
                found, predicted = train_once(columns, features, peers[peer], seed, result.parent)
                found |= {"data": data}
                np.savez_compressed(result.with_suffix(".npz"), **predicted)
                # last: it says that all is there
                result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                print(name, peer, seed, f"{found['train_seconds']:.0f} s", found["history"], flush=True)


if __name__ == "__main__":
    main()
