"""What was run, when, with which versions, and how long each component took."""

import os
import platform
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from time import monotonic

from pipeline.gates import Gates
from pipeline.training_record import Record

Progress = Callable[[str, str], None]
"""Told of each component: (its name, "running" | "cached" | "done")."""

_PACKAGES = (
    "cetnet",
    "tensorflow",
    "tf-keras",
    "tensorflow-recommenders",
    "tfx",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "tensorflow-data-validation",
    "apache-beam",
    "pyarrow",
    "numpy",
    "pydantic",
)


class ComponentTime(Record):
    """One component of the pipeline."""

    component: str
    state: str  # "done" or "cached"
    seconds: float


class RunRecord(Record):
    """What was run."""

    name: str  # of the data spec
    began: str  # ISO 8601, UTC
    ended: str
    data_text: str
    model_text: str  # empty where none was named
    members: list[str]
    code: str  # digest of the source
    gates: Gates
    allow_anomalies: bool
    pushed: str | None  # the version folder
    versions: dict[str, str]  # of Python and of packages
    machine: str
    components: list[ComponentTime]


class ComponentClock:
    """Passes progress on and keeps how long each component took."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._since = progress, monotonic()
        self.times: list[ComponentTime] = []

    def __call__(self, component: str, state: str) -> None:
        if state == "running":
            self._since = monotonic()
        else:
            seconds = monotonic() - self._since
            self.times.append(ComponentTime(component=component, state=state, seconds=seconds))
        self._progress(component, state)


def now() -> str:
    """The time, to the second, in ISO 8601 and UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a run computes; one that is not installed is left out."""
    installed = {}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"Python": platform.python_version()} | installed


def machine() -> str:
    """The platform and the number of processors."""
    return f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} processors"
