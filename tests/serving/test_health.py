"""grpc.health.v1 under the stock client: SERVING while there is a version to answer with."""

import shutil
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from serving.server import ModelServer

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_a_server_with_a_version_is_serving(channel: grpc.Channel, service: str) -> None:
    assert HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=30).status == SERVING


def test_a_service_that_is_not_there_is_not_found(channel: grpc.Channel) -> None:
    request = HealthCheckRequest(service="tensorflow.serving.PredictionService")
    with pytest.raises(grpc.RpcError) as refused:
        HealthStub(channel).Check(request, timeout=30)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_who_watches_sees_the_versions_go_and_come_and_the_end(base_path: Path) -> None:
    server = ModelServer(base_path, rest_port=0, grpc_port=0, poll_seconds=0.05)
    server.start()
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(service="PredictionService"), timeout=120)
        assert next(watch).status == SERVING
        (base_path / "1").rename(base_path / "away")
        assert next(watch).status == NOT_SERVING
        assert stub.Check(HealthCheckRequest(), timeout=30).status == NOT_SERVING
        (base_path / "away").rename(base_path / "1")
        assert next(watch).status == SERVING
        shutil.copytree(base_path / "1", base_path / "tmp")
        (base_path / "tmp").rename(base_path / "2")  # a swap is not to be seen
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert next(watch).status == NOT_SERVING
        watch.cancel()
        stopping.join()
