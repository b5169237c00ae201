"""FinalMLP against its formulas (arXiv 2304.00902) in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec
from cetnet_keras.members import FinalMlpMember
from cetnet_keras.members.finalmlp import BilinearFusion, FeatureGate

FEATURES = {
    "user": {"type": "categorical"},
    "item": {"type": "categorical", "role": "candidate"},
    "items": {"type": "sequence", "vocabulary": "item"},
    "age": {"type": "numeric"},
}
SIZES = {"user": 2, "item": 4}
BATCH = {
    "user": np.array([1, 2]),
    "item": np.array([1, 3]),
    "items": np.array([[2, 1, 0], [0, 0, 0]]),
    "age": np.array([0.5, -2.0], np.float32),
    "age/missing": np.array([0.0, 1.0], np.float32),
}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def test_the_bilinear_form_is_the_sum_over_heads_and_pairs(randomise: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(5, 6)), rng.normal(size=(5, 4))
    layer = BilinearFusion(2)
    layer((first.astype(np.float32), second.astype(np.float32)))
    randomise(layer)
    linear, bias, forms = (weight.astype(np.float64) for weight in layer.get_weights())
    expected = first @ linear[:6, 0] + second @ linear[6:, 0] + bias[0]
    for head in range(2):
        for i in range(3):
            for j in range(2):
                expected += first[:, 3 * head + i] * forms[head, i, j] * second[:, 2 * head + j]
    found = layer((first.astype(np.float32), second.astype(np.float32)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("second_context", [[], ["item"]])
def test_member_gates_by_its_contexts(
    second_context: list[str], make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    member = FinalMlpMember(
        make_spec(FEATURES),
        SIZES,
        embedding_dim=3,
        hidden=[4],
        second_hidden=[6],
        gate_hidden=[5],
        context=["user"],
        second_context=second_context,
        heads=2,
    )
    member(BATCH)
    randomise(member)
    w = {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in member.variables}
    table, context = w["features/embeddings:0"], w["context/embeddings:0"][[1, 2]]
    second = w["second_context/embeddings:0"][[1, 3]] if second_context else w["second_gate/context:0"]
    seen = np.stack([(table[4] + table[3]) / 2, np.zeros(3)])
    numbers = np.stack([BATCH["age"], BATCH["age/missing"]], axis=1)
    x = np.concatenate([table[[1, 2]], table[[3, 5]], numbers, seen], axis=1)

    def part(name: str) -> list[np.ndarray]:
        return [value for key, value in w.items() if key.startswith(f"{name}/")]

    streams = []
    for name, stream, row in (
        ("gate", "stream", context),
        ("second_gate", "second_stream", second),
    ):
        hidden, bias, last, last_bias = [value for value in part(name) if value.shape != (1, 3)]
        gate = 2 * sigmoid(relu(row @ hidden + bias) @ last + last_bias)
        kernel, bias = part(stream)
        streams.append(relu((x * gate) @ kernel + bias))
    output = member(BATCH)
    np.testing.assert_allclose(output.embedding, np.concatenate(streams, axis=1), rtol=1e-4, atol=1e-5)
    logit = member._bilinear(tuple(stream.astype(np.float32) for stream in streams))
    np.testing.assert_allclose(output.logit, logit, rtol=1e-4, atol=1e-5)


def test_a_gate_without_a_context_learns_from_its_first_step() -> None:
    gate = FeatureGate([64], 16)  # some of the hidden units see the row
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gate((tf.ones([2, 4]), tf.zeros([2, 0]))))
    for variable, gradient in zip(
        gate.trainable_variables, tape.gradient(loss, gate.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


def test_without_selection_both_streams_read_all_alike(
    spec: DataSpec, sizes: dict[str, int], batch: dict[str, np.ndarray]
) -> None:
    member = FinalMlpMember(spec, sizes, 4, hidden=[4], second_hidden=[4], selection=False)
    member(batch)
    assert not any("gate" in variable.name for variable in member.variables)
    first, second = member._streams
    second.set_weights(first.get_weights())
    streams = np.split(member(batch).embedding.numpy(), 2, axis=1)
    np.testing.assert_array_equal(*streams)


def test_context_tables_are_saved_and_learn(make_spec: Callable[..., DataSpec], tmp_path: Path) -> None:
    members = [{"type": "finalmlp", "context": ["user"], "second_context": ["item"], "embedding_dim": 3}]
    model = CETNet(make_spec(FEATURES), SIZES, members)
    model.compile("sgd", run_eagerly=True)
    before = [v.numpy().copy() for v in model.trainable_variables if "context" in v.name]
    assert [len(table) for table in before] == [3, 5]
    model.fit(BATCH, np.array([1.0, 0.0]), verbose=0)
    after = [v.numpy() for v in model.trainable_variables if "context" in v.name]
    assert all(np.abs(new - old).max() > 0 for new, old in zip(after, before, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(BATCH)["ctr"], model(BATCH)["ctr"], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, r"`heads` must divide the widths \[64, 64\] of both streams. Received: 3"),
        ({"hidden": []}, "`hidden` and `second_hidden` must have a width each"),
        (
            {"context": ["items"]},
            "`context` must name categorical features .*: user, item. Received: 'items'",
        ),
        ({"second_context": ["age"]}, "`second_context` must name .* Received: 'age'"),
        ({"context": ["user", "user"]}, "`context` must name each feature once. Received: 'user' twice"),
        ({"context": ["user"], "selection": False}, "`context` is what a gate looks at, and with `selection"),
        ({"projection": [4]}, r"a readout of its own: leave `projection` out. Received: projection=\[4\]"),
    ],
)
def test_wrong_options_are_refused(make_spec: Callable[..., DataSpec], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FinalMlpMember(make_spec(FEATURES), SIZES, **options)


@pytest.mark.parametrize("width", [0, 3])
def test_contract_of_the_gate(width: int, assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(3, width)).astype(np.float32)
    assert_layer_contract(FeatureGate([4], 2, name="gate"), [(x, context)], tmp_path)


def test_contract_of_the_form(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    both = tuple(rng.normal(size=(3, width)).astype(np.float32) for width in (4, 6))
    assert_layer_contract(BilinearFusion(2, name="form"), [both], tmp_path)
