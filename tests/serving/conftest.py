"""Small real SavedModels, a server on free ports, and stock clients for it."""

import asyncio
import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import grpc
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.blocking import settled
from serving.client import AsyncClient
from serving.server import ModelServer
from serving.stock_server import BINARY, StockServer

FLOATS, UNSIGNED = ["float", "double", "half"], ["uint8", "uint32", "uint64"]
ECHOED = [*FLOATS, *UNSIGNED, "int8", "int16", "int32", "int64", "bool", "string"]
TYPES = {"float": tf.float32, "double": tf.float64, "half": tf.float16}
MEMBERS = ["din", "mlp"]


class ClickModel(tf.Module):
    """ctr = sigmoid(bias + price / 10 + length of user + item / 100), a missing price is 0; two members."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.bias = tf.Variable(bias)
        keys = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
        self.vocabulary = tf.lookup.StaticHashTable(keys, 0)

    def logit(self, user: tf.Tensor, price: tf.Tensor) -> tf.Tensor:
        price = tf.where(tf.math.is_nan(price), 0.0, price)
        return self.bias + price / 10 + tf.cast(tf.strings.length(user), tf.float32)

    def serve(self, user: tf.Tensor, item: tf.Tensor, price: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"ctr": tf.sigmoid(self.logit(user, price) + 0.01 * tf.cast(item, tf.float32))}

    def explain(self, user: tf.Tensor, item: tf.Tensor, price: tf.Tensor) -> dict[str, tf.Tensor]:
        ctr = self.serve(user, item, price)["ctr"]
        member_ctr = tf.stack([ctr / 2, (1 + ctr) / 2], axis=1)
        weight = tf.stack([ctr, 1 - ctr], axis=1)
        return {
            "ctr": ctr,
            "member_ctr": member_ctr,
            "fusion_weight": weight,
            "confidence": tf.math.log(weight),
        }

    def explain_by_name(self, user: tf.Tensor, item: tf.Tensor, price: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self.explain(user, item, price)
        named = {f"ctr_{name}": outputs["member_ctr"][:, index] for index, name in enumerate(MEMBERS)}
        return outputs | named

    def rank(self, user: tf.Tensor, item: tf.Tensor) -> dict[str, tf.Tensor]:
        price = tf.zeros(tf.shape(user))
        return {"ctr": tf.sigmoid(self.logit(user, price)[:, None] + tf.cast(item, tf.float32))}

    def look_up(self, key: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"id": self.vocabulary.lookup(key)}

    def texts(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"upper": tf.strings.upper(text), "text_bytes": text}

    def product(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(x, tf.constant([[1.0], [2.0]]))}

    def uneven(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"a": x, "b": tf.concat([x, x], axis=0)}

    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(x)}

    def halves(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"half": tf.cast(x, tf.float16)}

    def count_to(self, n: tf.Tensor) -> dict[str, tf.Tensor]:
        (count,) = tf.while_loop(lambda i: i < n, lambda i: (i + 1,), [tf.constant(0, tf.int64)])
        return {"count": count}


def _spec(dtype: tf.DType, name: str, *shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


def save_click_model(path: Path, bias: float = 0.0) -> Path:
    """Writes a ClickModel with all its signatures and one `echo_<type>` for each type."""
    model = ClickModel(bias)
    row = [_spec(tf.string, "user", None), _spec(tf.int64, "item", None), _spec(tf.float32, "price", None)]
    numbers = [_spec(tf.float32, "x", None)]
    inputs: dict[str, tuple[Callable[..., Any], list[tf.TensorSpec]]] = {
        "serving_default": (model.serve, row),
        "explain": (model.explain, row),
        "explain_by_name": (model.explain_by_name, row),
        "rank": (model.rank, [_spec(tf.string, "user", None), _spec(tf.int64, "item", None, None)]),
        "look_up": (model.look_up, [_spec(tf.string, "key", None)]),
        "texts": (model.texts, [_spec(tf.string, "text", None)]),
        "product": (model.product, [_spec(tf.float32, "x", None, None)]),
        "uneven": (model.uneven, numbers),
        "total": (model.total, numbers),
        "halves": (model.halves, numbers),
        "count_to": (model.count_to, [_spec(tf.int64, "n")]),
    }
    for name in ECHOED:
        dtype = TYPES.get(name) or tf.as_dtype(name)
        inputs[f"echo_{name}"] = (lambda x: {"y": tf.identity(x)}, [tf.TensorSpec(None, dtype, "x")])
    signatures = {
        key: tf.function(function, input_signature=specs).get_concrete_function()
        for key, (function, specs) in inputs.items()
    }
    tf.saved_model.save(model, str(path), signatures=signatures)
    return path


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel whose bias is 0."""
    return save_click_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="session")
