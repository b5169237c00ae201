"""The client works where nothing but the extra `serving-client` is installed: no TensorFlow, no pandas."""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import serving
from serving.server import ModelServer

ROOT = Path(serving.__file__).parents[1]
CHECKS = """
from importlib.util import find_spec
absent = ["tensorflow", "tf_keras", "tfx", "pandas", "pyarrow", "requests", "uvicorn", "tensorflow_serving"]
assert not [name for name in absent if find_spec(name)]
"""
ASK = """
import asyncio
from serving.client import connect, connect_async
ROWS, ITEMS = [{"user": "ab", "item": 1, "price": None}] * 3, [{"item": 1}, {"item": None}]
async def ask():
    async with await connect_async(target) as client:
        return await client.predict(ROWS, batch_size=2), await client.rank({"user": "ab"}, ITEMS)
with connect(target) as client:
    both = (client.predict(ROWS), client.rank({"user": "ab"}, ITEMS)), asyncio.run(ask())
for answer, ranked in both:
    print(*(f"{ctr:.4f}" for ctr in (*answer["ctr"], *ranked)))
"""


def required(extra: str) -> set[str]:
    """The distributions that installing `cetnet[extra]` brings, those that they need included."""
    found: set[str] = set()
    waiting = [("cetnet", extra)]
    while waiting:
        name, wanted = waiting.pop()
        for requirement in map(Requirement, distribution(name).requires or []):
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": wanted})
            if needed and canonicalize_name(requirement.name) not in found:
                found.add(canonicalize_name(requirement.name))
                waiting += [(requirement.name, each) for each in (requirement.extras or {""})]
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with what the extra needs and the floors that the client stands on."""
    folder = tmp_path_factory.mktemp("bare")
    names = required("serving-client")
    assert {"grpcio", "httpx", "numpy", "protobuf"} <= names
    for name in sorted(names | {"cetnet"}):
        found = distribution(name)
        for file in found.files or []:
            if ".." in file.parts or (name == "cetnet" and not file.parts[0].endswith(".dist-info")):
                continue
            link = folder / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(str(found.locate_file(file)))
    for floor in ("cetnet_keras", "serving"):
        (folder / floor).symlink_to(ROOT / floor)
    return folder


def run(bare: Path, program: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program in an interpreter that sees the standard library and `bare` alone."""
    start = f"import sys\nsys.path.insert(0, {str(bare)!r})\n"
    command = [sys.executable, "-I", "-S", "-c", start + CHECKS + program]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_every_call_of_the_client_works_there(bare: Path, server: ModelServer, protocol: str) -> None:
    target = server.rest_target if protocol == "rest" else server.grpc_target
    done = run(bare, f"target = {target!r}\n{ASK}")
    line = "0.8818 0.8818 0.8818 0.9526 0.7311\n"  # sigmoid of 2.01, 3 and 1
    assert (done.stdout, done.returncode) == (line * 2, 0), done.stderr


def test_the_commands_work_there(bare: Path, server: ModelServer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("user,item,price\nab,1,\nab,2,\n")
    for arguments, wanted in (
        (["predict", str(rows)], "user,item,price,ctr\nab,1,,0.88"),
        (["rank", "--user", "user=ab", "--candidates", str(rows)], "user,item,price,ctr\nab,2,,0.98"),
    ):
        call = [*arguments, "--target", server.grpc_target]
        done = run(bare, f"from cetnet_keras.cli import main\nmain({call!r})")
        assert done.stdout.startswith(wanted) and (done.stderr, done.returncode) == ("", 0)


def test_parquet_there_says_what_to_install(bare: Path, tmp_path: Path) -> None:
    call = ["predict", str(tmp_path / "rows.parquet"), "--target", "a:1"]
    done = run(bare, f"from cetnet_keras.cli import main\nmain({call!r})")
    assert (done.returncode, done.stderr) == (
        2,
        "Error: Parquet files need pyarrow: pip install pyarrow; or give the rows as CSV\n",
    )
