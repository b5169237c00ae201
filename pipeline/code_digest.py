"""A digest of the code that makes artifacts: part of what they are cached by, so that a changed line is never ignored."""

import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from cetnet_keras.spec import MemberSpec

_PACKAGES = ("cetnet_keras", "pipeline", "serving")


def code_digest(members: Iterable[MemberSpec] = ()) -> str:
    """SHA-256, as hex, of the source of our packages and of the modules that hold the user's own members."""
    digest = hashlib.sha256()
    for path in _sources(members):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(members: Iterable[MemberSpec]) -> list[Path]:
    root = Path(__file__).resolve().parent.parent
    files = sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py"))
    for module in sorted({m.type.partition(":")[0] for m in members if ":" in m.type}):
        found = importlib.util.find_spec(module)
        if found is not None and found.origin is not None:
            files.append(Path(found.origin))
    return files
