"""What the tests of spec inference have in common: files of rows, and a spec that is read as users' files are."""

import gzip
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from cetnet_keras.spec import DataSpec, load_data_spec
from cetnet_keras.spec.infer import infer

Row = Sequence[object]


def _write(path: Path, rows: Iterable[Row], delimiter: str = ",") -> Path:
    text = "".join(delimiter.join(map(str, row)) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Writes rows to a file, gzipped where its name says so."""
    return _write


@pytest.fixture
def inferred(tmp_path: Path) -> Callable[..., DataSpec]:
    """The spec of files of `tmp_path`, from a data.yaml that is written there; its text is beside it."""

    def inferred(*files: Path, columns: str | None = None, label: str | None = None) -> DataSpec:
        path = tmp_path / "data.yaml"
        path.write_text(infer([str(file) for file in files], tmp_path, columns, label))
        return load_data_spec(path)

    return inferred
