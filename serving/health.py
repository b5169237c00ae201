"""grpc.health.v1: tells a load balancer or a probe whether the server has a model to answer with."""

from typing import Any

from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

_SERVICES = (
    "",
    "ModelService",
    "PredictionService",
)  # a stock server's names: without a package, "" is the whole


class Health:
    """The stock health service under TensorFlow Serving's names; NOT_SERVING until it is told otherwise."""

    def __init__(self) -> None:
        self._servicer, self._available = HealthServicer(), True
        self.set_available(False)

    def add_to(self, server: Any) -> None:
        """Registers the service with a gRPC server that is not started."""
        add_HealthServicer_to_server(self._servicer, server)

    def set_available(self, available: bool) -> None:
        """SERVING or NOT_SERVING; those who watch are told if it changes."""
        if available != self._available:
            self._available = available
            status = HealthCheckResponse.SERVING if available else HealthCheckResponse.NOT_SERVING
            for service in _SERVICES:
                self._servicer.set(service, status)

    def shut_down(self) -> None:
        """NOT_SERVING from here on, whatever comes."""
        self._servicer.enter_graceful_shutdown()
