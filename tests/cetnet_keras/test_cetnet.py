"""The ensemble: its outputs and loss against the paper in float64, its refusals, its files, its seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec, LazyAdam
from cetnet_keras.input_signature import example_batch

Batch = dict[str, np.ndarray]
TINY_DCN = {"type": "dcnv2", "embedding_dim": 4, "hidden": [4], "cross_layers": 1}


@pytest.fixture(scope="module")
def model(spec: DataSpec, sizes: dict[str, int], tiny_members: list[dict[str, Any]]) -> CETNet:
    tf.keras.utils.set_random_seed(0)
    return CETNet(spec, sizes, tiny_members, collaboration={"alpha": 0.7})


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def cross_entropy(z: np.ndarray, label: np.ndarray) -> np.ndarray:
    p = sigmoid(z.astype(np.float64))
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def paper_loss(fused: np.ndarray, member: np.ndarray, label: np.ndarray, alpha: float) -> dict[str, float]:
    """The parts of arXiv 2411.13700, section 3.4.4, and their sum; three members, so three pairs."""
    p = sigmoid(member.astype(np.float64))
    pairs = [(kl(p[:, i], p[:, j]) + kl(p[:, j], p[:, i])) / 2 for i, j in [(0, 1), (0, 2), (1, 2)]]
    parts = {"loss_fused": cross_entropy(fused, label).mean()}
    for position, name in enumerate(["din", "dhen", "dcnv2"]):
        parts[f"loss_{name}"] = cross_entropy(member[:, position], label).mean()
    bce = sum(parts.values())
    parts["loss_collaboration"] = np.mean(pairs)
    return {"loss": bce + alpha * parts["loss_collaboration"]} | parts


def test_outputs_are_the_four_of_the_contract(model: CETNet, batch: Batch) -> None:
    output = {key: value.numpy() for key, value in model(batch).items()}
    assert {key: value.shape for key, value in output.items()} == {
        "ctr": (3,),
        "member_ctr": (3, 3),
        "fusion_weight": (3, 3),
        "confidence": (3, 3),
    }
    p = output["member_ctr"].astype(np.float64)
    confidence = p * np.log(p) + (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(output["confidence"], confidence, rtol=1e-5)
    weight = np.exp(confidence) / np.exp(confidence).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(output["fusion_weight"], weight, rtol=1e-5)
    embeddings = [member(batch).embedding.numpy() for member in model.members]
    kernel, bias = model.fuse.get_weights()
    together = np.concatenate([weight[:, m : m + 1] * e for m, e in enumerate(embeddings)], axis=1)
    np.testing.assert_allclose(output["ctr"], sigmoid((together @ kernel + bias)[:, 0]), rtol=1e-5)


def test_loss_is_the_papers(model: CETNet, batch: Batch, label: np.ndarray) -> None:
    output = model.predict_logits(batch)
    expected = paper_loss(output.fused_logit.numpy(), output.member_logit.numpy(), label, alpha=0.7)
    np.testing.assert_allclose(model.compute_loss((batch, label)), expected["loss"], rtol=1e-5)


def parts_of(model: CETNet, batch: Batch, label: np.ndarray) -> dict[str, float]:
    model.compile(LazyAdam(), run_eagerly=True)
    return model.evaluate(batch, label, verbose=0, return_dict=True)


def test_fused_loss_and_collaboration_have_the_weights_that_are_asked_for(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray, tiny_members: list[dict[str, Any]]
) -> None:
    fusion, collaboration = {"type": "logit_mean", "loss_weight": 0.25}, {"type": "to_fused", "alpha": 3.0}
    model = CETNet(spec, sizes, tiny_members, collaboration, fusion)
    output = model.predict_logits(batch)
    fused, member = (
        output.fused_logit.numpy().astype(np.float64),
        output.member_logit.numpy().astype(np.float64),
    )
    np.testing.assert_allclose(output.weight, np.full((3, 3), 1 / 3), rtol=1e-6)
    to_fused = kl(sigmoid(fused)[:, None], sigmoid(member)).mean()
    own = cross_entropy(member, label[:, None]).mean(axis=0).sum()
    expected = 0.25 * cross_entropy(fused, label).mean() + own + 3 * to_fused
    np.testing.assert_allclose(model.compute_loss((batch, label)), expected, rtol=1e-5)
    assert parts_of(model, batch, label)["loss_collaboration"] == pytest.approx(to_fused, rel=1e-4)


@pytest.mark.parametrize("gradient_stop", [True, False])
@pytest.mark.parametrize("kind", ["paper", "logit_mixture", "gate"])
def test_detached_members_learn_as_if_there_were_no_fusion(
    kind: str,
    gradient_stop: bool,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: Batch,
    label: np.ndarray,
    tiny_members: list[dict[str, Any]],
) -> None:
    fusion = {"type": kind, "detach_members": True, "gradient_stop": gradient_stop}
    model = CETNet(spec, sizes, tiny_members[:2], {"alpha": 0}, fusion)
    of_members = [variable for member in model.members for variable in member.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        whole = model.compute_loss((batch, label))
        logit = model.predict_logits(batch).member_logit
        each = tf.nn.sigmoid_cross_entropy_with_logits(tf.tile(label[:, None], [1, 2]), logit)
        own = tf.reduce_sum(each) / 3
    for found, expected in zip(tape.gradient(whole, of_members), tape.gradient(own, of_members), strict=True):
        found, expected = tf.convert_to_tensor(found), tf.convert_to_tensor(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    readout = tape.gradient(whole, model.fuse.trainable_variables)
    assert len(readout) == (0 if kind == "logit_mixture" else 2)
    assert all(np.abs(slope).max() > 0 for slope in readout), "the fusion itself learns"


def test_collaboration_warms_up_in_training_alone(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray, tiny_members: list[dict[str, Any]]
) -> None:
    model = CETNet(spec, sizes, tiny_members, {"alpha": 2.0, "warmup_steps": 4})
    model.compile(tf.keras.optimizers.SGD(0.0))  # nothing moves but the count of steps
    parts = {key: float(value) for key, value in model.train_on_batch(batch, label, return_dict=True).items()}
    without = parts["loss"] - 2 * parts["loss_collaboration"]
    for step in range(1, 7):
        assert int(model.optimizer.iterations) == step
        expected = without + 2 * min(step / 4, 1) * parts["loss_collaboration"]
        np.testing.assert_allclose(model.compute_loss((batch, label), training=True), expected, rtol=1e-5)
        np.testing.assert_allclose(model.compute_loss((batch, label)), parts["loss"], rtol=1e-5)
        model.train_on_batch(batch, label)


def test_calibrated_confidence_learns_from_the_label_and_its_members_do_not_feel_it(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray, tiny_members: list[dict[str, Any]]
) -> None:
    plain = CETNet(spec, sizes, tiny_members)
    model = CETNet(spec, sizes, tiny_members, fusion={"calibrated": True})
    for one, other in zip([*model.members, model.fuse], [*plain.members, plain.fuse], strict=True):
        one.set_weights(other.get_weights())
    parts = parts_of(model, batch, label)
    own = sum(parts[f"loss_{name}"] for name in model.member_names)
    assert parts["loss_calibration"] == pytest.approx(own, rel=1e-5), "its lines are the identity at first"
    variables = model.members[0].trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        losses = [one.compute_loss((batch, label)) for one in (model, plain)]
    np.testing.assert_allclose(losses[0], float(losses[1]) + own, rtol=1e-5)
    pulls = [
        tape.gradient(losses[0], variables),
        tape.gradient(losses[1], plain.members[0].trainable_variables),
    ]
    for found, expected in zip(*pulls, strict=True):
        found, expected = tf.convert_to_tensor(found), tf.convert_to_tensor(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    scale, shift = tape.gradient(losses[0], [model.weigh._scale, model.weigh._shift])
    assert np.abs(scale).max() > 0 and np.abs(shift).max() > 0


def test_the_click_rate_is_counted_in_training_alone_with_weights_and_is_saved(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, tiny_members: list[dict[str, Any]], tmp_path: Path
) -> None:
    model = CETNet(spec, sizes, tiny_members[:2], fusion={"confidence": "base_rate"})
    model.compile(LazyAdam(0.0), run_eagerly=True)
    label, weight = np.array([1.0, 0.0, 0.0]), np.array([2.0, 3.0, 4.0])
    model.fit(batch, label, sample_weight=weight, epochs=2, verbose=0)
    model.evaluate(batch, label, verbose=0)
    rate = (0.5 + 4) / (1 + 18)
    output = model(batch)
    p = output["member_ctr"].numpy().astype(np.float64)
    expected = kl(p, np.full_like(p, rate))
    np.testing.assert_allclose(output["confidence"], expected, rtol=1e-3, atol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        tf.keras.models.load_model(tmp_path / "model.keras")(batch)["confidence"], output["confidence"]
    )


def test_a_weight_multiplies_the_loss_of_its_example(model: CETNet, batch: Batch, label: np.ndarray) -> None:
    output, weight = model.predict_logits(batch), np.array([0.0, 2.5, 0.5])
    fused, member = output.fused_logit.numpy(), output.member_logit.numpy()
    each = [paper_loss(fused[[b]], member[[b]], label[[b]], alpha=0.7)["loss"] for b in range(3)]
    found = model.compute_loss((batch, label, weight))
    np.testing.assert_allclose(found, np.dot(weight, each) / 3, rtol=1e-5)


def test_predictions_are_brought_back_to_all_rows_and_losses_are_not(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray, tiny_members: list[dict[str, Any]]
) -> None:
    model, sampled = (
        CETNet(spec.model_copy(update={"negative_keep_rate": rate}), sizes, tiny_members)
        for rate in (1.0, 0.2)
    )
    sampled.set_weights(model.get_weights())
    before, after = model(batch), sampled(batch)
    for key in ("ctr", "member_ctr"):
        p = before[key].numpy().astype(np.float64)
        np.testing.assert_allclose(after[key], p / (p + (1 - p) / 0.2), rtol=1e-5)
    for key in ("fusion_weight", "confidence"):
        np.testing.assert_array_equal(after[key], before[key])
    np.testing.assert_allclose(
        sampled.compute_loss((batch, label)), model.compute_loss((batch, label)), rtol=1e-6
    )


def test_logged_losses_are_means_over_examples_of_all_batches(
    model: CETNet, spec: DataSpec, sizes: dict[str, int], make_batch: Callable[..., Batch]
) -> None:
    five, label = make_batch(spec, sizes, rows=5, seed=3), np.array([0, 1, 1, 0, 1])
    output = model.predict_logits(five)
    expected = paper_loss(output.fused_logit.numpy(), output.member_logit.numpy(), label, alpha=0.7)
    model.compile(LazyAdam(), run_eagerly=True)
    found = model.evaluate(five, label, batch_size=3, verbose=0, return_dict=True)  # batches of 3 and 2
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), rtol=1e-5)


def test_no_gradient_reaches_a_member_through_its_weight(model: CETNet, batch: Batch) -> None:
    """d BCE(fused) / d (own logit head) is zero: the fused logit reads embeddings, and weights are detached."""
    heads = [variable for member in model.members for variable in member._logit.trainable_variables]
    with tf.GradientTape() as tape:
        fused = tf.reduce_sum(model.predict_logits(batch).fused_logit)
    assert tape.gradient(fused, heads) == [None] * 6


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_longer_padding_changes_nothing(model: CETNet, batch: Batch, which: int) -> None:
    open_ended = ("tags", "history")
    longer = batch | {name: np.pad(batch[name], [(0, 0), (0, 3)]) for name in open_ended}
    found, expected = model.members[which](longer), model.members[which](batch)
    np.testing.assert_allclose(found.logit, expected.logit, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-5, atol=1e-6)


def test_no_tokens_are_the_same_as_padding_alone(model: CETNet, batch: Batch) -> None:
    padding = batch | {key: np.zeros((3, 1), np.int64) for key in ("tags", "history")}
    nothing = batch | {key: np.zeros((3, 0), np.int64) for key in ("tags", "history")}
    np.testing.assert_allclose(model(nothing)["ctr"], model(padding)["ctr"], rtol=1e-6)


def test_members_share_no_variable(model: CETNet) -> None:
    ids = [id(variable) for member in model.members for variable in member.variables]
    assert len(ids) == len(set(ids))
    beside = 2 + 4 + 2  # the readout; the calibration; the sums and counts of the logged losses
    assert len(model.variables) == len(ids) + beside


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_member_is_that_model_alone(
    which: int,
    spec: DataSpec,
    sizes: dict[str, int],
    tiny_members: list[dict[str, Any]],
    batch: Batch,
    label: np.ndarray,
) -> None:
    alone = CETNet(spec, sizes, [tiny_members[which]], fusion={"type": "mean"})
    output = alone(batch)
    np.testing.assert_array_equal(output["fusion_weight"], np.ones((3, 1)))
    np.testing.assert_allclose(output["ctr"], output["member_ctr"][:, 0], rtol=1e-5)
    logit = alone.predict_logits(batch).fused_logit.numpy()
    np.testing.assert_allclose(
        alone.compute_loss((batch, label)), 2 * cross_entropy(logit, label).mean(), rtol=1e-5
    )


SHAPES_OF_SPECS = {
    "one categorical": ({"item": {"type": "categorical"}}, {"item": 5}),
    "numbers alone": ({"age": {"type": "numeric"}, "price": {"type": "numeric"}}, {}),
    "a sequence alone": ({"history": {"type": "sequence"}}, {"history": 5}),
    "aligned sequences about two candidates": (
        {
            "item": {"type": "categorical", "role": "candidate"},
            "cate": {"type": "categorical", "role": "candidate"},
            "items": {"type": "sequence", "vocabulary": "item", "align": "clicks"},
            "cates": {"type": "sequence", "vocabulary": "cate", "align": "clicks"},
            "bought": {"type": "sequence", "vocabulary": "item"},
        },
        {"item": 5, "cate": 3},
    ),
}


@pytest.mark.parametrize("shape", SHAPES_OF_SPECS)
def test_every_shape_of_spec_trains_every_member(
    shape: str,
    make_spec: Callable[..., DataSpec],
    make_batch: Callable[..., Batch],
    tiny_members: list[dict[str, Any]],
) -> None:
    features, sizes = SHAPES_OF_SPECS[shape]
    spec = make_spec(features)
    reads_sequences = any(feature["type"] == "sequence" for feature in features.values())
    model = CETNet(spec, sizes, tiny_members if reads_sequences else tiny_members[1:])  # din needs one
    batch = make_batch(spec, sizes, rows=6)
    with tf.GradientTape() as tape:
        loss = model.compute_loss((batch, np.array([0, 1, 0, 1, 1, 0])), training=True)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.name
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def test_padding_and_unseen_rows_stay_as_they_were_in_training_with_l2(
    spec: DataSpec, sizes: dict[str, int]
) -> None:
    model = CETNet(spec, sizes, [TINY_DCN])
    model.compile(LazyAdam(0.1, embedding_l2=0.1), run_eagerly=True)
    batch = example_batch(spec, 4) | {
        "user": np.array([1, 2, 0, 0]),
        "history": np.array([[2, 0], [0, 0], [1, 2], [0, 0]]),
    }
    table = model.members[0].features.table
    before = table.get_weights()[0]
    model.fit(batch, np.array([1, 0, 1, 0]), batch_size=2, epochs=3, verbose=0)
    moved = [row for row, same in enumerate((table.get_weights()[0] == before).all(axis=1)) if not same]
    assert moved == [1, 2, 8, 9]  # users 1 and 2, items 1 and 2, which lie behind the 7 users
    np.testing.assert_array_equal(table.get_weights()[0][0], np.zeros(4))


def flat_weights(model: CETNet) -> np.ndarray:
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def test_half_precision_trains_like_single_precision(
    spec: DataSpec, sizes: dict[str, int], tiny_members: list[dict[str, Any]], batch: Batch, label: np.ndarray
) -> None:
    full = CETNet(spec, sizes, tiny_members)
    half = CETNet(spec, sizes, tiny_members, dtype="mixed_float16")
    half.set_weights(full.get_weights())
    assert {key: value.dtype.name for key, value in half(batch).items()} == dict.fromkeys(
        full(batch), "float32"
    )
    before = flat_weights(full)
    for model in (full, half):
        sgd = tf.keras.optimizers.SGD(
            0.5
        )  # its step has the size of the gradient, so that a wrong scale shows
        scaled = tf.keras.mixed_precision.LossScaleOptimizer(
            sgd, initial_scale=256.0
        )  # small enough not to skip a step
        model.compile(sgd if model is full else scaled, run_eagerly=True)
        model.fit(batch, label, batch_size=3, verbose=0)
    assert all(weight.dtype == np.float32 for weight in half.get_weights())
    step = flat_weights(full) - before
    assert np.linalg.norm(flat_weights(half) - flat_weights(full)) < 0.02 * np.linalg.norm(step)


def test_training_goes_on_from_a_keras_file_as_if_nothing_had_happened(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray, tmp_path: Path
) -> None:
    model = CETNet(spec, sizes, [TINY_DCN], fusion={"type": "mixture", "temperature": 0.5}, name="ensemble")
    model.compile(LazyAdam(0.05, embedding_l2=0.1, embedding_l2_scope="lazy"), run_eagerly=True)
    model.fit(batch, label, verbose=0)
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert again.get_config() == model.get_config()
    for one in (model, again):
        one.fit(batch, label, epochs=2, verbose=0)
    assert again.optimizer.iterations == 3
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_saved_model_takes_any_number_of_rows_and_tokens(
    model: CETNet, spec: DataSpec, sizes: dict[str, int], make_batch: Callable[..., Batch], tmp_path: Path
) -> None:
    model.export(str(tmp_path / "exported"))
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    for rows, steps in [(1, 1), (5, 7), (2, 0)]:
        some = make_batch(spec, sizes, rows, steps)
        found, expected = loaded.serve({key: tf.constant(value) for key, value in some.items()}), model(some)
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-5)


def trained_weights(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray, seed: int
) -> list[np.ndarray]:
    tf.keras.utils.set_random_seed(seed)
    model = CETNet(spec, sizes, [TINY_DCN | {"dropout": 0.3}])
    model.compile(LazyAdam(0.05))
    dataset = tf.data.Dataset.from_tensor_slices((batch, label)).shuffle(6, seed=seed).batch(2)
    model.fit(dataset, epochs=2, verbose=0)
    return model.get_weights()


def test_a_seed_repeats_a_training(
    spec: DataSpec, sizes: dict[str, int], make_batch: Callable[..., Batch]
) -> None:
    batch, label = make_batch(spec, sizes, rows=6), np.array([0, 1, 0, 1, 1, 0])
    first, second = (trained_weights(spec, sizes, batch, label, seed=42) for _ in range(2))
    for one, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, same)