def biased_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a bias of 1, so that an answer tells which of both gave it."""
    return save_click_model(tmp_path_factory.mktemp("saved") / "biased", bias=1.0)


@pytest.fixture
def base_path(tmp_path: Path, saved_model: Path) -> Path:
    """A base path `clicks` with version 1."""
    shutil.copytree(saved_model, tmp_path / "clicks" / "1")
    return tmp_path / "clicks"


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, saved_model: Path
) -> Iterator[ModelServer | StockServer]:
    """Serves the model as version 3 of `clicks`, on free ports; --engine says which server does it."""
    base = tmp_path_factory.mktemp("served") / "clicks"
    shutil.copytree(saved_model, base / "3")
    kind: type[ModelServer] | type[StockServer] = ModelServer
    if request.config.getoption("engine") == "tf-serving":
        if shutil.which(BINARY) is None:
            pytest.skip(f"{BINARY} is not on PATH")
        kind = StockServer
    with kind(base, rest_port=0, grpc_port=0) as running:
        yield running


@pytest.fixture(autouse=True)
def engine_has_it(request: pytest.FixtureRequest) -> None:
    """Leaves out what a stock server does otherwise, or has not."""
    mark = request.node.get_closest_marker("local")
    if mark and request.config.getoption("engine") != "local":
        pytest.skip(f"our server alone: {mark.args[0]}")


class RestAnswer(NamedTuple):
    """Status, parsed JSON (None without a body) and headers."""

    status: int
    json: Any
    headers: Any


@pytest.fixture(scope="session")
def rest(server: ModelServer) -> Iterator[Callable[..., RestAnswer]]:
    """Sends `METHOD path` to the server; a body is bytes, text, or an object to write as JSON."""
    session = requests.Session()

    def send(method: str, path: str, body: Any = None, **options: Any) -> RestAnswer:
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        response = session.request(method, f"http://{server.rest_target}{path}", data=data, **options)
        return RestAnswer(response.status_code, json.loads(response.text or "null"), response.headers)

    with session:
        yield send


@pytest.fixture(scope="session")
def predict(rest: Callable[..., RestAnswer]) -> Callable[..., RestAnswer]:
    """POSTs a body to the model's :predict."""
    return lambda body: rest("POST", "/v1/models/clicks:predict", body)


@pytest.fixture(scope="session")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    """A stock channel to the server."""
    with grpc.insecure_channel(server.grpc_target) as opened:
        yield opened


@pytest.fixture(scope="session")
def prediction_stub(channel: grpc.Channel) -> Any:
    """The stock stub of PredictionService."""
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def model_stub(channel: grpc.Channel) -> Any:
    """The stock stub of ModelService."""
    return model_service_pb2_grpc.ModelServiceStub(channel)


class Awaited:
    """An asynchronous client whose calls are waited for, in an event loop of its own: one test fits both kinds."""

    def __init__(self, make: Callable[[], Any]) -> None:
        async def made() -> Any:
            return await settled(make())

        self._loop = asyncio.new_event_loop()
        self.client = self._loop.run_until_complete(made())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        if not callable(found):
            return found
        return lambda *inputs, **options: self._loop.run_until_complete(found(*inputs, **options))

    def close(self) -> None:
        self._loop.run_until_complete(self.client.close())
        self._loop.close()


@pytest.fixture
def open_client() -> Iterator[Callable[..., Any]]:
    """Makes a client of a kind, or by `connect` or `connect_async`, and closes it in the end."""
    with ExitStack() as stack:

        def made(kind: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
            waits = inspect.iscoroutinefunction(kind) or (
                isinstance(kind, type) and issubclass(kind, AsyncClient)
            )
            client = Awaited(lambda: kind(*inputs, **options)) if waits else kind(*inputs, **options)
            stack.callback(client.close)
            return client

        yield made
