"""Folders and files that a user names for the output: made before the work, so that it is not done in vain."""

from pathlib import Path

from cetnet_keras.errors import InputError


def output_folder(path: Path) -> Path:
    """Makes a folder and those above it, where they are missing; returns it. Raises InputError where it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); name another --output") from error
    return path


def output_file(path: Path) -> Path:
    """Makes the folder of a file that will be written; returns the file. Raises InputError where it cannot be one."""
    output_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected a file to write; name another --output")
    return path


def write_output(path: Path, text: str) -> None:
    """Writes a file. Raises InputError where it cannot."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another --output") from error
