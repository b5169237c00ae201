"""A model server in a process of its own, as a user starts it: nothing of the caller's process is in its answers."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cetnet_keras.errors import WorkFailed

_END_SECONDS = 60.0  # that a server may take to end


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
def server_process(
    base_path: Path, name: str, log: Path, *options: str, ready_seconds: float = 600.0
) -> Iterator[ServerProcess]:
    """Runs `cetnet serve` on free ports for the length of a `with` block.

    Args:
        base_path: folder whose children are versions.
        name: what requests call the model.
        log: what the process prints to standard error is appended here.
        options: further ones of `cetnet serve`.
        ready_seconds: how long it may take to be ready; it is ended then.
    Raises:
        WorkFailed: the server ended before it was ready, or took too long.
    """
    command = [sys.executable, "-m", "cetnet_keras.cli", "serve", str(base_path), "--name", name]
    command += ["--rest-port", "0", "--grpc-port", "0", "--log", str(log), *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    too_long = threading.Timer(ready_seconds, process.kill)
    too_long.daemon = True
    too_long.start()
    try:
        assert process.stdout is not None and process.stderr is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            rest, grpc = (
                re.search(rf"{kind}\S*\s+(?:\w+://)?(\S+:\d+)", "".join(seen)) for kind in ("REST", "gRPC")
            )
            if "ready" in "".join(seen) and rest and grpc:
                too_long.cancel()
                yield ServerProcess(rest[1], grpc[1], process.pid)
                return
        reason = process.stderr.read().strip()
        if process.wait() == -signal.SIGKILL:
            reason = f"it was killed, by the system or since it took more than {ready_seconds:g} s"
        raise WorkFailed(f"{base_path}: the server ended before it was ready: {reason}")
    finally:
        too_long.cancel()
        process.terminate()
        try:
            process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
