"""From a checkout to an environment: bootstrap.py on a small project, the pins, the wheel, the Makefile."""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution, requires, version
from pathlib import Path
from types import ModuleType

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
VERSION = "{}.{}".format(*sys.version_info)
PINS = ROOT / "requirements" / "py{}{}.txt".format(*sys.version_info)
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
    (checkout / "requirements" / PINS.name).write_text("".join(pin("setuptools")))
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


def test_the_first_call_installs_and_the_second_finds_it_done(checkout: Path, bootstrap: ModuleType) -> None:
    stack = next(stack.name for stack in bootstrap.STACKS if VERSION in stack.pythons)
    done = set_up(checkout)
    assert done.returncode == 0, done.stderr
    assert f"Stack: {stack}, the newest that fits Linux x86_64 with glibc" in done.stdout
    assert f"Python: CPython {VERSION}." in done.stdout
    assert run_first(checkout) == "tiny\n"
    made = {path: path.lstat().st_mtime_ns for path in (checkout / ".venv").rglob("*")}
    done = set_up(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f".venv is up to date: {stack}, CPython {platform.python_version()}\n"
    assert {path: path.lstat().st_mtime_ns for path in (checkout / ".venv").rglob("*")} == made


def test_a_new_entry_point_in_setup_py_is_installed(checkout: Path) -> None:
    assert set_up(checkout).returncode == 0
    more = SETUP.replace("tiny:main", 'tiny:main", "second = tiny:main')
    (checkout / "setup.py").write_text(more)
    done = set_up(checkout)
    assert done.returncode == 0 and "kept from the last .venv" in done.stdout
    assert (checkout / ".venv" / "bin" / "second").exists()


def test_a_failed_installation_is_taken_up_again(checkout: Path) -> None:
    pins = checkout / "requirements" / PINS.name
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
    shims, versions = (
        checkout.parent / "shims",
        checkout.parent / "pyenv" / "versions" / f"{VERSION}.99" / "bin",
    )
    shims.mkdir()
    versions.mkdir(parents=True)
    shim = shims / f"python{VERSION}"
    shim.write_text(f"#!/bin/sh\necho 'pyenv: {shim.name}: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    (versions / shim.name).symlink_to(Path(sys.executable).resolve())
    path = f"{shims}:{ROOT / '.venv' / 'uv' / 'bin'}:/usr/bin:/bin"
    done = set_up(checkout, PATH=path, PYENV_ROOT=str(checkout.parent / "pyenv"))
    assert done.returncode == 0, done.stderr
    assert f"Python: CPython {platform.python_version()}, " in done.stdout and str(shims) not in done.stdout


def test_a_machine_that_fits_no_stack_is_told_in_one_line(bootstrap: ModuleType) -> None:
    for machine in (("Darwin arm64", None), ("Linux x86_64", None), ("Linux x86_64", (2, 27))):
        with pytest.raises(
            bootstrap.SetupError, match=r"^no stack fits this machine, .+ needs Linux x86_64 with glibc"
        ):
            bootstrap.fitting(bootstrap.Machine(*machine))


@pytest.mark.parametrize(
    ("glibc", "pythons"),
    [
        ((2, 28), ["3.10"]),
        ((2, 38), ["3.10"]),
        ((2, 39), ["3.13", "3.12", "3.11", "3.10"]),
        ((3, 0), ["3.13", "3.12", "3.11", "3.10"]),
    ],
)
def test_the_glibc_decides_which_pythons_are_tried_newest_first(
    glibc: tuple[int, int], pythons: list[str], bootstrap: ModuleType
) -> None:
    fit = bootstrap.fitting(bootstrap.Machine("Linux x86_64", glibc))
    assert [version for stack in fit for version in stack.pythons] == pythons


@pytest.mark.trixie
@pytest.mark.skipif(
    platform.libc_ver() < ("glibc", "2.39"), reason="needs glibc 2.39; make test-trixie has it"
)
def test_this_is_the_newest_stack() -> None:
    assert sys.version_info >= (3, 11) and version("tfx").startswith("1.21.")


def test_uv_asks_the_index_that_pip_would_ask(tmp_path: Path) -> None:
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
    command = [
        sys.executable,
        "-c",
        "import bootstrap, json; print(json.dumps(bootstrap._settings_of_pip()))",
    ]

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


def test_every_python_of_a_stack_has_pins(bootstrap: ModuleType) -> None:
    versions = [version for stack in bootstrap.STACKS for version in stack.pythons]
    assert {ROOT / bootstrap.requirements(version) for version in versions} == set(
        PINS.parent.glob("py3*.txt")
    )


@pytest.mark.parametrize("pins", sorted(PINS.parent.glob("py3*.txt")), ids=lambda pins: pins.stem)
def test_the_pins_satisfy_setup_py(pins: Path) -> None:
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", pins.read_text(), flags=re.MULTILINE))
    wanted = [Requirement(line) for line in requires("cetnet") or []]
    python = {"python_version": f"3.{pins.stem.removeprefix('py3')}"}
    machines = [python | {"extra": extra} for extra in ("", "pipeline", "kubeflow", "dev")]
    checked = [w for w in wanted if w.marker is None or any(map(w.marker.evaluate, machines))]
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
    assert names("serving-client") == {"grpcio", "protobuf", "httpx"}
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
    for target in ("setup", "demo", "test", "test-trixie", "lint", "lock"):
        assert re.search(rf"^  make {target}  \S", done.stdout, flags=re.MULTILINE)


def test_a_machine_without_debian_13_is_told_why_it_is_skipped(tmp_path: Path) -> None:
    without = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path)}  # debootstrap is in /usr/sbin
    command = ["make", "--no-print-directory", "test-trixie"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | without, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reason = "this needs root|debootstrap is not installed|this machine lets root make no mount namespace"
    assert re.fullmatch(f"Skipped, no Debian 13 to run on: ({reason})\n", done.stderr)
    assert list(tmp_path.iterdir()) == []
