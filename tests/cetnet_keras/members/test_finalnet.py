"""FinalNet against the formulas of FINAL (SIGIR 2023) in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec
from cetnet_keras.members import FinalNetMember
from cetnet_keras.members.finalnet import FactorisedInteraction, FinalBlock, RowGate


def interaction(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    h = x @ kernel + bias
    half = h.shape[1] // 2
    return np.concatenate([h[:, :half], h[:, :half] * h[:, half:]], axis=1)


def test_a_layer_multiplies_halves_of_what_it_computes(randomise: Callable[..., None]) -> None:
    x, layer = np.random.default_rng(0).normal(size=(5, 3)), FactorisedInteraction(6)
    layer(x.astype(np.float32))
    randomise(layer)
    np.testing.assert_allclose(
        layer(x.astype(np.float32)), interaction(x, *layer.get_weights()), rtol=1e-4, atol=1e-5
    )


def test_degree_doubles_with_each_layer(randomise: Callable[..., None]) -> None:
    """Of 2 linear layers the output is a polynomial of degree 4 in the scale of the input, and not of degree 3."""
    x, block = np.random.default_rng(0).normal(size=(4, 3)), FinalBlock([4, 4], "linear")
    block(x.astype(np.float32))
    randomise(block)
    scales = np.linspace(-1, 1, 9)
    values = np.array([block((scale * x).astype(np.float32)).numpy().sum() for scale in scales], np.float64)
    left_of = [
        np.polynomial.polynomial.polyfit(scales, values, degree, full=True)[1][0][0] for degree in (3, 4)
    ]
    assert left_of[1] < 1e-8 < left_of[0]


def test_member_is_the_mean_of_its_blocks_and_teaches_them(
    make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(
        {
            "user": {"type": "categorical"},
            "item": {"type": "categorical", "role": "candidate"},
            "items": {"type": "sequence", "vocabulary": "item"},
            "age": {"type": "numeric"},
        }
    )
    batch = {
        "user": np.array([1, 2]),
        "item": np.array([1, 3]),
        "items": np.array([[2, 1, 0], [0, 0, 0]]),
        "age": np.array([0.5, -2.0], np.float32),
        "age/missing": np.array([0.0, 1.0], np.float32),
    }
    member = FinalNetMember(
        spec, {"user": 2, "item": 4}, 3, hidden=[6, 4], second_hidden=[2], activation="tanh"
    )
    member(batch)
    randomise(member)
    w = {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in member.variables}

    def part(name: str) -> list[np.ndarray]:
        return [value for key, value in w.items() if key.startswith(f"{name}/")]

    (table,), (numbers_kernel, numbers_bias) = part("features"), part("rows")
    numbers = np.stack([batch["age"], batch["age/missing"]], axis=1) @ numbers_kernel + numbers_bias
    seen = np.stack([(table[4] + table[3]) / 2, np.zeros(3)])
    rows = np.stack([table[[1, 2]], table[[3, 5]], numbers, seen], axis=1)  # [2, 4, 3]
    mix, mix_bias = part("gate")
    gates = np.einsum("bnd,nm->bmd", rows, mix) + mix_bias[:, None]
    gated = np.concatenate([rows, rows * gates], axis=1).reshape(2, -1)
    kernel, bias, kernel_2, bias_2 = part("block")
    first = np.tanh(interaction(np.tanh(interaction(gated, kernel, bias)), kernel_2, bias_2))
    second = np.tanh(interaction(rows.reshape(2, -1), *part("second_block")))
    output = member(batch)
    np.testing.assert_allclose(
        output.embedding, np.concatenate([first, second], axis=1), rtol=1e-4, atol=1e-5
    )
    each = []
    for x, name in ((first, "block_logit"), (second, "second_block_logit")):
        kernel, bias = part(name)
        each.append(x @ kernel[:, 0] + bias[0])
    logit = (each[0] + each[1]) / 2
    np.testing.assert_allclose(output.logit, logit, rtol=1e-4, atol=1e-5)
    teacher = 1 / (1 + np.exp(-logit))
    loss = sum(np.logaddexp(0, y) - teacher * y for y in each)
    np.testing.assert_allclose(output.extra_loss, loss, rtol=1e-4, atol=1e-5)


def test_what_it_teaches_itself_is_part_of_its_loss(
    spec: DataSpec, sizes: dict[str, int], batch: dict, label: np.ndarray
) -> None:
    model = CETNet(spec, sizes, [{"type": "finalnet", "hidden": [4], "second_hidden": [2]}])
    model.compile("sgd", run_eagerly=True)
    weight = np.array([0.5, 2.0, 1.0], np.float32)
    output = model.members[0](batch)
    expected = np.asarray(tf.nn.sigmoid_cross_entropy_with_logits(label, output.logit)) + output.extra_loss
    found = model.test_on_batch(batch, label, sample_weight=weight, return_dict=True)
    assert found["loss_finalnet"] == pytest.approx(float(np.mean(weight * expected)), rel=1e-5)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model.members[0](batch).extra_loss)
    readouts = [layer.kernel for layer in model.members[0]._readouts]
    assert all(np.abs(slope).max() > 0 for slope in tape.gradient(total, readouts))


def test_one_block_alone_teaches_nothing(spec: DataSpec, sizes: dict[str, int], batch: dict) -> None:
    output = FinalNetMember(spec, sizes, 4, hidden=[4], second_hidden=[], gate=False)(batch)
    assert output.embedding.shape == (3, 4) and output.extra_loss is None


def test_the_gate_starts_with_the_rows_twice() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(RowGate()(rows), np.concatenate([rows, rows], axis=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": [5]}, "needs an even width. Received: units=5"),
        ({"hidden": []}, "`hidden` must have a width"),
        ({"projection": [4]}, "leave `projection` out"),
    ],
)
def test_wrong_options_are_refused(
    spec: DataSpec, sizes: dict[str, int], options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FinalNetMember(spec, sizes, **options)


@pytest.mark.parametrize("layer", [FactorisedInteraction(4, "tanh"), FinalBlock([4, 2], "relu", 0.1, True)])
def test_contract(
    layer: tf.keras.layers.Layer, assert_layer_contract: Callable[..., None], tmp_path: Path
) -> None:
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert_layer_contract(layer, [x], tmp_path)


def test_contract_of_the_gate(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    assert_layer_contract(RowGate(name="gate"), [rows], tmp_path)
