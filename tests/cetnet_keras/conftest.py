"""What the tests of the library have in common: a small spec with every kind of feature, batches of it, the contract."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import cetnet_keras
from cetnet_keras.input_signature import input_signature

EVERY_KIND = {
    "user": {"type": "categorical"},
    "item": {"type": "categorical", "role": "candidate"},
    "tags": {"type": "bag", "separator": "|"},
    "age": {"type": "numeric"},
    "score": {"type": "numeric", "buckets": 3},
    "history": {"type": "sequence", "vocabulary": "item"},
    "time": {"type": "timestamp", "parts": ["weekend", "weekday"]},
    "look": {"type": "vector", "dimension": 3, "role": "candidate"},
    "item_text": {"type": "pretrained", "of": "item", "file": "text.npz", "dimension": 2, "trainable": True},
    "history_text": {
        "type": "pretrained",
        "of": "history",
        "file": "text.npz",
        "dimension": 2,
        "trainable": True,
    },
    "tag_text": {"type": "pretrained", "of": "tags", "file": "text.npz", "dimension": 2},
}
SIZES = {"user": 7, "item": 5, "tags": 4, "score": 4, "time": 9}
TINY_MEMBERS = (  # three kinds, as small as they go
    {"type": "din", "embedding_dim": 4, "hidden": [4], "attention_hidden": [3]},
    {"type": "dhen", "embedding_dim": 4, "hidden": [4], "layers": 1},
    {"type": "dcnv2", "embedding_dim": 4, "hidden": [4], "cross_layers": 1},
)


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module, by name and text, that Python finds until the test ends."""
    written = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def make_spec(features: Mapping[str, Any] = EVERY_KIND) -> cetnet_keras.DataSpec:
    return cetnet_keras.DataSpec.model_validate(
        {
            "name": "small",
            "label": "label",
            "splits": {"train": "train.csv", "eval": "eval.csv", "test": "test.csv"},
            "features": features,
        }
    )


def make_batch(
    spec: cetnet_keras.DataSpec, sizes: Mapping[str, int], rows: int = 3, steps: int = 4, seed: int = 0
) -> dict[str, np.ndarray]:
    """Ids of the whole range, padding among them, and numbers, some of them missing."""
    rng, batch = np.random.default_rng(seed), {}
    for key, entry in input_signature(spec).items():
        shape = [rows, *(size or steps for size in entry.shape[1:])]
        if entry.dtype == tf.int64:
            batch[key] = rng.integers(0, sizes[spec.owner(key)] + 1, shape)
        elif key in spec.features:
            batch[key] = rng.normal(size=shape).astype(np.float32)
        else:
            batch[key] = rng.integers(0, 2, shape).astype(np.float32)
    return batch


