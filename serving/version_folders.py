"""Version folders of a model on disk: children of its base path that are named by numbers."""

import re
from pathlib import Path

from cetnet_keras.errors import InputError

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"  # in a version's folder
_INT64 = 2**63


def version_number(name: str) -> int | None:
    """The version that a folder's name stands for, None if it is no int64 number; 00000123 is 123."""
    if not re.fullmatch(r"-?[0-9]{1,100}", name):
        return None
    number = int(name)
    return number if -_INT64 <= number < _INT64 else None


def versions_on_disk(base_path: Path) -> dict[int, Path] | None:
    """The children of a base path whose names are int64 numbers; None if there is no such folder."""
    try:
        children = sorted(base_path.iterdir())
    except OSError:
        return None
    numbered = {version_number(child.name): child for child in children}
    return {number: path for number, path in numbered.items() if number is not None}


def check_base_path(base_path: Path) -> None:
    """Refuses a base path that cannot be served.

    Raises:
        InputError: it is missing, a file, a version's own folder, or has no version in it.
    """
    if not base_path.is_dir():
        raise InputError(
            f"{base_path}: no such folder; name the one whose children are the versions of the model"
        )
    if (base_path / "saved_model.pb").exists():
        raise InputError(
            f"{base_path} is one version of a model; name its parent, {base_path.absolute().parent}"
        )
    if not versions_on_disk(base_path):
        raise InputError(
            f"{base_path}: found no version in it, expected folders named by numbers, as 1 or 1712345678"
        )


def version_folder(path: Path) -> Path:
    """The folder itself if it is a version, else its newest version.

    Raises:
        InputError: it is neither a version nor a base path with one.
    """
    if (path / "saved_model.pb").exists():
        return path
    check_base_path(path)
    versions = versions_on_disk(path) or {}
    return versions[max(versions)]
