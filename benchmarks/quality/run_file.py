"""The JSON file of a run: what it is of, its model's settings and its data, says whether it still counts.

The standard library alone: the peers' environment has neither TensorFlow nor our packages' requirements.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OF = ("model", "data")  # settings that a model was trained with; `data_digest` of what its rows come from


def settings_of_run(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is of, by what its JSON file holds; a run without `data` is of no data of today."""
    return {key: found.get(key) for key in OF}


def is_of(settings: Mapping[str, Any], path: Path) -> bool:
    """Whether a run is of these settings, and not of what their files held before.

    Args:
        settings: `model` and `data`.
        path: its JSON file.
    """
    return settings_of_run(json.loads(path.read_text(encoding="utf-8"))) == settings


def digest(settings: Any) -> str:
    """A short name of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def data_digest(path: Path) -> str | None:
    """A short name of a data.yaml's text; None where there is no such file."""
    return digest(path.read_text(encoding="utf-8")) if path.exists() else None