def randomise(layer: tf.Module, seed: int = 0) -> None:
    """Gives every weight a random value, biases included, so that a term that is left out shows."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0, 0.5, weight.shape) for weight in layer.get_weights()])


@tf.keras.utils.register_keras_serializable(package="tests")
class _Holder(tf.keras.Model):
    """A model of one layer, because Keras saves models only."""

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        is_layer = isinstance(layer, tf.keras.layers.Layer)
        self.layer = layer if is_layer else tf.keras.utils.deserialize_keras_object(layer)

    def call(self, inputs: list[Any]) -> Any:
        self.seen = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
        return self.layer(*inputs)

    def get_config(self) -> dict[str, Any]:
        return {"layer": tf.keras.utils.serialize_keras_object(self.layer)}

    def get_build_config(self) -> dict[str, Any]:
        def written(entry: tf.TensorSpec) -> str:
            return f"{entry.dtype.name} {json.dumps(entry.shape.as_list())}"

        return {"inputs": tf.nest.map_structure(written, self.seen)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        def zeros(entry: str) -> tf.Tensor:
            dtype, shape = entry.split(maxsplit=1)
            return tf.zeros(json.loads(shape), dtype)

        self(tf.nest.map_structure(zeros, config["inputs"]))


def _numbers(outputs: Any) -> list[np.ndarray]:
    return [np.asarray(output) for output in tf.nest.flatten(outputs) if output is not None]


def _specs_with_open_batch(inputs: list[Any]) -> list[Any]:
    return tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), inputs)


def assert_layer_contract(
    layer: Any, inputs: list[Any], folder: Path, float32_outputs: tuple[int, ...] = ()
) -> None:
    """Checks what holds for every layer of the library.

    Its config, through JSON, and the .keras format and a SavedModel give back a layer with the same outputs; the batch
    size may be unknown; a mixed policy of its own gives finite outputs, of which `float32_outputs` stay float32.
    """
    inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
    expected = _numbers(layer(*inputs))

    config = json.loads(json.dumps(layer.get_config()))
    twin = type(layer).from_config(config)
    twin(*inputs)
    twin.set_weights(layer.get_weights())
    assert json.loads(json.dumps(twin.get_config())) == config
    _assert_same(_numbers(twin(*inputs)), expected)

    holder = _Holder(layer)
    holder(inputs)
    holder.save(folder / "layer.keras")
    _assert_same(_numbers(tf.keras.models.load_model(folder / "layer.keras")(inputs)), expected)

    module = tf.Module()
    module.layer_variables = list(layer.variables)
    module.call = tf.function(lambda inputs: layer(*inputs), autograph=False)
    module.call.get_concrete_function(_specs_with_open_batch(inputs))
    tf.saved_model.save(module, str(folder / "saved_model"))
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    _assert_same(_numbers(loaded.call(inputs)), expected)
    one = tf.nest.map_structure(lambda x: x[:1], inputs)
    _assert_same(_numbers(loaded.call(one)), [output[:1] for output in expected])

    mixed = type(layer).from_config(config | {"name": "mixed", "dtype": "mixed_float16"})
    mixed(*inputs)
    mixed.set_weights(layer.get_weights())
    outputs = _numbers(mixed(*inputs))
    assert mixed.dtype_policy.name == "mixed_float16"
    for position, (output, full) in enumerate(zip(outputs, expected, strict=True)):
        assert np.isfinite(output).all()
        assert output.dtype == (np.float32 if position in float32_outputs else np.float16)
        np.testing.assert_allclose(output, full, rtol=0.02, atol=0.02)


def _assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="session", autouse=True)
def replica_training(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Path] | None]:
    """replica_training.py and where it puts what it finds; it starts first and runs beside the other tests."""
    wanted = any(item.path.name == "test_replicas.py" for item in request.session.items)
    if not wanted:
        yield None
        return
    program = Path(__file__).with_name("replica_training.py")
    output = tmp_path_factory.mktemp("replicas") / "found"
    with (
        open(f"{output}.log", "w") as log,
        subprocess.Popen([sys.executable, program, output], stderr=log) as process,
    ):
        yield process, output
        process.kill()  # where the tests were stopped before they asked for it


@pytest.fixture(scope="session")
def sizes() -> dict[str, int]:
    return dict(SIZES)


@pytest.fixture(scope="session")
def spec() -> cetnet_keras.DataSpec:
    return make_spec()


@pytest.fixture(scope="session")
def batch(spec: cetnet_keras.DataSpec, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    return make_batch(spec, sizes)


@pytest.fixture(scope="session")
def label() -> np.ndarray:
    return np.array([1.0, 0.0, 1.0], np.float32)


@pytest.fixture(scope="session")
def tiny_members() -> list[dict[str, Any]]:
    return [dict(member) for member in TINY_MEMBERS]


@pytest.fixture(scope="session", name="make_spec")
def _make_spec() -> Callable[..., cetnet_keras.DataSpec]:
    return make_spec


@pytest.fixture(scope="session", name="make_batch")
def _make_batch() -> Callable[..., dict[str, np.ndarray]]:
    return make_batch


@pytest.fixture(scope="session", name="randomise")
def _randomise() -> Callable[..., None]:
    return randomise


@pytest.fixture(scope="session", name="assert_layer_contract")
def _assert_layer_contract() -> Callable[..., None]:
    return assert_layer_contract
