"""Load on a server: one request after another, or requests that come when they come, whatever the server does."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

Send = Callable[[], object]
"""Sends one request and waits for its answer; an answer that is no prediction raises."""
Columns = Mapping[str, np.ndarray]


class Load(NamedTuple):
    """What came of a load."""

    latency_ms: np.ndarray  # [requests], of those that were answered
    failures: list[str]
    seconds: float

    def figures(self, candidates: int) -> dict[str, float]:
        """p50, p99 and p99.9 in milliseconds, requests and candidates a second, failures."""
        p50, p99, p999 = np.quantile(self.latency_ms, (0.5, 0.99, 0.999))
        rate = len(self.latency_ms) / self.seconds
        return {
            "p50_ms": round(float(p50), 3),
            "p99_ms": round(float(p99), 3),
            "p99.9_ms": round(float(p999), 3),
            "requests_per_s": round(rate, 1),
            "candidates_per_s": round(rate * candidates),
            "requests": len(self.latency_ms),
            "failures": len(self.failures),
        }


def closed_loop(make_send: Callable[[], Send], workers: int, seconds: float) -> Load:
    """Each worker sends its next request when it has the answer to the last: a server that stalls is asked less."""
    end = time.perf_counter() + seconds
    return _together(make_send, workers, lambda: time.perf_counter() if time.perf_counter() < end else None)


def open_loop(
    make_send: Callable[[], Send], workers: int, rate: float, seconds: float, seed: int = 0
) -> Load:
    """Requests come by a Poisson process, and latency counts from when each was due.

    So a stall shows in all requests that were due in its time ("coordinated omission" leaves them out), as long as there
    are workers enough; those that none was free for wait, and that counts too.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
    due = iter((time.perf_counter() + np.cumsum(gaps)).tolist())
    lock = threading.Lock()

    def next_due() -> float | None:
        with lock:
            at = next(due, None)
        if at is not None:
            time.sleep(max(0.0, at - time.perf_counter()))
        return at

    return _together(make_send, workers, next_due)


def _together(make_send: Callable[[], Send], workers: int, next_start: Callable[[], float | None]) -> Load:
    """Runs workers until there is no next request; `next_start` waits for it and tells since when its time counts."""
    latency: list[float] = []
    failures: list[str] = []

    def work() -> None:
        send = make_send()
        while (start := next_start()) is not None:
            try:
                send()
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")
            else:
                latency.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(np.array(latency) * 1000, failures, time.perf_counter() - began)


def grpc_sender(target: str, name: str, signature: str, inputs: Columns) -> Callable[[], Send]:
    """Makes senders of one request over gRPC; its bytes are made once, so that the client costs little."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    body = request.SerializeToString()

    def make() -> Send:
        # a channel of its own each: channels of one target would share a connection
        channel = grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        return lambda: _expect(b"ctr" in call(body, timeout=30), "no ctr in the answer")

    return make


def rest_sender(target: str, name: str, signature: str, inputs: Columns) -> Callable[[], Send]:
    """Makes senders of one request over REST, each with a connection that stays open."""
    columns = {key: _plain(value) for key, value in inputs.items()}
    body = json.dumps({"signature_name": signature, "inputs": columns}).encode()

    def make() -> Send:
        connection = http.client.HTTPConnection(target, timeout=30)

        def send() -> None:
            connection.request("POST", f"/v1/models/{name}:predict", body)
            answer = connection.getresponse()
            text = answer.read()
            _expect(answer.status == 200, text.decode("utf-8", "replace"))

        return send

    return make


def _expect(met: bool, reason: str) -> None:
    if not met:
        raise ValueError(reason)


def _plain(value: np.ndarray) -> Any:
    if value.dtype == np.object_:
        return np.vectorize(lambda text: text.decode() if isinstance(text, bytes) else text, otypes=[object])(
            value
        ).tolist()
    return value.tolist()
