"""The server as a process: it says when it is ready, what it cannot do, and goes when it is told to."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from cetnet_keras.errors import InputError, WorkFailed
from serving.client import GrpcClient, RestClient
from serving.server import ModelServer
from serving.status import StatusError

READY = re.compile(r"ready: (\S+) version (\d+)  REST http://(\S+)  gRPC (\S+)\n")


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """`cetnet serve` with these arguments, once it printed its line."""
    command = [str(Path(sys.executable).with_name("cetnet")), "serve", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        ready = READY.fullmatch(line)
        assert ready, line + process.stderr.read()
        yield process, ready
    finally:
        process.kill()
        process.communicate()


def test_the_command_serves_swaps_and_ends_on_sigterm(base_path: Path, biased_model: Path) -> None:
    ports = ["--rest-port", "0", "--grpc-port", "0"]
    with started(str(base_path), *ports, "--name", "mine") as (process, ready):
        assert (ready[1], ready[2]) == ("mine", "1")
        row = {"user": ["abc"], "item": [0], "price": [0.0]}
        before = RestClient(ready[3], "mine").predict(row)["ctr"].item()
        shutil.copytree(biased_model, base_path / "tmp")
        (base_path / "tmp").rename(base_path / "2")
        assert process.stdout is not None
        assert process.stdout.readline() == "version 2 of mine is loaded\n"
        assert process.stdout.readline() == "version 1 of mine is unloaded\n"
        assert GrpcClient(ready[4], "mine").predict(row)["ctr"].item() > before
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://{ready[3]}/v1/models/mine", timeout=30)
        assert process.stderr is not None and process.stderr.read() == ""


def test_a_console_that_is_gone_does_not_end_the_swaps(base_path: Path, biased_model: Path) -> None:
    with started(str(base_path), "--rest-port", "0", "--grpc-port", "0") as (process, ready):
        assert process.stdout is not None
        process.stdout.close()  # as `cetnet serve | head -1` does
        client, waiting = GrpcClient(ready[4], "clicks"), threading.Event()
        for number in (2, 3):
            shutil.copytree(biased_model, base_path / "tmp")
            (base_path / "tmp").rename(base_path / str(number))
            while client.metadata().version < number:
                assert process.poll() is None and not waiting.wait(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_sigterm_ends_it_while_the_first_version_loads(base_path: Path) -> None:
    (data,) = (base_path / "1" / "variables").glob("*.data-*")
    data.unlink()
    os.mkfifo(data)
    command = [str(Path(sys.executable).with_name("cetnet")), "serve", str(base_path), "--rest-port", "0"]
    with subprocess.Popen([*command, "--grpc-port", "0"], stdout=subprocess.PIPE) as process:
        with open(data, "wb"):  # it has begun to load
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


def test_the_name_is_the_folders_and_ctrl_c_ends_it(base_path: Path) -> None:
    with started(str(base_path), "--rest-port", "0", "--grpc-port", "0") as (process, ready):
        assert ready[1] == "clicks"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_taken_port_is_one_error_that_names_it(base_path: Path, protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"rest_port": 0, "grpc_port": 0, f"{protocol}_port": port}
        message = rf"127\.0\.0\.1:{port}: .*in use; name another port with --{protocol}-port"
        with pytest.raises(WorkFailed, match=message):
            ModelServer(base_path, **ports).start()


def test_a_port_that_another_server_has_is_taken(server: ModelServer, base_path: Path) -> None:
    port = int(server.grpc_target.rpartition(":")[2])
    with pytest.raises(WorkFailed, match="name another port with --grpc-port"):
        ModelServer(base_path, rest_port=0, grpc_port=port).start()


def test_an_address_that_is_not_here_is_one_error(base_path: Path) -> None:
    with pytest.raises(WorkFailed, match=r"192\.0\.2\.1:0: .*name another port"):
        ModelServer(base_path, host="192.0.2.1", rest_port=0, grpc_port=0).start()


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_versions_is_one_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{tmp_path / folder}: (no such folder|found no version in it)"):
        ModelServer(tmp_path / folder).start()


def test_a_version_that_does_not_load_leaves_the_ports_free(base_path: Path) -> None:
    (base_path / "2").mkdir()
    server = ModelServer(base_path, rest_port=0, grpc_port=0)
    with pytest.raises(WorkFailed, match="version 2 of model clicks does not load"):
        server.start()
    for target in (server.rest_target, server.grpc_target):
        host, port = target.split(":")
        socket.create_server((host, int(port))).close()


def test_connections_are_refused_until_a_version_is_loaded(base_path: Path) -> None:
    (data,) = (base_path / "1" / "variables").glob("*.data-*")
    data.unlink()
    os.mkfifo(data)  # holds up who opens it until somebody opens its other end
    server = ModelServer(base_path, rest_port=0, grpc_port=0)
    with ThreadPoolExecutor() as pool:
        start = pool.submit(server.start)
        while not is_loading(server):
            assert not start.done(), start.exception()
        for target in (server.rest_target, server.grpc_target):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(target.split(":"), timeout=30)
        assert is_loading(server)
        data.open("wb").close()
        with pytest.raises(WorkFailed, match="version 1 of model clicks does not load"):
            start.result(60)


def is_loading(server: ModelServer) -> bool:
    try:
        return server.versions.statuses("clicks")[0].state == "LOADING"
    except StatusError:  # nothing was looked at yet
        return False


def test_both_addresses_of_ipv6_are_in_brackets(base_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with ModelServer(base_path, host="::1", rest_port=0, grpc_port=0) as server:
        assert server.rest_target.startswith("[::1]:")
        for client in (RestClient(server.rest_target, "clicks"), GrpcClient(server.grpc_target, "clicks")):
            assert client.metadata().version == 1
            client.close()
