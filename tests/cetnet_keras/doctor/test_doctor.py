"""`cetnet doctor` on this environment, on environments that lack something, and on parts of a machine."""

import importlib.util
import os
import socket
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from cetnet_keras.doctor import packages
from cetnet_keras.doctor.machine import GIB, _port, enough
from cetnet_keras.doctor.runtime import tensorflow

ROOT = Path(__file__).parents[3]


def doctor(
    folder: Path, *arguments: str, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "cetnet_keras.cli", "doctor", *arguments]
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    return subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )


def said(done: subprocess.CompletedProcess[str], verdict: str) -> dict[str, str]:
    """Item: what follows it, of the lines that begin with `verdict`."""
    lines = (line.partition(": ") for line in done.stdout.splitlines())
    return dict(rest.split(": ", 1) for start, _, rest in lines if start == verdict)


def installed(site: Path, name: str, version: str) -> None:
    """Makes a package pass for installed, as another that comes first on the path."""
    metadata = site / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_nothing_is_wrong_here(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert said(done, "wrong") == {} and done.stdout.endswith("\nNothing is wrong\n")
    for name in ("tensorflow", "tfx"):
        assert distribution(name).version in done.stdout
    assert f"as in requirements/py{sys.version_info[0]}{sys.version_info[1]}.txt" in done.stdout
    assert list(tmp_path.iterdir()) == [], "it only looks"


def test_every_fault_is_named_with_what_was_expected_and_a_cure(tmp_path: Path) -> None:
    site = tmp_path / "site"
    installed(site, "click", "7.0")
    installed(site, "kubeflow", "0.4.0")
    (site / "tensorflow.py").write_text(
        "raise ImportError('libcudart.so.12: cannot open shared object file')\n"
    )
    (tmp_path / "file").write_text("")
    done = doctor(tmp_path, "--output", "file/run", PYTHONPATH=str(site), TMPDIR=str(tmp_path / "none"))
    assert (done.returncode, done.stderr) == (1, "")
    wrong = said(done, "wrong")
    again = "rm .venv/setup.json && make setup"
    assert wrong.pop("Packages") == f"found click 7.0, expected click>=8.1; {again}"
    assert wrong.pop("Pins").startswith("found click 7.0, expected click==8.")
    assert wrong.pop("kubeflow SDK").startswith("found 0.4.0, which hides our `kubeflow`, expected none")
    assert wrong.pop("TensorFlow").startswith(
        "found ImportError: libcudart.so.12: cannot open shared object file, expected an import that succeeds; "
    )
    assert wrong.pop("Output folder").startswith(
        "found file/run: Not a directory, expected a folder that you can"
    )
    assert wrong == {} and done.stdout.endswith("\n5 wrong\n")
    assert "cannot be written" in said(done, "note")["Temporary files"]


def test_an_environment_without_tensorflow_is_told_what_to_install(tmp_path: Path) -> None:
    """A real environment, with what the command itself needs and no more."""
    made = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(made, check=True)
    (site,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
    for name in ("click", "rich", "packaging", "markdown-it-py", "mdurl", "pygments"):
        found = distribution(name)
        for entry in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            (site / entry).symlink_to(str(found.locate_file(entry)))
    (site / "cetnet.pth").write_text(str(ROOT))
    python = str(tmp_path / "venv" / "bin" / "python")
    (metadata,) = (p for p in Path(str(distribution("cetnet").locate_file(""))).glob("cetnet-*.dist-info"))
    (site / metadata.name).symlink_to(metadata)

    done = doctor(tmp_path, python=python)
    assert (done.returncode, done.stderr) == (1, "")
    wrong = said(done, "wrong")
    install = "pip install 'cetnet[pipeline]'"
    assert wrong["Stack"] == f"found no TensorFlow, expected TensorFlow, to train and to serve; {install}"
    assert wrong["TensorFlow"].startswith(
        "found ModuleNotFoundError: No module named 'tensorflow', expected "
    )
    missing, _, cure = wrong["Packages"].partition(", expected ")
    assert missing == "found pydantic missing, PyYAML missing, numpy missing"
    assert "pydantic>=2" in cure and cure.endswith("; pip install --upgrade 'cetnet[pipeline]'")


def test_a_tensorflow_that_crashes_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was built for another processor."""
    (tmp_path / "tensorflow.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = tensorflow()
    assert (finding.verdict, finding.found) == ("wrong", "ended by SIGILL")


def test_a_tensorflow_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorflow.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = tensorflow(timeout=0.5)
    assert (finding.verdict, finding.found) == ("wrong", "not loaded after 0.5 s")


def test_a_port_that_is_taken_is_noted() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        finding = _port("REST", port)
    assert finding.verdict == "note" and finding.found.startswith(f"{port}: ")
    assert finding.cure.endswith("cetnet serve --rest-port 0")


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(6 * GIB, "ok"), (6 * GIB - 1, "note"), (2 * GIB, "note"), (2 * GIB - 1, "wrong"), (0, "wrong")],
)
def test_little_room_is_noted_and_none_is_wrong(free: int, verdict: str) -> None:
    finding = enough("Memory", f"{free} free", free, (2 * GIB, 6 * GIB), "end other programs")
    assert finding.verdict == verdict
    assert (finding.expected, finding.cure) == (
        ("", "") if verdict == "ok" else ("at least 2 GiB free, better 6", "end other programs")
    )


def test_it_means_the_newest_stack_of_bootstrap() -> None:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    assert spec and spec.loader
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    newest = bootstrap.STACKS[0]
    found = (packages.NEWEST, packages.NEWEST_PYTHONS, packages.NEWEST_GLIBC)
    assert found == (newest.name, newest.pythons, newest.glibc)
