"""From a checkout to an environment: bootstrap.py on a small project, the pins, the wheel, the Makefile."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution, requires
from pathlib import Path
from types import ModuleType

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINS = ROOT / "requirements" / "py310.txt"
SETUP = """from setuptools import setup
scripts = ["first = tiny:main"]
setup(name="cetnet", version="1", py_modules=["tiny"], entry_points={"console_scripts": scripts})
"""


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project of one module and one pinned package: bootstrap.py is done with it in seconds."""
    checkout = tmp_path / "checkout"
    (checkout / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "bootstrap.py", checkout)
    shutil.copy(ROOT / "requirements" / "uv.txt", checkout / "requirements")
    (checkout / "requirements" / "py310.txt").write_text("".join(pin("setuptools")))
    (checkout / "setup.py").write_text(SETUP)
    (checkout / "tiny.py").write_text('def main():\n    print("tiny")\n')
    return checkout


def pin(name: str) -> list[str]:
    """The lines of a package in the requirements, its hashes included."""
    found = re.search(rf"^{name}==.*(\n +--hash.*)+\n", PINS.read_text(), flags=re.MULTILINE)
    assert found, f"{name} is not pinned"
    return found[0].splitlines(keepends=True)


def environment(**changes: str) -> dict[str, str]:
    """With the uv that made .venv first on PATH, so that it is not downloaded for every test."""
    path = f"{ROOT / '.venv' / 'uv' / 'bin'}:{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"
    return {"PATH": path} | {k: v for k, v in os.environ.items() if k != "PATH"} | changes


def set_up(checkout: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "bootstrap.py"]
    done = subprocess.run(
        command, cwd=checkout, env=environment(**changes), capture_output=True, text=True, check=False
    )
    if re.search("dns error|name resolution|error trying to connect|Connection refused", done.stderr):
        pytest.skip("no package index can be reached")
    return done


def run_first(checkout: Path) -> str:
    return subprocess.run([checkout / ".venv/bin/first"], capture_output=True, text=True, check=True).stdout


def test_the_first_call_installs_and_the_second_finds_it_done(checkout: Path) -> None:
    done = set_up(checkout)
    assert done.returncode == 0, done.stderr
    assert (
        "Stack: TFX 1.16 on TensorFlow 2.16, the first of 1 that fits Linux x86_64 with glibc" in done.stdout
    )
    assert "Python: CPython 3.10." in done.stdout
    assert run_first(checkout) == "tiny\n"
    made = {path: path.lstat().st_mtime_ns for path in (checkout / ".venv").rglob("*")}
    done = set_up(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"\.venv is up to date: TFX 1.16 on TensorFlow 2.16, CPython 3\.10\.\d+\n", done.stdout
    )
    assert {path: path.lstat().st_mtime_ns for path in (checkout / ".venv").rglob("*")} == made


def test_a_new_entry_point_in_setup_py_is_installed(checkout: Path) -> None:
    assert set_up(checkout).returncode == 0
    more = SETUP.replace("tiny:main", 'tiny:main", "second = tiny:main')
    (checkout / "setup.py").write_text(more)
    done = set_up(checkout)
    assert done.returncode == 0 and "kept from the last .venv" in done.stdout
    assert (checkout / ".venv" / "bin" / "second").exists()


def test_a_failed_installation_is_taken_up_again(checkout: Path) -> None:
    pins = checkout / "requirements" / "py310.txt"
    sound = pins.read_text()
    pins.write_text(re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, sound))
    done = set_up(checkout)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: `uv pip sync` failed, see above")
    assert not (checkout / ".venv" / "setup.json").exists()
    pins.write_text(sound)
    assert set_up(checkout).returncode == 0
    assert run_first(checkout) == "tiny\n"


def test_a_copied_checkout_gets_an_environment_of_its_own(checkout: Path) -> None:
    assert set_up(checkout).returncode == 0
    copy = checkout.with_name("copy")
    shutil.copytree(checkout, copy, symlinks=True)
    assert set_up(copy).returncode == 0
    shutil.rmtree(checkout)
    assert run_first(copy) == "tiny\n"


def test_two_calls_at_once_make_one_environment(checkout: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "bootstrap.py"],
            cwd=checkout,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = sorted(process.communicate()[0] for process in both)
    if any(process.returncode for process in both):
        set_up(checkout)  # skips where no package index can be reached
    assert [process.returncode for process in both] == [0, 0]
    assert "up to date" in printed[0] + printed[1] and (printed[0] + printed[1]).count("Ready: ") == 1


def test_a_python_that_does_not_start_is_passed_over(checkout: Path) -> None:
    """As pyenv's shim of a version that is installed but not chosen."""
    shims, versions = checkout.parent / "shims", checkout.parent / "pyenv" / "versions" / "3.10.99" / "bin"
    shims.mkdir()
    versions.mkdir(parents=True)
    (shims / "python3.10").write_text(
        "#!/bin/sh\necho 'pyenv: python3.10: command not found' >&2\nexit 127\n"
    )
    (shims / "python3.10").chmod(0o755)
    (versions / "python3.10").symlink_to(Path(sys.executable).resolve())
    path = f"{shims}:{ROOT / '.venv' / 'uv' / 'bin'}:/usr/bin:/bin"
    done = set_up(checkout, PATH=path, PYENV_ROOT=str(checkout.parent / "pyenv"))
    assert done.returncode == 0, done.stderr
    assert f"Python: CPython 3.10.{sys.version_info.micro}, " in done.stdout and str(shims) not in done.stdout


