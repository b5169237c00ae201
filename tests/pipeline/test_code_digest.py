"""The digest that artifacts are cached by changes with every line of code that makes them."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from cetnet_keras.spec import MemberSpec
from pipeline import code_digest as installed


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The source of our packages, copied to another place."""
    root = Path(installed.__file__).parent.parent
    for package in ("cetnet_keras", "serving", "pipeline"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def digest(copy: Path) -> Callable[..., str]:
    """`code_digest` as the copy has it."""
    spec = importlib.util.spec_from_file_location("copied_code_digest", copy / "pipeline" / "code_digest.py")
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., str] = module.code_digest
    return found


def test_the_place_of_the_code_is_not_part_of_it(digest: Callable[..., str]) -> None:
    assert digest() == installed.code_digest() and len(digest()) == 64


@pytest.mark.parametrize(
    "path", ["cetnet_keras/fusion.py", "serving/signatures.py", "pipeline/ingest/rows.py"]
)
def test_a_changed_line_changes_it(copy: Path, digest: Callable[..., str], path: str) -> None:
    before = digest()
    with (copy / path).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert digest() != before


def test_a_new_and_a_moved_file_change_it(copy: Path, digest: Callable[..., str]) -> None:
    found = [digest()]
    (copy / "pipeline" / "more.py").write_text("", encoding="utf-8")
    found.append(digest())
    (copy / "pipeline" / "more.py").rename(copy / "serving" / "more.py")
    found.append(digest())
    assert len(set(found)) == 3


def test_the_modules_of_a_users_own_members_are_part_of_it(
    tmp_path: Path, digest: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "members_of_a_user.py"
    module.write_text("A = 1\n", encoding="utf-8")
    own = [MemberSpec(type="members_of_a_user:Mine")]
    before = digest(own)
    assert before != digest() == digest([MemberSpec(type="dhen")])
    module.write_text("A = 2\n", encoding="utf-8")
    assert digest(own) != before


def test_all_of_the_package_that_a_users_member_is_in_is_part_of_it(
    tmp_path: Path, digest: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "package_of_a_user"
    (folder / "layers").mkdir(parents=True)
    helpers = [folder / "__init__.py", folder / "helper.py", folder / "layers" / "gate.py"]
    for path in (folder / "members.py", *helpers):
        path.touch()
    own = [MemberSpec(type="package_of_a_user.members:Mine")]
    found = [digest(own)]
    for path in helpers:
        path.write_text("A = 2\n", encoding="utf-8")
        found.append(digest(own))
    assert len(set(found)) == 4


def test_the_modules_beside_a_users_own_that_it_imports_are_part_of_it(
    tmp_path: Path, digest: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    sources = {
        "lone_members": "import os\n\ndef f():\n    import lone_helper as h\n",
        "lone_helper": "from lone_base import A\n",
        "lone_base": "import lone_members\nA = 1\n",
        "lone_other": "",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    own = [MemberSpec(type="lone_members:Mine")]
    found = [digest(own)]
    for name in ("lone_helper", "lone_base"):
        with (tmp_path / f"{name}.py").open("a", encoding="utf-8") as file:
            file.write("B = 2\n")
        found.append(digest(own))
    assert len(set(found)) == 3
    (tmp_path / "lone_other.py").write_text("B = 2\n", encoding="utf-8")
    assert digest(own) == found[-1]
