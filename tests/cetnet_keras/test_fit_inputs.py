"""What `fit`, `evaluate`, `predict` and `calibrate` take and refuse, and what Keras' own metrics say of a model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec, LazyAdam

N = 300


@pytest.fixture
def spec() -> DataSpec:
    features = {
        "user": {"type": "categorical"},
        "item": {"type": "categorical"},
        "price": {"type": "numeric"},
    }
    return DataSpec.model_validate({"name": "shop", "label": "click", "features": features})


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = {"user": rng.integers(0, 6, N), "item": rng.integers(0, 5, N)}
    return ids | {"price": rng.random(N, np.float32), "price/missing": np.zeros(N, np.float32)}


@pytest.fixture
def label(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return ((inputs["user"] + inputs["item"]) % 2).astype(np.float32)


@pytest.fixture
def model(spec: DataSpec) -> CETNet:
    tf.keras.utils.set_random_seed(0)
    made = CETNet(spec, {"user": 5, "item": 4}, [{"type": "mlp", "hidden": [8]}])
    made.compile(LazyAdam(0.05))
    return made


@pytest.mark.parametrize("weighted", [False, True])
def test_keras_own_metrics_are_means_over_rows(
    model: CETNet, inputs: dict[str, np.ndarray], label: np.ndarray, weighted: bool
) -> None:
    """Batches of 299 rows and of 1: a mean over batches would be another number."""
    metrics = [tf.keras.metrics.BinaryCrossentropy(), tf.keras.metrics.MeanSquaredError(), "accuracy"]
    model.compile(LazyAdam(0.05), **{"weighted_metrics" if weighted else "metrics": metrics})
    weight = np.random.default_rng(1).random(N) if weighted else None
    model.fit(inputs, label, batch_size=100, epochs=3, sample_weight=weight, verbose=0)
    found = model.evaluate(inputs, label, batch_size=N - 1, sample_weight=weight, return_dict=True, verbose=0)
    p = model.predict(inputs, verbose=0)["ctr"].astype(np.float64)
    each = {
        "binary_crossentropy": -np.log(np.where(label == 1, p, 1 - p)),
        "mean_squared_error": (label - p) ** 2,
        "accuracy": (p > 0.5) == (label == 1),
    }
    for name, values in each.items():
        assert found[name] == pytest.approx(np.average(values, weights=weight), rel=1e-4), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": np.array([6])}, r"ids must not be above `vocabulary_sizes`(?s:.*)user, item(?s:.*)\[6 1\]"),
        ({"item": np.array([5])}, r"ids must not be above `vocabulary_sizes`(?s:.*)user, item(?s:.*)\[1 5\]"),
        ({"price": np.array([np.nan])}, r"numbers must be finite(?s:.*)not finite:\] \[price\]"),
        ({"price": np.array([-np.inf])}, r"numbers must be finite(?s:.*)not finite:\] \[price\]"),
        ({"price/missing": np.array([np.nan])}, r"numbers must be finite(?s:.*)\[price/missing\]"),
    ],
)
def test_an_id_above_its_vocabulary_and_a_number_that_is_none_are_refused(
    model: CETNet, change: dict[str, np.ndarray], said: str
) -> None:
    one = {
        "user": np.array([1]),
        "item": np.array([1]),
        "price": np.ones(1),
        "price/missing": np.zeros(1),
    } | change
    for action in (
        lambda: model.fit(one, np.ones(1), verbose=0),
        lambda: model.evaluate(one, np.ones(1), verbose=0),
        lambda: model.predict(one, verbose=0),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=said):
            action()


@pytest.mark.parametrize(
    ("of_label", "of_weight", "said"),
    [
        (5, 1, r"labels must be in \[0, 1\](?s:.*)label from] .*to] .5]"),
        (-1, 1, r"labels must be in \[0, 1\](?s:.*)label from] .-1]"),
        (np.nan, 1, r"labels must be in \[0, 1\](?s:.*)label from]"),
        (1, -2, r"weights finite and 0 or more(?s:.*)weight from] .-2]"),
        (1, np.inf, r"weights finite and 0 or more(?s:.*)weight from] .*to] .inf]"),
    ],
)
def test_a_label_or_weight_that_is_none_is_refused_and_moves_nothing(
    model: CETNet,
    inputs: dict[str, np.ndarray],
    label: np.ndarray,
    of_label: float,
    of_weight: float,
    said: str,
) -> None:
    weight = np.ones(N, np.float32)
    label[7], weight[7] = of_label, of_weight
    before = model.get_weights()
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        model.fit(inputs, label, sample_weight=weight, batch_size=N, verbose=0)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("action", ["fit", "predict", "call"])
@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (
            {"user": np.ones(2), "item": np.ones(2), "price": np.ones(2)},
            "a batch lacks price/missing; NAME/missing is 1",
        ),
        ([np.ones(2), np.ones(2)], "a batch must be a dict of user, item, price, price/missing"),
        ({"user": np.array(["a", "b"]), "item": np.ones(2)}, "a batch lacks price, price/missing"),
        (
            {
                "user": np.array(["a", "b"]),
                "item": np.ones(2),
                "price": np.ones(2),
                "price/missing": np.ones(2),
            },
            "'user' must be int64, found text: look its tokens up first",
        ),
    ],
)
def test_what_is_no_batch_of_the_spec_is_refused_by_name(
    model: CETNet, action: str, batch: Any, said: str
) -> None:
    batch = tf.nest.map_structure(tf.constant, batch)
    with pytest.raises(ValueError, match=said):
        if action == "fit":
            model.fit(batch, np.ones(2), verbose=0)
        else:
            model.predict(batch, verbose=0) if action == "predict" else model(batch)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("user", np.ones(2, np.float32), "'user' must be int64, found float32: an id is a whole number"),
        (
            "user",
            np.ones([2, 2], np.int64),
            r"'user' must be int64, found the shape \(2, 2\): its axes are \[B\]",
        ),
        (
            "price",
            np.ones([2, 1, 1], np.float32),
            r"'price' .* found the shape \(2, 1, 1\): its axes are \[B\]",
        ),
        ("seen", np.ones(2, np.int64), r"'seen' .* found the shape \(2,\): its axes are \[B, T\]"),
        (
            "seen",
            tf.ragged.constant([[1], [1, 2]], tf.int64),
            r"'seen' .* found a RaggedTensor: pad it with 0",
        ),
        ("seen", tf.sparse.from_dense([[1, 0], [1, 2]]), r"'seen' .* found a SparseTensor: pad it with 0"),
        ("size", np.ones(2, np.float32), r"'size' .* found the shape \(2,\): its axes are \[B, 3\]"),
    ],
)
def test_a_key_of_another_type_or_shape_is_refused_by_name(key: str, value: Any, said: str) -> None:
    features = {
        "user": {"type": "categorical"},
        "seen": {"type": "sequence", "vocabulary": "user"},
        "price": {"type": "numeric"},
        "size": {"type": "vector", "dimension": 3},
    }
    spec = DataSpec.model_validate({"name": "shop", "label": "click", "features": features})
    model = CETNet(spec, {"user": 5}, [{"type": "mlp", "hidden": [2]}])
    sound = {
        "user": np.ones(2, np.int64),
        "seen": np.ones([2, 4], np.int32),
        "price": np.ones(2),
        "price/missing": np.zeros(2),
        "size": np.ones([2, 3]),
        "size/missing": np.zeros(2),
    }
    assert model(sound)["ctr"].shape == (2,)
    with pytest.raises(ValueError, match=said):
        model(sound | {key: value})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda x, y: x, r"must be \(inputs, label\) or \(inputs, label, weight\). Received: dict"),
        (lambda x, y: (x, {"ctr": y}), r"`label` must be one tensor \[B\]. Received: a dict of ctr"),
        (
            lambda x, y: (x, np.eye(2)[y.astype(int)]),
            r"`label` must be one tensor \[B\]. Received: the shape \(\w+, 2\)",
        ),
        (
            lambda x, y: (x, y, np.ones([N, 2])),
            r"`weight` must be one tensor \[B\]. Received: the shape \(\w+, 2\)",
        ),
    ],
)
def test_what_is_no_label_of_a_batch_is_refused(
    model: CETNet, inputs: dict[str, np.ndarray], label: np.ndarray, rows: Any, said: str
) -> None:
    batches = tf.data.Dataset.from_tensors(rows(inputs, label))
    for action in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=said):
            action(batches, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"jit_compile": True}, "XLA skips the checks"),
        ({"loss": "mse"}, "CETNet has a loss of its own"),
        ({"loss_weights": [3.0]}, "CETNet has a loss of its own"),
    ],
)
def test_what_cetnet_has_no_use_for_is_refused_when_it_is_compiled(
    model: CETNet, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        model.compile(LazyAdam(0.1), **arguments)


def test_a_list_of_results_is_in_the_order_of_its_names(
    model: CETNet, inputs: dict[str, np.ndarray], label: np.ndarray
) -> None:
    model.compile(LazyAdam(0.05), metrics=[tf.keras.metrics.AUC(name="auc")], weighted_metrics=["accuracy"])
    named = model.evaluate(inputs, label, return_dict=True, verbose=0)
    assert model.metrics_names == ["loss", "loss_fused", "loss_mlp", "loss_collaboration", "auc", "accuracy"]
    assert model.evaluate(inputs, label, verbose=0) == pytest.approx([named[n] for n in model.metrics_names])
    assert len(model.train_on_batch(inputs, label)) == len(model.metrics_names)


def test_columns_of_one_number_a_row_are_as_good_as_rows(
    model: CETNet, inputs: dict[str, np.ndarray], label: np.ndarray
) -> None:
    columns = {key: values[:, np.newaxis] for key, values in inputs.items()}
    np.testing.assert_array_equal(model(columns)["ctr"], model(inputs)["ctr"])
    assert len(model.fit(columns, label, verbose=0).history["loss"]) == 1


def test_calibrate_counts_the_rows_that_were_dropped(
    model: CETNet, spec: DataSpec, inputs: dict[str, np.ndarray], label: np.ndarray
) -> None:
    kept = CETNet(
        spec.model_copy(update={"negative_keep_rate": 0.1}), model.vocabulary_sizes, model.member_specs
    )
    kept.calibrate(inputs, label[:, np.newaxis])
    clicks = label.sum()
    rate = clicks / (clicks + (N - clicks) / 0.1)
    ctr, count = kept.predict(inputs, verbose=0)["ctr"], np.where(label == 1, 1, 10)
    assert np.average(ctr, weights=count) == pytest.approx(rate, rel=0.02)
    with pytest.raises(ValueError, match=f"Received: {N} rows, 3 labels and 3 weights"):
        kept.calibrate([inputs], np.ones(3))


@pytest.mark.parametrize(
    ("name", "bad", "said"),
    [
        ("label", -1, "from 0 to 1. Received: -1.0 to 1.0"),
        ("label", np.nan, "from 0 to 1. Received: nan"),
        ("weight", -1, "from 0 to inf. Received: -1.0 to 1.0"),
        ("weight", np.inf, "from 0 to inf. Received: 1.0 to inf"),
    ],
)
def test_calibrate_refuses_a_label_or_weight_that_is_none(
    model: CETNet, inputs: dict[str, np.ndarray], label: np.ndarray, name: str, bad: float, said: str
) -> None:
    rows = {"label": label, "weight": np.ones(N)}
    rows[name][7] = bad
    with pytest.raises(ValueError, match=f"`{name}` must be finite, {said}"):
        model.calibrate(inputs, **rows)


def test_calibrate_refuses_what_predict_refuses_and_nothing(
    model: CETNet, inputs: dict[str, np.ndarray], label: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="`weight` must be above 0 for some row"):
        model.calibrate(inputs, label, np.zeros(N))
    for change in ({"user": inputs["user"] + 10}, {"price": inputs["price"] * np.nan}):
        with pytest.raises(tf.errors.InvalidArgumentError):
            model.calibrate(inputs | change, label)
    with pytest.raises(ValueError, match="`inputs` has no batch"):
        model.calibrate([], np.ones(0))


def test_no_members_are_not_the_default_ones(spec: DataSpec) -> None:
    with pytest.raises(ValueError, match="`members` is empty"):
        CETNet(spec, {"user": 5, "item": 4}, [])


@pytest.mark.parametrize("size", [0, -3, 20.7])
def test_a_vocabulary_has_a_whole_number_of_ids(spec: DataSpec, size: float) -> None:
    with pytest.raises(ValueError, match="`vocabulary_sizes` of user must be a whole number, 1 or more"):
        CETNet(spec, {"user": size, "item": 4})


def test_members_drawn_with_numpy_are_saved(spec: DataSpec, tmp_path: Path) -> None:
    drawn = {
        "type": "mlp",
        "hidden": [np.int64(8), 4],
        "dropout": np.float32(0.5),
        "embedding_dim": np.int64(4),
        "batch_norm": np.bool_(True),
    }
    model = CETNet(spec, {"user": 5, "item": 4}, [drawn])
    model.save(tmp_path / "model.keras")
    same = tf.keras.models.load_model(tmp_path / "model.keras")
    assert same.member_specs == model.member_specs
    assert same.member_specs[0].options == {"hidden": [8, 4], "dropout": 0.5, "batch_norm": True}


def test_an_optimiser_that_cannot_be_built_ahead_is_refused(
    model: CETNet, inputs: dict[str, np.ndarray], label: np.ndarray
) -> None:
    model.compile(tf.keras.optimizers.legacy.Adam())
    with pytest.raises(ValueError, match="not of its `legacy`"):
        model.fit(inputs, label, verbose=0)


def test_a_warm_up_needs_an_optimiser(
    spec: DataSpec, inputs: dict[str, np.ndarray], label: np.ndarray
) -> None:
    model = CETNet(spec, {"user": 5, "item": 4}, collaboration={"warmup_steps": 2})
    with pytest.raises(ValueError, match="compile first"):
        model.compute_loss((inputs, label), training=True)


def test_tables_are_stored_in_two_types_alone(model: CETNet) -> None:
    with pytest.raises(ValueError, match="`dtype` must be float16 or int8"):
        model.compress_tables("int4")
