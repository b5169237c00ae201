"""What a container, or another control group of Linux, leaves this process of the machine; versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROCESS, _ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


class MemoryLimit(NamedTuple):
    """Bytes that the group may have, and of them those that it has not."""

    limit: int
    free: int


def memory_limit(process: Path = _PROCESS, root: Path = _ROOT) -> MemoryLimit | None:
    """The narrowest limit of this process' groups, None where none is set.

    Args:
        process: as /proc/self/cgroup.
        root: where the groups are mounted.
    """
    limits = []
    for folder in _folders("memory", process, root):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            limits.append(MemoryLimit(limit, limit - used + _reclaimable(folder)))
    return min(limits, key=lambda found: found.free, default=None)


def cpu_limit(process: Path = _PROCESS, root: Path = _ROOT) -> float | None:
    """The narrowest limit in CPU cores, None where none is set."""
    limits = []
    for folder in _folders("cpu", process, root):
        quota, *period = _words(folder / "cpu.max") or ["max"]
        if quota == "max":
            quota, *period = [
                *_words(folder / "cpu.cfs_quota_us"),
                *_words(folder / "cpu.cfs_period_us"),
            ] or ["-1"]
        if period and int(quota) > 0:
            limits.append(int(quota) / int(period[0]))
    return min(limits, default=None)


def _folders(controller: str, process: Path, root: Path) -> Iterator[Path]:
    """The groups of this process and all above them; in a container only some of them are there."""
    try:
        lines = process.read_text(encoding="utf-8").splitlines()
    except OSError:  # a system without groups
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers or controller in controllers.split(","):
            top = root / controllers  # version 2 has no controllers there
            group = top / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _reclaimable(folder: Path) -> int:
    """Bytes of files that were read and can be dropped: they count as used."""
    words = _words(folder / "memory.stat")
    sizes = dict(zip(words[::2], words[1::2], strict=False))
    return int(sizes.get("total_inactive_file") or sizes.get("inactive_file") or 0)


def _number(*paths: Path) -> int | None:
    """Of the first file that is there; None for `max`."""
    word = next((words[0] for path in paths if (words := _words(path))), "max")
    return None if word == "max" else int(word)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:  # of the other version, or hidden
        return []
