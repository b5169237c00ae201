"""The settings of a data set's peers; read where they are trained and where their figures are put beside ours."""

from pathlib import Path
from typing import Any

import yaml

QUICK_SETS, QUICK_SEEDS, QUICK_EPOCHS = ["frappe_x1"], [1], 1  # to see that a benchmark works


def load_peers(folder: Path, epochs: int | None = None) -> dict[str, dict[str, Any]]:
    """members (one), training and epochs of each peer of a data set, by name; none where it has no peers.yaml.

    Args:
        folder: of the data set.
        epochs: in place of those that the file names.
    """
    path = folder / "peers.yaml"
    if not path.exists():
        return {}
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    shared = {"training": read["training"], "epochs": epochs or read["epochs"]}
    return {name: {"members": [model], **shared} for name, model in read["models"].items()}
