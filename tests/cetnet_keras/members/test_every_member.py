"""What holds for every built-in member: on every kind of feature, whatever the padding, saved and loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import DataSpec
from cetnet_keras.embeddings import CONTEXT_ROW
from cetnet_keras.members import Member, member_class
from cetnet_keras.members.registry import built_in_members

SMALL: dict[str, dict[str, Any]] = {
    "dcnv2": {"hidden": [3], "cross_layers": 1},
    "deepfm": {"hidden": [3]},
    "dhen": {"hidden": [3], "layers": 1, "rows": 3},
    "din": {"hidden": [3], "attention_hidden": [3]},
    "dmin": {"hidden": [3], "heads": 2, "attention_hidden": [3], "position_dim": 2},
    "finalmlp": {"hidden": [8], "second_hidden": [6], "gate_hidden": [3], "heads": 2},
    "finalnet": {"hidden": [4], "second_hidden": [2]},
    "interformer": {"hidden": [3], "layers": 1, "cls_rows": 2},
    "mlp": {"hidden": [3]},
    "multi_embedding": {"hidden": [6, 4], "cross_layers": 1},
}
OWN_READOUT = ("finalmlp", "finalnet")  # they take no projection
Batch = dict[str, np.ndarray]


def test_every_built_in_member_is_here() -> None:
    assert sorted(SMALL) == list(built_in_members())


@pytest.fixture(params=sorted(SMALL))
def member(
    request: pytest.FixtureRequest,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: Batch,
    randomise: Callable[..., None],
) -> Member:
    """With random weights; biases that differ from 0 would show what padding is turned into."""
    made = member_class(request.param)(spec, sizes, 4, **SMALL[request.param], name=request.param)
    made(batch)
    randomise(made)
    return made


def test_contract(
    member: Member, batch: Batch, assert_layer_contract: Callable[..., None], tmp_path: Path
) -> None:
    config = member.get_config() | {"dropout": 0.1, "embedding_stddev": 0.1}
    if member.name not in OWN_READOUT:
        config |= {"projection": [2]}
    assert_layer_contract(type(member).from_config(config), [batch], tmp_path, float32_outputs=(1, 2))


def test_the_amount_of_padding_changes_nothing(member: Member, batch: Batch) -> None:
    padded = {
        key: np.pad(ids, [(0, 0), (0, 5)]) if key in ("history", "tags") else ids
        for key, ids in batch.items()
    }
    expected, found = member(batch), member(padded)
    np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.logit, expected.logit, rtol=1e-4, atol=1e-5)


def test_what_stands_at_the_place_of_padding_changes_nothing(member: Member, batch: Batch) -> None:
    """Beside the zeros that the embedding gives: a member masks by itself."""
    features = member.features(batch)
    assert any((mask.numpy() == 0).any() for mask in features.masks.values())
    spoilt = {
        name: tokens + 1e3 * (1 - features.masks[name])[:, :, tf.newaxis]
        for name, tokens in features.sequences.items()
    }
    expected = member.output_embedding(features, training=False)
    found = member.output_embedding(features._replace(sequences=spoilt), training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_example_does_not_depend_on_the_others_of_its_batch(member: Member, batch: Batch) -> None:
    alone = member({key: values[:1] for key, values in batch.items()})
    np.testing.assert_allclose(alone.logit, member(batch).logit[:1], rtol=1e-4, atol=1e-5)


def test_candidates_of_a_context_are_scored_as_rows_of_their_own(member: Member, batch: Batch) -> None:
    """Context features have a row a context, and CONTEXT_ROW says whose each candidate is."""
    contexts = member.spec.with_role("context")
    of_context = {key: values for key, values in batch.items() if key.partition("/")[0] in contexts}
    row, rng = np.array([0, 0, 1, 2, 2, 2], np.int32), np.random.default_rng(1)
    candidates = {
        key: values[rng.integers(0, 3, len(row))] for key, values in batch.items() if key not in of_context
    }
    repeated = candidates | {key: values[row] for key, values in of_context.items()}
    expected = member(repeated)
    found = member(candidates | of_context | {CONTEXT_ROW: row})
    np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.logit, expected.logit, rtol=1e-4, atol=1e-5)


def test_a_history_of_nothing_is_a_number(member: Member, batch: Batch) -> None:
    of_padding = member(batch | {"history": np.zeros((3, 4), np.int64)})
    of_no_steps = member(batch | {"history": np.zeros((3, 0), np.int64)})
    assert np.isfinite(of_padding.logit).all()
    np.testing.assert_allclose(of_no_steps.logit, of_padding.logit, rtol=1e-4, atol=1e-5)


def test_every_variable_learns(member: Member, batch: Batch) -> None:
    full = {
        key: np.maximum(values, 1) if values.dtype == np.int64 else values for key, values in batch.items()
    }
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(member(full, training=True).logit))
    gradients = tape.gradient(loss, member.trainable_variables)
    for variable, gradient in zip(member.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.name
        values = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(values).all(), variable.name
        assert np.abs(values).max() > 1e-6, variable.name


def test_its_hidden_units_may_be_normalised(member: Member, batch: Batch) -> None:
    normal = type(member).from_config(member.get_config() | {"batch_norm": True, "name": "normal"})
    assert np.isfinite(normal(batch, training=True).logit).all()
    norms = [v for v in normal.non_trainable_variables if v.name.endswith("moving_mean:0")]
    assert norms and all(np.abs(mean).max() > 0 for mean in norms), "they have seen a batch"


def test_bfloat16_is_a_rougher_float32(member: Member, batch: Batch) -> None:
    rough = type(member).from_config(member.get_config() | {"dtype": "mixed_bfloat16", "name": "rough"})
    rough(batch)
    rough.set_weights([weight / 2 for weight in member.get_weights()])
    member.set_weights(rough.get_weights())
    found, expected = rough(batch), member(batch)
    assert found.embedding.dtype == tf.bfloat16 and found.logit.dtype == tf.float32
    np.testing.assert_allclose(found.logit, expected.logit, rtol=0.05, atol=0.05)