def test_a_machine_that_fits_no_stack_is_told_in_one_line(bootstrap: ModuleType) -> None:
    for machine in (("Darwin arm64", None), ("Linux x86_64", None), ("Linux x86_64", (2, 27))):
        with pytest.raises(
            bootstrap.SetupError, match=r"^no stack fits this machine, .+ needs Linux x86_64 with glibc"
        ):
            bootstrap.fitting(bootstrap.Machine(*machine))
    fit = bootstrap.fitting(bootstrap.Machine("Linux x86_64", (2, 36)))
    assert [stack.requirements for stack in fit] == ["requirements/py310.txt"]


def test_uv_asks_the_index_that_pip_would_ask(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()  # .venv has no pip
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no pip")
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://user:word@index.example/simple\ntrusted-host = a.example\n"
        "find-links = one\n    two\n"
        "[install]\ntrusted-host = b.example\n"
    )
    shutil.copy(ROOT / "bootstrap.py", tmp_path)
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
    variables |= {
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "XDG_CONFIG_HOME": str(tmp_path),
        "HOME": str(tmp_path),
    }
    command = [python, "-c", "import bootstrap, json; print(json.dumps(bootstrap._settings_of_pip()))"]

    def settings(**changes: str) -> dict[str, str]:
        done = subprocess.run(
            command, cwd=tmp_path, env=variables | changes, capture_output=True, text=True, check=True
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found

    found = settings()
    assert found["UV_DEFAULT_INDEX"] == "https://user:word@index.example/simple"
    assert found["UV_FIND_LINKS"] == "one,two"
    assert found["UV_INSECURE_HOST"] == "b.example"
    assert settings(PIP_INDEX_URL="https://env.example/")["UV_DEFAULT_INDEX"] == "https://env.example/"
    assert settings(UV_DEFAULT_INDEX="https://uv.example/") == {}


def test_the_pins_satisfy_setup_py() -> None:
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", PINS.read_text(), flags=re.MULTILINE))
    wanted = [Requirement(line) for line in requires("cetnet") or []]
    extras = ["", "pipeline", "kubeflow", "dev"]
    checked = [w for w in wanted if w.marker is None or any(w.marker.evaluate({"extra": e}) for e in extras)]
    assert len(checked) > 20
    wrong = [
        str(w) for w in checked if not w.specifier.contains(pinned.get(canonicalize_name(w.name), "0.0"))
    ]
    assert wrong == [], "run `make lock`"


@pytest.mark.parametrize("path", sorted(PINS.parent.glob("*.txt")), ids=lambda path: path.name)
def test_every_pin_has_hashes_and_none_names_an_index(path: Path) -> None:
    text = path.read_text()
    assert "make lock" in text.splitlines()[1]
    assert re.findall(r"^[^#\s].*==[^\\\n]*$", text, flags=re.MULTILINE) == [], (
        "lines without a hash after them"
    )
    assert "://" not in text and "--index" not in text


def test_extras_need_no_more_than_they_say() -> None:
    def names(extra: str) -> set[str]:
        found = map(Requirement, requires("cetnet") or [])
        return {r.name for r in found if r.marker and r.marker.evaluate({"extra": extra})} - names_of_all

    names_of_all = {Requirement(line).name for line in requires("cetnet") or [] if "extra ==" not in line}
    assert names("keras") == {"tensorflow", "tf-keras", "tensorflow-recommenders"}
    assert names("serving-client") == {"grpcio", "protobuf", "requests"}
    assert not names("serving") & {"tfx", "apache-beam"}
    assert {"tfx", "apache-beam", "tensorflow"} <= names("pipeline") <= names("kubeflow")
    assert not names_of_all & {"tensorflow", "tfx", "grpcio"}


def packages() -> Iterator[Path]:
    for floor in ("cetnet_keras", "serving", "pipeline", "kubeflow"):
        yield from (ROOT / floor).rglob("*.py")


def test_the_wheel_has_every_module(tmp_path: Path) -> None:
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for path in packages():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    command = [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", "wheel"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {str(path.relative_to(ROOT)) for path in packages()} - names == set(), (
        "name the package in setup.py"
    )
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.parametrize(
    "entry", distribution("cetnet").entry_points.select(group="cetnet.commands"), ids=lambda entry: entry.name
)
def test_every_registered_command_is_one(entry: object) -> None:
    assert isinstance(entry.load(), click.Command)  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["demo", "test", "lint", "lock"])
def test_every_target_makes_the_environment_first(target: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", target, "ARGS=-k word"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].endswith("bootstrap.py")
    if target != "lint":
        assert lines[-1].endswith("-k word")


def test_make_says_what_it_can_do() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for target in ("setup", "demo", "test", "lint", "lock"):
        assert re.search(rf"^  make {target}  \S", done.stdout, flags=re.MULTILINE)
