"""A digest of the code that makes artifacts: part of what they are cached by, so that a changed line is never ignored."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from cetnet_keras.spec import MemberSpec

_PACKAGES = ("cetnet_keras", "pipeline", "serving")


def code_digest(members: Iterable[MemberSpec] = ()) -> str:
    """SHA-256, as hex, of the source of our packages and of what the user's own members are made of.

    That is all of the package that a member is in; of a module outside a package, its file and those beside it that it
    imports, also by way of one another.
    """
    digest = hashlib.sha256()
    for path in _sources(members):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(members: Iterable[MemberSpec]) -> list[Path]:
    root = Path(__file__).resolve().parent.parent
    files = sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py"))
    for name in sorted({m.type.partition(":")[0].partition(".")[0] for m in members if ":" in m.type}):
        found = importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations is not None:
            files += sorted(
                path for folder in found.submodule_search_locations for path in Path(folder).rglob("*.py")
            )
        elif found is not None and found.origin is not None:
            files += _with_imported(Path(found.origin))
    return files


def _with_imported(module: Path) -> list[Path]:
    """A file and those beside it that it imports; a package beside it is taken for another's."""
    found: set[Path] = set()
    left = [module]
    while left:
        path = left.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # who imports it is told
            continue
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            left += [path.with_name(f"{name.partition('.')[0]}.py") for name in names]
    return sorted(found)
