"""The root command with commands of a distribution of the test's own, laid out as an installed one is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = '''
import os, signal, sys
from pathlib import Path
import click
from cetnet_keras.console import quiet
from cetnet_keras.errors import GateRefused, InputError, WorkFailed

@click.group()
def plugin():
    """A plug-in's commands. Example: cetnet plugin fine"""

def command(body):
    return plugin.command(body.__name__.replace("_", "-"))(body)

@command
def fine():
    print("done")

@command
def wrong():
    raise InputError("data.yaml:7: label: found nothing,\\n expected a column")

@command
def failed():
    with quiet(Path("log.txt")):
        raise WorkFailed("Trainer: port 1 was taken")

@command
def failed_without_log():
    raise WorkFailed("Trainer: port 1 was taken")

@command
def refused():
    raise GateRefused("auc 0.51, at least 0.60 was asked for")

@command
def crashed():
    with quiet(Path("log.txt")):
        {}["secret of the traceback"]

@command
def crashed_without_log():
    raise ValueError("first line\\nsecond line")

@command
def interrupted():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

@command
def terminated():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        click.echo("what it had started has ended")

@command
def lazy():
    import no_such_package.part

@command
def piped():
    for _ in range(100_000):
        click.echo("a line")
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the distribution `acme-plugin`."""
    site = tmp_path / "site"
    metadata = site / "acme_plugin-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[cetnet.commands]\n"
        "plugin = acme_plugin:plugin\n"
        "unfit = acme_unfit:command\n"
        "broken = acme_broken:command\n"
        "other = acme_plugin:PLUGIN_HAS_NO_SUCH_NAME\n"
        "spec = acme_plugin:plugin\n"
    )
    (site / "acme_plugin.py").write_text(PLUGIN)
    (site / "acme_unfit.py").write_text("import no_such_package\n")
    (site / "acme_broken.py").write_text("1 / 0\n")
    return site


def cetnet(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "TMPDIR": str(site.parent)}
    command = [
        sys.executable,
        "-c",
        "from cetnet_keras.cli import main; main(prog_name='cetnet')",
        *arguments,
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=site.parent, env=environment
    )


@pytest.mark.parametrize(
    ("command", "code", "line"),
    [
        ("wrong", 2, "Error: data.yaml:7: label: found nothing, expected a column\n"),
        ("failed", 1, "Error: Trainer: port 1 was taken; log: log.txt\n"),
        ("failed-without-log", 1, "Error: Trainer: port 1 was taken\n"),
        ("refused", 3, "Refused: auc 0.51, at least 0.60 was asked for\n"),
        ("interrupted", 130, "Interrupted\n"),
        ("lazy", 1, "Error: `cetnet plugin` needs no_such_package: pip install no_such_package\n"),
        ("crashed", 1, "Error: KeyError: 'secret of the traceback'; traceback: log.txt\n"),
    ],
)
def test_an_end_is_one_line_and_a_code(site: Path, command: str, code: int, line: str) -> None:
    done = cetnet(site, "plugin", command)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", line)


def test_what_a_terminated_command_has_started_is_ended(site: Path) -> None:
    done = cetnet(site, "plugin", "terminated")
    assert (done.returncode, done.stderr) == (143, "Terminated\n")
    assert done.stdout == "what it had started has ended\n"


def test_success_is_silent_on_standard_error(site: Path) -> None:
    done = cetnet(site, "plugin", "fine")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_the_log_has_the_traceback(site: Path) -> None:
    cetnet(site, "plugin", "crashed")
    log = (site.parent / "log.txt").read_text()
    assert "Traceback" in log and "in crashed" in log


def test_a_crash_without_a_log_writes_its_traceback_to_a_file_of_its_own(site: Path) -> None:
    done = cetnet(site, "plugin", "crashed-without-log")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    said, _, path = done.stderr.strip().partition("; traceback: ")
    assert said == "Error: ValueError: first line"
    assert "second line" in Path(path).read_text() and "in crashed_without_log" in Path(path).read_text()


def test_a_misspelt_command_is_answered_with_the_right_one(site: Path) -> None:
    done = cetnet(site, "plugni")
    assert done.returncode == 2
    assert done.stderr.endswith("Error: No such command 'plugni'. Did you mean plugin?\n")
    done = cetnet(site, "xyzzy")
    assert done.returncode == 2 and done.stderr.endswith("Error: No such command 'xyzzy'.\n")


def test_a_wrong_option_exits_with_2(site: Path) -> None:
    for arguments in (["--wrong"], ["plugin", "fine", "--wrong"], ["plugin", "fnie"]):
        done = cetnet(site, *arguments)
        assert done.returncode == 2 and done.stderr.startswith("Usage: cetnet")


def test_help_lists_every_command_whatever_the_state_it_is_in(site: Path) -> None:
    done = cetnet(site, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = " ".join(done.stdout.partition("Commands:")[2].split())
    for line in (
        "broken (cannot be loaded: ZeroDivisionError: division by zero)",
        "other (cannot be loaded: AttributeError: ",
        "plugin A plug-in's commands.",
        "unfit (needs no_such_package: pip install no_such_package)",
    ):
        assert line in listed
    for name in ("demo", "evaluate", "predict", "run", "serve", "spec"):
        assert f" {name} " in f" {listed}"


def test_a_command_that_cannot_be_loaded_says_why(site: Path) -> None:
    done = cetnet(site, "unfit", "--any", "option")
    needs = "Error: `cetnet unfit` needs no_such_package: pip install no_such_package\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", needs)
    done = cetnet(site, "broken")
    assert done.returncode == 1 and done.stderr.startswith(
        "Error: ZeroDivisionError: division by zero; traceback: "
    )


def test_an_extra_of_ours_that_is_not_installed_is_named(site: Path) -> None:
    """Another `serving` comes first on the path and lacks a package, as ours may without its extra."""
    (site / "serving").mkdir()
    (site / "serving" / "__init__.py").write_text("import grpc_is_not_there\n")
    done = cetnet(site, "predict", "rows.csv")
    line = "Error: `cetnet predict` needs grpc_is_not_there: pip install 'cetnet[serving]'\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert "predict (needs grpc_is_not_there: pip install 'cetnet[serving]')" in " ".join(
        cetnet(site, "--help").stdout.split()
    )


def test_no_plug_in_replaces_a_command_of_ours(site: Path) -> None:
    assert "A plug-in's commands" not in cetnet(site, "spec", "--help").stdout


def test_a_reader_that_has_gone_is_no_error(site: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", "from cetnet_keras.cli import main; main()", "plugin", "piped"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"a line\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()
    process.stderr.close()


def test_version(site: Path) -> None:
    from importlib.metadata import version

    assert cetnet(site, "--version").stdout == f"cetnet {version('cetnet')}\n"
