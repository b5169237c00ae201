"""A model server in a process of its own, as a user starts it: nothing of the caller's process is in its answers."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cetnet_keras.errors import WorkFailed


class ServerProcess(NamedTuple):
    """A server that runs; its figures are read off Linux' /proc."""

    rest: str  # host:port
    grpc: str  # host:port
    pid: int

    def peak_memory(self) -> int:
        """The most bytes that it has had in memory so far."""
        return self._status("VmHWM")

    def memory(self) -> int:
        """The bytes that it has in memory now."""
        return self._status("VmRSS")

    def cpu_seconds(self) -> float:
        """The CPU time that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime

    def _status(self, key: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{key}:\s*(\d+) kB", status)
        assert found is not None, status
        return int(found[1]) * 1024


@contextmanager
def server_process(base_path: Path, name: str, log: Path, *options: str) -> Iterator[ServerProcess]:
    """Runs `cetnet serve` on free ports for the length of a `with` block.

    Args:
        base_path: folder whose children are versions.
        name: what requests call the model.
        log: what the process prints to standard error is appended here.
        options: further ones of `cetnet serve`.
    Raises:
        WorkFailed: the server ended before it was ready.
    """
    command = [sys.executable, "-m", "cetnet_keras.cli", "serve", str(base_path), "--name", name]
    command += ["--rest-port", "0", "--grpc-port", "0", "--log", str(log), *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            rest, grpc = (
                re.search(rf"{kind}\S*\s+(?:\w+://)?(\S+:\d+)", "".join(seen)) for kind in ("REST", "gRPC")
            )
            if "ready" in "".join(seen) and rest and grpc:
                yield ServerProcess(rest[1], grpc[1], process.pid)
                return
        raise WorkFailed(
            f"{base_path}: the server ended before it was ready: {process.stderr.read().strip()}"
        )
    finally:
        process.terminate()
        process.communicate()
