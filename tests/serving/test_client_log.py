"""What a client's calls of several requests leave in its prediction log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras.errors import InputError
from serving.client import AsyncClient, Client
from serving.metadata import Prediction
from serving.prediction_log import PredictionLog, read_prediction_log
from serving.rest_client import RestBackend
from serving.server import ModelServer


class OfCities(tf.Module):
    """A version that takes other inputs."""

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "user"), tf.TensorSpec([None], tf.string, "city")]
    )
    def serve(self, user: Any, city: Any) -> Any:
        return {"ctr": tf.sigmoid(tf.cast(tf.strings.length(user) - tf.strings.length(city), tf.float32))}


class Interrupted(RestBackend):
    """Calls `swap` once, when the first prediction is there."""

    swap: Callable[[], None] | None

    async def predict(self, *inputs: Any) -> Prediction:
        found = await super().predict(*inputs)
        if self.swap is not None:
            self.swap()
            self.swap = None
        return found


@pytest.mark.parametrize("blocking", [True, False])
def test_a_swap_in_the_middle_of_a_call_logs_its_rows_once(
    blocking: bool, base_path: Path, tmp_path: Path, open_client: Callable[..., Any]
) -> None:
    def swap() -> None:
        model = OfCities()
        tf.saved_model.save(model, str(tmp_path / "2"), signatures={"serving_default": model.serve})
        (tmp_path / "2").rename(base_path / "2")
        server.versions.poll()

    rows = [{"user": name, "city": "x", "item": 1, "price": 0.5} for name in ("a", "bc", "def")]
    log = PredictionLog(tmp_path / "log")
    with log, ModelServer(base_path, rest_port=0, grpc_port=0, poll_seconds=3600) as server:
        backend = Interrupted(server.rest_target, "clicks", None, blocking)
        backend.swap = swap
        kind, options = (Client, {}) if blocking else (AsyncClient, {"in_flight": 1})
        client = open_client(kind, backend, log=log, **options)
        client.metadata()  # of the version that will go
        ctr = client.predict(rows, batch_size=1)["ctr"]
        with pytest.raises(InputError, match="row 2"):
            client.predict([rows[0], rows[0] | {"user": 7}], batch_size=1)
    table = read_prediction_log(tmp_path / "log", "serving_default").to_table()
    assert table["input/user"].to_pylist() == ["a", "bc", "def"]
    assert table["input/city"].to_pylist() == ["x"] * 3 and "input/item" not in table.column_names
    np.testing.assert_array_equal(np.float32(table["output/ctr"].to_pylist()), ctr)
