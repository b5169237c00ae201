"""The command `cetnet`: a group of the commands that the installed floors register, and how each ends."""

from __future__ import annotations

import difflib
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import IO, Any

import click

from cetnet_keras.console import log_of
from cetnet_keras.errors import GateRefused, InputError, WorkFailed

COMMANDS = "cetnet.commands"  # the entry point group; other distributions may add to it
_EXTRAS = {"cetnet_keras": "keras", "serving": "serving", "pipeline": "pipeline", "kubeflow": "kubeflow"}


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a scheduler sends it: what a command has started, such as a server, ends with it as at Ctrl-C."""


class Ended(click.ClickException):
    """An end that is not success: one line on standard error, and an exit code."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(" ".join(line.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class and reads the instance's

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the line."""
        click.echo(self.message, file=file or sys.stderr)


class Commands(click.Group):
    """A group whose commands are entry points, loaded when they are called or listed."""

    @cached_property
    def registered(self) -> dict[str, EntryPoint]:
        """The commands of all installed distributions; no plug-in replaces one of ours."""
        found = sorted(
            entry_points(group=COMMANDS), key=_is_ours
        )  # 280 distributions: 30 ms, which lets plug-ins in
        return {entry.name: entry for entry in found}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, those that cannot run here included."""
        return sorted(self.registered)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or where it cannot be loaded one that says why."""
        entry = self.registered.get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
            if not isinstance(command, click.Command):
                raise TypeError(f"{entry.value} is no click command")
        except Exception as error:  # a broken plug-in must not take the other commands along
            return _stand_in(entry, error)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it; a misspelt command is answered with those that come close."""
        if args[0] not in self.registered and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.registered, cutoff=0.65)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; the errors of all commands end here."""
        try:
            with _terminating():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own business; so is a reader that has gone, as after `| head`
        except (Exception, KeyboardInterrupt) as error:
            raise _ended(error, self.registered.get(ctx.invoked_subcommand or "")) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="cetnet", message="%(prog)s %(version)s")
def main() -> None:
    """CTR prediction with a collaborative ensemble: from click logs to a served model that explains itself.

    \b
    Example:
      cetnet demo
      cetnet run --data data.yaml --output runs/first

    Exit codes: 0 done, 1 the work failed, 2 the call or the input is wrong, 3 a gate said no,
    130 interrupted, 143 terminated.
    """


@contextmanager
def _terminating() -> Iterator[None]:
    """Has SIGTERM raise Terminated for the length of a `with` block, unless somebody has a handler for it."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one does not wait
    raise Terminated


def _is_ours(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == "cetnet"


def _missing(entry: EntryPoint | None, error: BaseException) -> str:
    """What to install where `error` comes of a package that is not there, else ''."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if entry is None or not missing or missing in _EXTRAS:
        return ""
    extra = _EXTRAS.get(entry.module.partition(".")[0]) if _is_ours(entry) else None
    return f"{missing}: pip install " + (f"'cetnet[{extra}]'" if extra else missing)


def _stand_in(entry: EntryPoint, error: Exception) -> click.Command:
    def fail() -> None:
        raise error

    missing = _missing(entry, error)
    return click.Command(
        entry.name,
        callback=fail,
        short_help=f"(needs {missing})" if missing else f"(cannot be loaded: {_first_line(error)})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _ended(error: BaseException, entry: EntryPoint | None) -> Ended:
    """What the user reads about `error`, and the exit code."""
    if isinstance(error, Terminated):
        return Ended("Terminated", 143)
    if isinstance(error, KeyboardInterrupt):
        return Ended("Interrupted", 130)
    if isinstance(error, InputError):
        return Ended(f"Error: {error}", 2)
    if isinstance(error, GateRefused):
        return Ended(f"Refused: {error}", 3)
    log = log_of(error)
    if isinstance(error, WorkFailed):
        return Ended(f"Error: {error}" + (f"; log: {log}" if log else ""), 1)
    if entry and (missing := _missing(entry, error)):
        return Ended(f"Error: `cetnet {entry.name}` needs {missing}", 1)
    return Ended(f"Error: {_first_line(error)}; traceback: {log or _written_traceback(error)}", 1)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"  # TensorFlow's messages run to pages


def _written_traceback(error: BaseException) -> str:
    """Writes the traceback of an error that no log has to a file of its own, and returns its path."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="cetnet-", suffix=".txt", encoding="utf-8", delete=False
    ) as file:
        traceback.print_exception(error, file=file)
    return file.name


if __name__ == "__main__":
    main()
