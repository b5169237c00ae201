"""Packages, compiled through the command line in this process: TFX is loaded once."""

from collections.abc import Callable
from pathlib import Path

import cetnet_keras  # noqa: F401  # before TensorFlow: it chooses the Keras

# isort: split
import pytest
import yaml
from click.testing import CliRunner, Result

from kubeflow.cetnet.package import Package

DATA = """\
name: clicks_2
label: click
group: user
features:
  user: {type: categorical}
  item: {type: categorical, role: candidate}
  price: {type: numeric, role: candidate}
  seen: {type: sequence, vocabulary: item}
slices: [[], [item]]
splits: {train: train/*.csv, eval: eval.csv, test: test.csv}
"""
MODEL = """\
members: [{type: din}, {type: dcnv2, name: cross}]
training: {epochs: 3, learning_rate: 1e-2}
"""
OPTIONS = (  # all that there is to say
    "--display-name", "Clicks, daily", "--image", "registry.example/cetnet:7", "--pipeline-root", "s3://bucket/runs",
    "--data-root", "/rows/clicks", "--pvc", "rows:/rows", "--pvc", "models:/models", "--push-to", "/models",
    "--storage-secret", "storage", "--cpu", "2.5", "--memory", "12", "--accelerators", "1", "--retries", "3",
    "--min-auc", "0.61", "--allow-anomalies", "--max-bad-rows", "5",
)  # fmt: skip
Compile = Callable[..., Result]


@pytest.fixture(scope="session")
def run_compile() -> Compile:
    """(folder with data.yaml and perhaps model.yaml, options) compiles to pipeline.yaml in it."""

    def run(folder: Path, *options: str) -> Result:
        from cetnet_keras.cli import main

        model = folder / "model.yaml"
        paths = ["--data", str(folder / "data.yaml"), *(["--model", str(model)] if model.exists() else [])]
        output = [] if "--output" in options else ["--output", str(folder / "pipeline.yaml")]
        return CliRunner().invoke(main, ["kubeflow", "compile", *paths, *output, *options])

    return run


@pytest.fixture(scope="session")
def every_option() -> tuple[str, ...]:
    """The options that the full package is made with."""
    return OPTIONS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data.yaml and no rows."""
    (tmp_path / "data.yaml").write_text(DATA, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def full_folder(tmp_path_factory: pytest.TempPathFactory, run_compile: Compile) -> Path:
    """Both specs, and what they become with every option."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "data.yaml").write_text(DATA, encoding="utf-8")
    (folder / "model.yaml").write_text(MODEL, encoding="utf-8")
    result = run_compile(folder, *OPTIONS)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return folder


@pytest.fixture(scope="session")
def full_text(full_folder: Path) -> str:
    """The package with every option."""
    return (full_folder / "pipeline.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def read_package() -> Callable[[str], Package]:
    """The package that a text holds: its first document, and the second if there is one."""
    return lambda text: Package(*yaml.safe_load_all(text))


@pytest.fixture
def full(full_text: str, read_package: Callable[[str], Package]) -> Package:
    """A copy of the package with every option."""
    return read_package(full_text)
