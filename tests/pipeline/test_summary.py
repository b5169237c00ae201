"""The progress of a run, on a real terminal: what the user reads stays there, what libraries print goes to the log."""

import os
import pty
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys
from pathlib import Path
from cetnet_keras.console import quiet
from pipeline.summary import ComponentProgress

with quiet(Path(sys.argv[1])) as console:
    assert console.is_terminal
    with ComponentProgress(console, "Loading TFX") as progress:
        progress("ExampleGen", "running")
        print("noise of print")
        print("noise of warnings", file=sys.stderr)
        os.write(2, b"noise of C++\\n")
        progress("ExampleGen", "done")
        progress("Trainer", "running")
        progress("Trainer", "cached")
"""


def test_on_a_terminal_components_are_shown_and_noise_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, log], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # how Linux says that the other side has closed
        pass
    os.close(ours)
    assert process.wait() == 0, shown
    assert b"ExampleGen" in shown and b"from the cache" in shown and b"all together" in shown
    assert b"noise" not in shown
    text = log.read_text()
    assert all(f"noise of {source}" in text for source in ("print", "warnings", "C++"))
