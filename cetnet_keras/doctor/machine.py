"""What the machine has: processors, memory, room and rights to write, ports."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cetnet_keras.doctor.cgroup import cpu_limit, memory_limit
from cetnet_keras.doctor.finding import Finding

GIB = 2**30
# (least, sound): loading TFX alone takes 1 GiB, half a million rows take up to 6
MEMORY = (2 * GIB, 6 * GIB)
DISK = (1 * GIB, 5 * GIB)


def machine(output: Path) -> Iterator[Finding]:
    """Looks at what a run that writes to `output` and a server on the default ports will meet."""
    yield _processors()
    yield _memory()
    yield _room("Output folder", output, "free some, or name another folder: --output DIR")
    yield _temporary()
    for name, port in (("gRPC", 8500), ("REST", 8501)):
        yield _port(name, port)


def _processors() -> Finding:
    cores, limit = len(os.sched_getaffinity(0)), cpu_limit()
    found = f"{cores} cores" + (f", {limit:.1f} by the limit of this container" if limit else "")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), None)
    if flags and "avx" not in flags:
        cure = "take a machine, or a setting of the virtual machine, that has it (such as `-cpu host`)"
        return Finding("CPU", f"{found} without AVX", "wrong", "AVX, which TensorFlow's wheels need", cure)
    return Finding("CPU", found)


def _memory() -> Finding:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":") for line in lines)}
    total, free = sizes["MemTotal"], sizes["MemAvailable"]
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    group = memory_limit()
    if group and group.limit < total:
        free = min(free, group.free)
        found = f"{free / GIB:.1f} GiB free of the {group.limit / GIB:.1f} that this container may have"
    cure = "end other programs or take a larger machine; smaller batches and vocabularies help too"
    return enough("Memory", found, free, MEMORY, cure)


def enough(item: str, found: str, free: int, bounds: tuple[int, int], cure: str) -> Finding:
    """Below the first of `bounds` (bytes) things fail, below the second they may."""
    least, sound = bounds
    if free >= sound:
        return Finding(item, found)
    expected = f"at least {least / GIB:.0f} GiB free, better {sound / GIB:.0f}"
    return Finding(item, found, "note" if free >= least else "wrong", expected, cure)


def _room(item: str, folder: Path, cure: str) -> Finding:
    """Whether `folder`, or the nearest folder above it that is there, takes a file, and how much."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()  # by trying: root passes every check of permissions
    except OSError as error:
        expected = "a folder that you can write to"
        return Finding(item, f"{folder}: {error.strerror}", "wrong", expected, cure)
    free = shutil.disk_usage(there).free
    return enough(item, f"{folder}, {free / GIB:.1f} GiB free", free, DISK, cure)


def _temporary() -> Finding:
    item, cure = "Temporary files", "set TMPDIR to a folder with room that you can write to"
    wanted = os.environ.get("TMPDIR")
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        return Finding(item, str(error.strerror), "wrong", "a folder that you can write to", cure)
    if wanted and Path(folder).resolve() != Path(wanted).resolve():
        found = f"TMPDIR={wanted} cannot be written, {folder} is taken"
        return Finding(item, found, "note", "a folder that you can write to", cure)
    return _room(item, Path(folder), cure)


def _port(name: str, port: int) -> Finding:
    item = f"{name} port"
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind(("127.0.0.1", port))
        except OSError as error:
            cure = f"end the server that has it, or: cetnet serve --{name.lower()}-port 0"
            return Finding(item, f"{port}: {error.strerror}", "note", "a free port", cure)
    return Finding(item, f"{port} is free")
