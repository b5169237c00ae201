"""What has to be settled before a test imports TensorFlow, and the order of the tests: fast floors first."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors alone: TensorFlow tells every process of its CPU

import cetnet_keras  # noqa: F401  # sets TF_USE_LEGACY_KERAS

settings.register_profile(
    "cetnet", deadline=None
)  # the first call of a TensorFlow function traces for seconds
settings.load_profile("cetnet")

FOLDERS = ["cetnet_keras", "serving", "pipeline", "recipes", "kubeflow"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Lets tests/serving ask a stock server what it asks ours."""
    parser.addoption("--engine", choices=["local", "tf-serving"], default="local", help="server to test")


@pytest.hookimpl(tryfirst=True)  # xdist, which reads the groups, has the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by folder, lowest floor first and the rest last, and groups what goes to one worker.

    A group is a file; the tests that need the first run of the pipeline are one group, so that it is made once.
    """
    items.sort(key=_place)
    for item in items:
        needs_run = "first_run" in getattr(item, "fixturenames", ())
        group = "first_run" if needs_run else str(_file(item).with_suffix(""))
        item.add_marker(pytest.mark.xdist_group(group))


def _file(item: pytest.Item) -> Path:
    return item.path.relative_to(Path(__file__).parent)


def _place(item: pytest.Item) -> int:
    folder = _file(item).parts[0]
    return FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
