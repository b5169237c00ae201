"""`cetnet serve --describe`: what it prints can be pasted into a shell, and the server answers it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cetnet_keras.errors import InputError
from serving.describe import describe_model
from serving.model import Model
from serving.saved_model_file import read_signatures, read_warmup
from serving.server import ModelServer
from serving.warmup import write_warmup

QUOTED = 'it\'s "a" \x00$HOME `b` \\ \u00e9\n'
ROW = {"user": np.array([QUOTED, "b"]), "item": np.int64([7, 8]), "price": np.float32([np.nan, 1])}


@pytest.fixture
def warm_path(base_path: Path) -> Path:
    """A base path with warm-up requests for some of the signatures."""
    write_warmup(
        base_path / "1",
        [
            ("", ROW),
            ("rank", {"user": np.array(["ab"]), "item": np.int64([[1] * 100])}),
            ("rank", {"user": np.array(["ab"]), "item": np.int64([[1, -2, 3]])}),
            ("product", {"x": np.float32([[1, 2], [3, 4]])}),
            ("texts", {"text": np.array([b"\xff"], object)}),
        ],
    )
    return base_path


def described(*arguments: str) -> dict[str, str]:
    """What `cetnet serve --describe` prints, by signature."""
    command = [str(Path(sys.executable).with_name("cetnet")), "serve", "--describe", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, *parts = done.stdout.split("\n\n")
    return {part.partition("\n")[0]: part for part in parts}


def test_every_command_can_be_pasted_and_is_answered(warm_path: Path) -> None:
    with ModelServer(warm_path, "my clicks", rest_port=0, grpc_port=0) as server:
        found = described(
            str(warm_path), "--name", "my clicks", "--rest-port", server.rest_target.split(":")[1]
        )
        answers = {}
        for key, text in found.items():
            if "\ncurl " in text:
                command = text[text.index("\ncurl ") + 1 :].strip()
                assert "\n" not in command
                pasted = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
                answers[key] = json.loads(pasted.stdout)
    assert {key for key, answer in answers.items() if list(answer) != ["outputs"]} == set()
    assert found.keys() - answers.keys() == {"echo_half", "halves"}
    ctr = 1 / (1 + np.exp(-(len(QUOTED.encode()) + 0.07)))
    np.testing.assert_allclose(answers["serving_default"]["outputs"], [ctr], rtol=1e-6)
    ranked = 1 / (1 + np.exp(-(2 + np.array([[1.0, -2, 3]]))))
    np.testing.assert_allclose(answers["rank"]["outputs"], ranked, rtol=1e-6)
    assert answers["texts"]["outputs"]["text_bytes"] == [{"b64": "/w=="}]
    assert answers["product"]["outputs"] == [[5.0]]  # the first row alone
    assert answers["look_up"]["outputs"] == [0]


def test_signatures_are_listed_with_types_and_shapes(warm_path: Path) -> None:
    found = described(str(warm_path))
    assert "__saved_model_init_op" not in found
    lines = [line.split() for line in found["rank"].splitlines()[2:5]]
    assert lines == [
        ["takes", "item", "int64", "[-1,-1]"],
        ["takes", "user", "string", "[-1]"],
        ["gives", "ctr", "float", "[-1,-1]"],
    ]
    assert "takes  x     half   any" in found["echo_half"]
    assert "# REST has no half: ask over gRPC" in found["echo_half"]
    assert "# values made up by type" in found["look_up"] and "made up" not in found["rank"]
    assert "http://127.0.0.1:8501/v1/models/clicks:predict" in found["rank"]


def test_describing_loads_no_tensorflow(warm_path: Path) -> None:
    program = f"""
import pathlib, sys
from serving.describe import describe_model
describe_model(pathlib.Path({str(warm_path)!r}), None, "0.0.0.0", 80)
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and "http://localhost:80/v1/models/clicks:predict" in done.stdout, done.stderr


def test_the_files_say_what_tensorflow_says(warm_path: Path) -> None:
    model = Model(warm_path / "1")
    assert read_signatures(warm_path / "1") == model.metadata().signatures
    model.close()
    warmup = read_warmup(warm_path / "1")
    assert sorted(warmup) == ["product", "rank", "serving_default", "texts"]
    assert warmup["serving_default"]["user"].tolist() == [QUOTED.encode(), b"b"]
    np.testing.assert_array_equal(warmup["serving_default"]["price"], ROW["price"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("saved_model.pb", b"\xff\xff", "saved_model.pb: is damaged .*; export or copy the model again"),
        ("saved_model.pb", b"", "saved_model.pb: found no graph with the tag `serve`"),
        ("assets.extra/tf_serving_warmup_requests", b"\x05", "warmup_requests: the file is cut off"),
        ("assets.extra/tf_serving_warmup_requests", b"\x05" + b"\0" * 14, "the file is cut off"),
        (
            "assets.extra/tf_serving_warmup_requests",
            b"\x02" + b"\0" * 11 + b"\xff\xff\0\0\0\0",
            "warmup_requests: is damaged",
        ),
    ],
)
def test_damaged_files_are_one_error(warm_path: Path, file: str, content: bytes, message: str) -> None:
    (warm_path / "1" / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        describe_model(warm_path, None, "127.0.0.1", 8501)


def test_a_folder_without_a_model_is_one_error(base_path: Path) -> None:
    shutil.rmtree(base_path / "1")
    with pytest.raises(InputError, match="found no version in it"):
        describe_model(base_path, None, "127.0.0.1", 8501)
