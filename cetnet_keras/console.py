"""Keeps the terminal for what the user reads; what TensorFlow, Beam and others print goes to a log.

TensorFlow's C++ code and child processes write to the file descriptors 1 and 2, past Python's `sys.stderr`.
So the descriptors themselves are led to the log, and a rich Console writes to copies that were made before.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from cetnet_keras.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_LOG = "cetnet_log"  # the attribute of an error that names the log with its traceback
_STREAMS = {1: "stdout", 2: "stderr"}


class _Quiet(NamedTuple):
    """The terminal's streams, and where the descriptors lead meanwhile (None: nowhere)."""

    stdout: TextIO
    stderr: TextIO
    log: Path | None


_now: _Quiet | None = None  # descriptors belong to the process, and so does this


@contextmanager
def quiet(log: Path | None = None, *, stderr: bool = False) -> Iterator[Console]:
    """Sends what this process and its children print to `log`, save what goes through the yielded Console.

    An error that leaves the block has its traceback in the log, and `log_of` names it. Blocks can be nested:
    an inner one prints to its own log, else to the outer one's, and its Console is the real terminal's.

    Args:
        log: the file to append to, made along with its folder. None makes no file: the output is dropped.
        stderr: the Console writes to standard error, for a command whose standard output is data.
    Raises:
        InputError: `log` cannot be written.
    """
    global _now
    before = _now
    with ExitStack() as leave:
        leave.callback(_set, before)
        inner = before and before._replace(log=log or before.log)
        _now = inner or _Quiet(_kept(1, leave), _kept(2, leave), log)
        if before is None or log:
            leave.enter_context(_led_to(leave.enter_context(_opened(log))))
        try:
            yield _console(_now.stderr if stderr else _now.stdout)
        except (Exception, KeyboardInterrupt) as error:
            if _now.log and log_of(error) is None:
                traceback.print_exc()  # to the log, as everything here
                setattr(error, _LOG, _now.log)
            raise


def log_of(error: BaseException) -> Path | None:
    """The log that has the traceback of `error`, if a `quiet` block with a log saw it pass."""
    return getattr(error, _LOG, None)


def progress(console: Console) -> Progress:
    """A live display of tasks with their elapsed time, for a Console of `quiet`."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # rich would else take over sys.stdout and sys.stderr and bring the noise back to the terminal
    return Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False)


def _set(now: _Quiet | None) -> None:
    global _now
    _now = now


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    width = None  # on a terminal rich asks for it, whenever it is resized
    if not stream.isatty():
        width = int(os.environ.get("COLUMNS", 120))
    elif (
        not sys.__stdin__ or not sys.__stdin__.isatty()
    ):  # of the three that rich asks, only standard input is left
        width = os.get_terminal_size(stream.fileno()).columns
    return Console(file=stream, width=width, soft_wrap=True)  # a path broken over two lines cannot be copied


def _kept(descriptor: int, leave: ExitStack) -> TextIO:
    """A stream to where `descriptor` leads now; one that leads elsewhere, as in tests, is kept itself."""
    stream: TextIO = getattr(sys, _STREAMS[descriptor])
    try:
        own = stream.fileno() != descriptor
    except (OSError, ValueError):
        own = True
    if own:
        return stream
    stream.flush()
    copy = os.fdopen(os.dup(descriptor), "w", encoding=stream.encoding, errors="backslashreplace")
    leave.callback(_close, copy)
    return copy


def _close(stream: TextIO) -> None:
    with suppress(BrokenPipeError):  # the reader has gone, as after `| head`
        stream.close()


def _opened(log: Path | None) -> TextIO:
    try:
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        return open(log or os.devnull, "a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        raise InputError(
            f"{log}: cannot be written as a log ({error.strerror}); choose another place"
        ) from error


@contextmanager
def _led_to(log: TextIO) -> Iterator[None]:
    """Descriptors, Python's streams and the root logger lead to `log`, then where they led before."""
    _flush()
    before = {descriptor: os.dup(descriptor) for descriptor in _STREAMS}
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    try:
        for descriptor in _STREAMS:
            os.dup2(log.fileno(), descriptor)
        root.addHandler(handler)
        root.setLevel(min(level, logging.INFO))
        # not `log` itself: a handler that a library makes here keeps its stream, and `log` will be closed
        with redirect_stdout(sys.__stdout__), redirect_stderr(sys.__stderr__):
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        _flush()
        for descriptor, copy in before.items():
            os.dup2(copy, descriptor)
            os.close(copy)


def _flush() -> None:
    """Writes out what Python and C hold back, before the descriptors lead elsewhere."""
    import ctypes

    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    ctypes.CDLL(None).fflush(None)
