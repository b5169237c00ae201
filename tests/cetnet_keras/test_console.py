"""`quiet` leads file descriptors, so each case is a process of its own, with a pipe or a pty as terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cetnet_keras.console import quiet
from cetnet_keras.errors import InputError

NOISE = """
import ctypes, logging, os, subprocess, sys, warnings
from pathlib import Path
from cetnet_keras.console import log_of, progress, quiet
log = Path(sys.argv[1])
def noise(word="noise"):
    print(word, "print")
    print(word, "stderr", file=sys.stderr)
    os.write(1, f"{word} descriptor 1\\n".encode())
    os.write(2, f"{word} descriptor 2\\n".encode())
    ctypes.CDLL(None).printf(f"{word} C\\n".encode())
    subprocess.run(["sh", "-c", f"echo {word} child; echo {word} child stderr >&2"], check=True)
    logging.getLogger("library").info(f"{word} info")
    warnings.warn(f"{word} warning", stacklevel=1)
"""
KINDS = ["print", "stderr", "descriptor 1", "descriptor 2", "C", "child", "child stderr", "info", "warning"]


def run(script: str, log: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", NOISE + script, log], capture_output=True, text=True, check=False
    )


def test_noise_goes_to_the_log_and_the_console_to_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "runs" / "log.txt"
    done = run(
        """
print("before")
with quiet(log) as console:
    noise()
    console.print("seen")
print("after")
""",
        log,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["before", "seen", "after"]
    text = log.read_text()
    assert [kind for kind in KINDS if f"noise {kind}\n" not in text] == []
    assert "INFO library: noise info" in text


def test_without_a_log_nothing_is_written_anywhere(tmp_path: Path) -> None:
    done = run('with quiet() as console:\n    noise()\n    console.print("seen")', tmp_path / "log.txt")
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_console_on_standard_error_leaves_standard_output_to_data(tmp_path: Path) -> None:
    done = run(
        'with quiet(log, stderr=True) as console:\n    noise()\n    console.print("seen")', tmp_path / "log"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "seen\n")


def test_an_error_restores_the_terminal_and_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    done = run(
        """
try:
    with quiet(log):
        raise KeyError("inside")
except KeyError as error:
    print(log_of(error) == log, log_of(KeyError("another")))
print("out")
print("err", file=sys.stderr)
""",
        log,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True None\nout\n", "err\n")
    assert "Traceback" in log.read_text() and "KeyError: 'inside'" in log.read_text()


def test_nested_blocks_write_to_their_own_log_and_then_to_the_outer_one(tmp_path: Path) -> None:
    log = tmp_path / "outer.txt"
    done = run(
        """
with quiet(log) as outer:
    print("outer before")
    with quiet(log.with_name("inner.txt")) as inner:
        print("inner")
        inner.print("seen from inside")
        with quiet() as innermost:
            print("innermost")
            innermost.print("seen from innermost")
    print("outer after")
    outer.print("seen from outside")
print("end")
""",
        log,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["seen from inside", "seen from innermost", "seen from outside", "end"]
    assert log.read_text().splitlines() == ["outer before", "outer after"]
    assert (tmp_path / "inner.txt").read_text().splitlines() == ["inner", "innermost"]


def test_a_handler_that_a_library_makes_inside_still_works_outside(tmp_path: Path) -> None:
    done = run(
        """
with quiet(log):
    logging.getLogger("library").addHandler(logging.StreamHandler())
logging.getLogger("library").error("outside")
""",
        tmp_path / "log.txt",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "outside\n")


def test_a_reader_that_has_gone_does_not_hide_the_error_of_the_block(tmp_path: Path) -> None:
    script = """
try:
    with quiet(log) as console:
        console.file.write("lost")  # stays in the buffer, and its flush will fail
        raise KeyError("first")
except KeyError:
    print("first", file=sys.stderr)
"""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", NOISE + script, tmp_path / "log.txt"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "first\n")


def test_a_live_progress_stays_on_the_terminal_and_the_noise_off_it(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    script = """
with quiet(log) as console:
    assert console.is_terminal
    with progress(console) as bars:
        task = bars.add_task("Trainer", total=2)
        noise()
        bars.advance(task, 2)
"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", NOISE + script, log], stdin=theirs, stdout=theirs, stderr=theirs
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
    assert b"Trainer" in shown and b"2/2" in shown and b"noise" not in shown
    text = log.read_text()
    assert [kind for kind in KINDS if f"noise {kind}\n" not in text] == []


def test_long_paths_are_not_broken_over_lines(tmp_path: Path) -> None:
    done = run('with quiet() as console:\n    console.print("a/" * 400)', tmp_path / "log.txt")
    assert done.stdout == "a/" * 400 + "\n"


def test_a_log_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = r"file/log.txt: cannot be written as a log \(.+\); choose another place"
    with pytest.raises(InputError, match=said), quiet(tmp_path / "file" / "log.txt"):
        pytest.fail("the block must not run")
