"""The public names of the library, and that importing it is light."""

import subprocess
import sys

import pytest

import cetnet_keras

PUBLIC = [
    "CETNet",
    "Calibration",
    "CollaborationSpec",
    "ConfidenceWeight",
    "DataSpec",
    "EmbeddedFeatures",
    "FeatureEmbedding",
    "Fusion",
    "FusionSpec",
    "LazyAdam",
    "Member",
    "MemberOutput",
    "MemberSpec",
    "ModelSpec",
    "RowWiseAdagrad",
    "WeightAverage",
    "group_auc",
    "load_data_spec",
    "load_model_spec",
    "one_member",
    "register_member",
    "replace_by_oov",
    "symmetric_kl",
]


def test_the_public_names_are_these() -> None:
    assert sorted(cetnet_keras.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_loads(name: str) -> None:
    assert getattr(cetnet_keras, name).__name__ == name
    assert name in dir(cetnet_keras)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cetnet_keras' has no attribute 'CETnet'"):
        cetnet_keras.CETnet  # noqa: B018


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_importing_the_package_imports_nothing_heavy_and_chooses_keras_2() -> None:
    program = (
        "import sys, os, cetnet_keras; "
        "print(*(name for name in ('tensorflow', 'numpy', 'pydantic') if name in sys.modules), "
        "os.environ['TF_USE_LEGACY_KERAS'])"
    )
    assert run(program).stdout.split() == ["1"]


def test_keras_3_is_refused_with_the_cure() -> None:
    refused = run("import cetnet_keras", TF_USE_LEGACY_KERAS="0")
    assert refused.returncode == 1
    assert "cetnet_keras needs Keras 2: set TF_USE_LEGACY_KERAS=1, or leave it unset" in refused.stderr
