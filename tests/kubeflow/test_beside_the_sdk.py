"""Our wheel beside the official SDK, which is called `kubeflow` too: both work, and neither takes the other along."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOTH = "import kubeflow.trainer, kubeflow.cetnet.package; print(kubeflow.__file__)"


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, built from a copy: a build leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    for floor in ("cetnet_keras", "serving", "pipeline", "kubeflow"):
        shutil.copytree(ROOT / floor, source / floor, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", source / "dist")
    done = run(sys.executable, "-m", "pip", "wheel", *options, source)
    assert done.returncode == 0, done.stderr
    (found,) = (source / "dist").glob("cetnet-*.whl")
    return Path(found)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the SDK, and then our wheel, in it."""
    environment = tmp_path_factory.mktemp("environment")
    made = run(sys.executable, "-m", "venv", "--without-pip", environment)
    assert made.returncode == 0, made.stderr
    python = environment / "bin" / "python"
    got = pip(python, "install", "--quiet", "kubeflow", "PyYAML")
    if got.returncode != 0:
        pytest.skip(f"no index gives the kubeflow SDK: {(got.stderr.strip() or '?').splitlines()[-1]}")
    return python


def pip(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *arguments)


def test_the_wheel_leaves_the_namespace_to_the_sdk(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("kubeflow/")]
    assert "kubeflow/cetnet/cli.py" in names and "kubeflow/cetnet/rules/graph.py" in names
    assert [name for name in names if not name.startswith("kubeflow/cetnet/")] == []


def test_both_import_and_uninstalling_ours_leaves_theirs_whole(wheel: Path, python: Path) -> None:
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    before = contents(packages / "kubeflow")
    assert "__init__.py" in before and "trainer/__init__.py" in before
    installed = pip(python, "install", "--quiet", "--no-deps", wheel)
    assert installed.returncode == 0, installed.stderr
    both = run(python, "-c", BOTH)
    assert both.returncode == 0, both.stderr
    assert both.stdout.strip() == str(packages / "kubeflow" / "__init__.py")
    assert {name: contents(packages / "kubeflow").get(name) for name in before} == before

    removed = pip(python, "uninstall", "--quiet", "--yes", "cetnet")
    assert removed.returncode == 0, removed.stderr
    assert contents(packages / "kubeflow") == before
    theirs = run(python, "-c", "import kubeflow.trainer")
    assert theirs.returncode == 0, theirs.stderr
    ours = run(python, "-c", "import kubeflow.cetnet")
    assert "No module named 'kubeflow.cetnet'" in ours.stderr
