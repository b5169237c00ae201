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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by folder, lowest floor first and the rest last; within a folder the order stays.

    What waits for a whole run of a recipe comes last of all: the run goes beside the folders after the recipes'.
    """
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if "whole_run" in getattr(item, "fixturenames", ()):
        return len(FOLDERS) + 1
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
