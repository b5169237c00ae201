"""The floors of the house: a floor imports only from those below it, and the light parts stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["cetnet_keras", "serving", "pipeline", "kubeflow"]  # lowest first
TFX = {"tfx", "tfx_bsl", "ml_metadata", "apache_beam", "kfp"} | {
    f"tensorflow_{name}" for name in ("transform", "model_analysis", "data_validation", "metadata")
}
HEAVY = {
    "tensorflow",
    "tf_keras",
    "keras",
    "tfx",
    "apache_beam",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "grpc",
}
# what each floor, or module, must work without
FORBIDDEN = {"cetnet_keras": TFX | {"tensorflow_serving"}, "serving": TFX, "pipeline": {"kfp"}}


def modules(floor: str) -> list[Path]:
    return sorted((ROOT / floor).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that a file imports, inside functions and by a name in a string too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def offences(floor: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(floor)
        for line, name in imports(path)
        if name.partition(".")[0] in forbidden
    ]


def reachable_from(module: str) -> set[str]:
    """`module` and all that it imports, directly or through other modules of ours."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        waiting += [name.rpartition(".")[0]] if "." in name else []  # a package's __init__.py runs too
        path = ROOT.joinpath(*name.split("."))
        files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()]
        waiting += [found for file in files for _, found in imports(file)]
    return reached


@pytest.mark.parametrize("floor", FLOORS[:-1])
def test_a_floor_imports_no_floor_above_it(floor: str) -> None:
    assert modules(floor), f"{floor} has moved: this test would pass on nothing"
    assert offences(floor, set(FLOORS[FLOORS.index(floor) + 1 :])) == []


@pytest.mark.parametrize("floor", FORBIDDEN)
def test_a_floor_works_without_what_belongs_above_it(floor: str) -> None:
    assert offences(floor, FORBIDDEN[floor]) == []


def test_the_walk_sees_every_form_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "serving").mkdir()
    source = (
        "import tfx.v1 as tfx\n"
        "from pipeline import run\n"
        "def f():\n"
        "    from apache_beam.io import x\n"
        "    return importlib.import_module('kfp.dsl')\n"
        "from . import status\n"
        "from .rest import answer\n"
    )
    (tmp_path / "serving" / "server.py").write_text(source)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    found = sorted(imports(tmp_path / "serving" / "server.py"))
    names = ["tfx.v1", "pipeline.run", "apache_beam.io.x", "kfp.dsl", "serving.status", "serving.rest.answer"]
    assert [name for _, name in found] == names


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh process has after `code`."""
    report = "import sys; print('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "call",
    [
        ["--help"],
        ["spec", "--help"],
        ["serve", "--help"],
        ["run", "--help"],
        ["doctor", "--help"],
        ["kubeflow", "compile", "--help"],
    ],
)
def test_help_loads_nothing_heavy(call: list[str]) -> None:
    code = f"from cetnet_keras.cli import main\nmain({call}, standalone_mode=False)"
    assert loaded_by(code) & HEAVY == set()


def test_the_library_loads_nothing_heavy_until_it_is_used() -> None:
    assert loaded_by("import cetnet_keras") & HEAVY == set()


def test_the_client_loads_neither_tensorflow_nor_the_model() -> None:
    loaded = loaded_by("import serving.client")
    assert loaded & {"tensorflow", "tf_keras", "keras", "tensorflow_serving", "pydantic", "tfx"} == set()


def test_the_client_reaches_neither_tensorflow_nor_the_model_in_any_function() -> None:
    reached = reachable_from("serving.client")
    assert "serving.client" in reached and "httpx" in reached, "the walk has lost its way"
    assert {name for name in reached if name.partition(".")[0] in {"tensorflow", "tf_keras", "tfx"}} == set()
    ours = {name for name in reached if name.startswith("cetnet_keras.")}
    assert {name for name in ours if not name.startswith("cetnet_keras.errors")} == set()
