"""What is installed: Python, the stack, the packages against their bounds and pins, and who shadows whom."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, metadata, requires, version
from pathlib import Path
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from cetnet_keras.doctor.finding import Finding

# the newest stack and what it needs; bootstrap.py, which no wheel has, says the same of a checkout
NEWEST, NEWEST_PYTHONS, NEWEST_GLIBC = "TFX 1.21 on TensorFlow 2.21", ("3.13", "3.12", "3.11"), (2, 39)
_SET_UP_AGAIN = "rm .venv/setup.json && make setup"  # without its stamp nothing passes for done
_MARKS = {
    "pipeline": "tfx",
    "serving": "tensorflow-serving-api",
    "keras": "tensorflow",
}  # extra: who shows it


def packages() -> Iterator[Finding]:
    """Looks at the interpreter and at what is installed for it."""
    glibc = _glibc()
    yield _python()
    yield _c_library(glibc)
    yield _stack(glibc)
    yield _bounds()
    if (pins := _pins()) is not None:
        yield _locked(pins)
    if (sdk := _installed("kubeflow")) is not None:
        yield _kubeflow_sdk(sdk)
    yield _bytecode()


def _python() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    needed = metadata("cetnet")["Requires-Python"]
    if platform.python_version() in SpecifierSet(needed):
        return Finding("Python", found)
    return Finding(
        "Python", found, "wrong", needed, "install CETNet for such a Python; `make setup` finds one"
    )


def _glibc() -> tuple[int, int] | None:
    library, numbers = platform.libc_ver()
    parts = re.match(r"(\d+)\.(\d+)", numbers)
    return (int(parts[1]), int(parts[2])) if library == "glibc" and parts else None


def _c_library(glibc: tuple[int, int] | None) -> Finding:
    item = "C library"
    if glibc is None:
        cure = "use a Linux such as Debian or Ubuntu; TFX has no wheels for others"
        return Finding(item, "another than glibc", "wrong", "glibc", cure)
    found = "glibc {}.{}".format(*glibc)
    if _on_newest() and glibc < NEWEST_GLIBC:
        expected = "glibc {}.{} or later for Python {}.{}".format(*NEWEST_GLIBC, *sys.version_info)
        return Finding(item, found, "wrong", expected, "use Python 3.10, or Debian 13, Ubuntu 24.04 or later")
    return Finding(item, found)


def _on_newest() -> bool:
    return "{}.{}".format(*sys.version_info) in NEWEST_PYTHONS


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _stack(glibc: tuple[int, int] | None) -> Finding:
    item, tfx, tensorflow = "Stack", _installed("tfx"), _installed("tensorflow")
    install = _SET_UP_AGAIN if _pins() else "pip install 'cetnet[pipeline]'"
    if tensorflow is None:
        return Finding(item, "no TensorFlow", "wrong", "TensorFlow, to train and to serve", install)
    found = f"{f'TFX {tfx}' if tfx else 'no TFX'} on TensorFlow {tensorflow}"
    if tfx is None:
        return Finding(item, found, "note", "TFX, to run the pipeline", install)
    if not _on_newest() and glibc and glibc >= NEWEST_GLIBC:
        cure = f"install Python {' or '.join(NEWEST_PYTHONS)}, then run `make setup`"
        return Finding(item, found, "note", f"{NEWEST}, which this machine can run", cure)
    return Finding(item, f"{found}, the newest" + ("" if _on_newest() else " that this glibc can run"))


def _bounds() -> Finding:
    """The installed versions against setup.py's bounds, for the extras that are there."""
    extras = ["", *(extra for extra, mark in _MARKS.items() if _installed(mark))]
    applying = [r for r in map(Requirement, requires("cetnet") or []) if _applies(r, extras)]
    wrong = {}
    for requirement in applying:
        found = _installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wrong[f"{requirement.name} {found or 'missing'}"] = f"{requirement.name}{requirement.specifier}"
    if wrong:
        cure = (
            _SET_UP_AGAIN
            if _pins()
            else f"pip install --upgrade 'cetnet[{','.join(extras[1:]) or 'pipeline'}]'"
        )
        return Finding("Packages", _some([*wrong]), "wrong", _some([*wrong.values()]), cure)
    return Finding("Packages", f"{len({r.name for r in applying})} within their bounds")


def _applies(requirement: Requirement, extras: list[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")


def _checkout() -> Path | None:
    """The folder of an editable installation."""
    origin = json.loads(distribution("cetnet").read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    return Path(unquote(urlparse(origin["url"]).path)) if editable else None


def _pins() -> Path | None:
    """The file of the pins that `make setup` installs, where this is the environment that it made."""
    checkout = _checkout()
    if checkout is None or Path(sys.prefix).resolve() != (checkout / ".venv").resolve():
        return None
    path = checkout / "requirements" / "py{}{}.txt".format(*sys.version_info)
    return path if path.is_file() else None


def _locked(pins: Path) -> Finding:
    text = pins.read_text(encoding="utf-8")
    pinned = {canonicalize_name(name): v for name, v in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}
    other = {name: found for name, v in pinned.items() if (found := _installed(name)) != v}
    if other:
        found = _some([f"{name} {v or 'missing'}" for name, v in other.items()])
        expected = _some([f"{name}=={pinned[name]}" for name in other])
        return Finding("Pins", found, "wrong", expected, _SET_UP_AGAIN)
    return Finding("Pins", f"{len(pinned)} as in requirements/{pins.name}")


def _kubeflow_sdk(sdk: str) -> Finding:
    """Beside the official SDK, whose `kubeflow` has an __init__.py, an editable installation of ours is not seen."""
    item = "kubeflow SDK"
    if _checkout() is None:
        return Finding(item, f"{sdk} beside ours")
    cure = "pip uninstall kubeflow, or install a wheel of CETNet: pip install . without --editable"
    return Finding(
        item, f"{sdk}, which hides our `kubeflow`", "wrong", "none beside an editable CETNet", cure
    )


def _bytecode() -> Finding:
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        cure = "unset it: without compiled modules TFX takes 20 s to load, with them 8 s"
        return Finding("Bytecode", "not kept, PYTHONDONTWRITEBYTECODE is set", "note", "kept", cure)
    return Finding("Bytecode", "kept")
