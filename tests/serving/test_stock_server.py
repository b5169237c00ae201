"""`cetnet serve --engine tf-serving`: options, readiness, signals and exit code, with a stand-in on PATH.

The stand-in keeps the arguments that it is given and then is our own server, at the ports and with the model that
they name. What a stock server answers is asked by the other tests, under --engine tf-serving.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cetnet_keras.errors import InputError, WorkFailed
from serving.client import GrpcClient, RestClient
from serving.stock_server import StockServer

CETNET = str(Path(sys.executable).with_name("cetnet"))
STAND_IN = """#!{python}
import json, os, sys
flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
flags["monitoring"] = open(flags["monitoring_config_file"]).read()
with open({record!r}, "w") as file:
    json.dump(flags | {{"pid": os.getpid()}}, file)
ports = ["--rest-port", flags["rest_api_port"], "--grpc-port", flags["port"]]
os.execv({cetnet!r}, [{cetnet!r}, "serve", flags["model_base_path"], "--name", flags["model_name"], *ports])
"""

CHECKED = {"pid", "port", "rest_api_port", "model_base_path", "monitoring_config_file"}  # one by one


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Makes `tensorflow_model_server` of a script, the only one that is found."""
    folder.mkdir()
    binary = folder / "tensorflow_model_server"
    binary.write_text(script)
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the stand-in on PATH; where it keeps its flags and its process id."""
    path = tmp_path / "flags.json"
    script = STAND_IN.format(python=sys.executable, record=str(path), cetnet=CETNET)
    put_on_path(tmp_path / "bin", monkeypatch, script)
    return path


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """`cetnet serve --engine tf-serving` with these arguments, once it is ready."""
    command = [CETNET, "serve", "--engine", "tf-serving", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        ready = re.fullmatch(r"ready: (\S+) version (\d+)  REST http://(\S+)  gRPC (\S+)\n", line)
        assert ready, line + process.stderr.read()
        yield process, ready
    finally:
        process.terminate()
        process.communicate()


def test_flags_are_mapped_and_both_ports_answer_when_it_is_ready(base_path: Path, record: Path) -> None:
    log = record.with_name("log.txt")
    arguments = [os.path.relpath(base_path), "--name", "mine", "--rest-port", "0", "--grpc-port", "0"]
    with serving(*arguments, "--log", str(log)) as (process, ready):
        for client in (RestClient(ready[3], "mine"), GrpcClient(ready[4], "mine")):
            assert client.predict({"key": ["b"]}, "look_up")["id"].tolist() == [2]
            client.close()
        flags = json.loads(record.read_text())
        assert (ready[1], ready[2]) == ("mine", "1")
        assert (ready[3], ready[4]) == (f"127.0.0.1:{flags['rest_api_port']}", f"127.0.0.1:{flags['port']}")
        assert os.path.isabs(flags["model_base_path"]) and os.path.samefile(
            flags["model_base_path"], base_path
        )
        assert {key: flags[key] for key in flags.keys() - CHECKED} == {
            "enable_grpc_healthcheck_service": "true",
            "file_system_poll_wait_seconds": "1",
            "model_name": "mine",
            "monitoring": 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n',
        }
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "ready: mine version 1" in log.read_text()
        assert not Path(flags["monitoring_config_file"]).exists()
        with pytest.raises(ProcessLookupError):
            os.kill(flags["pid"], 0)


def test_the_exit_of_the_binary_is_passed_on(base_path: Path, record: Path) -> None:
    with serving(str(base_path), "--rest-port", "0", "--grpc-port", "0") as (process, _):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
        assert process.wait(60) == 128 + signal.SIGKILL


def test_a_binary_that_ends_before_it_is_ready_is_one_error(
    base_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "#!/bin/sh\necho noise\necho 'Failed to start server. Error: UNKNOWN: 1 servable(s)' >&2\nexit 3\n"
    )
    put_on_path(tmp_path / "bin", monkeypatch, script)
    message = r"ended with 3 before it was ready; it said last: Failed to start server\. Error: UNKNOWN"
    with pytest.raises(WorkFailed, match=message):
        StockServer(base_path, rest_port=0, grpc_port=0).start()


def test_a_port_that_is_taken_is_one_error(base_path: Path, record: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WorkFailed, match=f"0.0.0.0:{port}: .*name another port with --rest-port"):
            StockServer(base_path, rest_port=port, grpc_port=0).start()
    assert not record.exists()


def test_a_folder_without_versions_is_one_error(tmp_path: Path, record: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        StockServer(tmp_path / "missing").start()


def refusal(*arguments: str, **environment: str) -> tuple[int, str]:
    command = [CETNET, "serve", "--engine", "tf-serving", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stderr


def test_where_there_is_no_binary_the_error_names_the_image(base_path: Path) -> None:
    code, error = refusal(str(base_path), PATH=os.path.dirname(shutil.which("sh") or ""))
    assert code == 2
    assert error.startswith(
        "Error: tensorflow_model_server is not on PATH; install it, or run the Docker image"
    )
    assert "tensorflow/serving" in error


def test_an_address_is_refused(base_path: Path, record: Path) -> None:
    code, error = refusal(str(base_path), "--host", "127.0.0.1")
    assert code == 2 and error.startswith("Error: --host: a stock server listens on all addresses")
