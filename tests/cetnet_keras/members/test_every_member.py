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
from cetnet_keras.members.base import checked_output
from cetnet_keras.members.registry import built_in_members

SMALL: dict[str, dict[str, Any]] = {
    "dcnv2": {"hidden": [3], "cross_layers": 1},
    "deepfm": {"hidden": [3]},
    "dhen": {"hidden": [3], "layers": 1, "rows": 3},
    "din": {"hidden": [3], "attention_hidden": [3]},
    "dmin": {"hidden": [3], "heads": 2, "attention_hidden": [8], "position_dim": 2},
    "finalmlp": {"hidden": [8], "second_hidden": [6], "gate_hidden": [3], "heads": 2},
    "finalnet": {"hidden": [4], "second_hidden": [2]},
    "interformer": {"hidden": [3], "layers": 1, "cls_rows": 2},
    "mlp": {"hidden": [3]},
    "multi_embedding": {"hidden": [6, 4], "cross_layers": 1},
}
OWN_READOUT = ("finalmlp", "finalnet")  # they take no projection
Batch = dict[str, np.ndarray]
Form = tuple[str, dict[str, Any]]  # a member and what it has beside, or in place of, the options of SMALL
EVERY: list[Form] = [(name, {}) for name in sorted(SMALL)]
OTHER_FORMS: list[Form] = [
    ("dcnv2", {"structure": "stacked"}),
    ("finalnet", {"second_hidden": []}),
    ("interformer", {"interaction": "dcnv2"}),
    ("interformer", {"interaction": "dot"}),
    ("multi_embedding", {"interaction": "dnn"}),
    ("multi_embedding", {"interaction": "ipnn"}),
]
WITHOUT_AN_MLP: list[Form] = [(name, {"hidden": []}) for name in ("dhen", "dmin", "interformer")]


def form_id(form: Form) -> str:
    return "-".join([form[0], *(f"{option}={value}" for option, value in form[1].items())])


def test_every_built_in_member_is_here() -> None:
    assert sorted(SMALL) == list(built_in_members())


@pytest.fixture(params=EVERY + OTHER_FORMS, ids=form_id)
def member(
    request: pytest.FixtureRequest,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: Batch,
    randomise: Callable[..., None],
) -> Member:
    """With random weights; biases that differ from 0 would show what padding is turned into."""
    name, form = request.param
    made = member_class(name)(spec, sizes, 4, **SMALL[name] | form, name=name)
    made(batch)
    randomise(made)
    return made


@pytest.fixture
def short_and_long(batch: Batch, sizes: dict[str, int]) -> Batch:
    """Histories of 25, 3 and 23 tokens with gaps: members that attend to them take those of up to 20 apart."""
    places = np.arange(25)
    ids = (places + np.array([[1], [2], [3]])) % (sizes["item"] + 1)
    return batch | {"history": ids * (places < np.array([[25], [3], [23]]))}


@pytest.mark.parametrize("form", EVERY + OTHER_FORMS, ids=form_id)
def test_contract(
    form: Form,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: Batch,
    assert_layer_contract: Callable[..., None],
    tmp_path: Path,
) -> None:
    name, options = form[0], SMALL[form[0]] | form[1] | {"dropout": 0.1, "embedding_stddev": 0.1}
    if name not in OWN_READOUT:
        options |= {"projection": [2]}
    made = member_class(name)(spec, sizes, 4, **options, name=name)
    assert made.get_config() | options == made.get_config()
    assert_layer_contract(made, [batch], tmp_path, float32_outputs=(1, 2))


@pytest.mark.parametrize("name", ["din", "dmin", "interformer"])
def test_a_member_that_is_about_sequences_refuses_a_spec_without_one(
    name: str, make_spec: Callable[..., DataSpec]
) -> None:
    spec = make_spec({"item": {"type": "categorical"}})
    with pytest.raises(
        ValueError, match=f"^{name} needs a sequence.*; the data spec has no sequence: add one"
    ):
        member_class(name)(spec, {"item": 4})


def test_the_amount_of_padding_changes_nothing(member: Member, short_and_long: Batch) -> None:
    padded = {
        key: np.pad(ids, [(0, 0), (0, 5)]) if key in ("history", "tags") else ids
        for key, ids in short_and_long.items()
    }
    expected, found = member(short_and_long), member(padded)
    np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.logit, expected.logit, rtol=1e-4, atol=1e-5)


def test_what_stands_at_the_place_of_padding_changes_nothing(member: Member, short_and_long: Batch) -> None:
    """Beside the zeros that the embedding gives: a member masks by itself."""
    features = member.features(short_and_long)
    assert any((mask.numpy() == 0).any() for mask in features.masks.values())
    spoilt = {
        name: tokens + 1e3 * (1 - features.masks[name])[:, :, tf.newaxis]
        for name, tokens in features.sequences.items()
    }
    expected = member.output_embedding(features, training=False)
    found = member.output_embedding(features._replace(sequences=spoilt), training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_example_does_not_depend_on_the_others_of_its_batch(member: Member, short_and_long: Batch) -> None:
    together = member(short_and_long).logit
    for row in range(3):
        alone = member({key: values[row : row + 1] for key, values in short_and_long.items()})
        np.testing.assert_allclose(alone.logit, together[row : row + 1], rtol=1e-4, atol=1e-5)


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
    found = checked_output(member, of_context | candidates | {CONTEXT_ROW: row}, training=False)
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


@pytest.mark.parametrize("member", EVERY + WITHOUT_AN_MLP, indirect=True, ids=form_id)
def test_dropout_acts_in_training_alone(member: Member, batch: Batch) -> None:
    """Where there is no MLP at the end, what stands before it drops too."""
    tf.keras.utils.set_random_seed(0)
    dropping = type(member).from_config(member.get_config() | {"dropout": 0.5, "name": "dropping"})
    dropping(batch)
    dropping.set_weights(member.get_weights())
    expected, calm, dropped = member(batch), dropping(batch), dropping(batch, training=True)
    np.testing.assert_array_equal(calm.embedding, expected.embedding)
    np.testing.assert_array_equal(calm.logit, expected.logit)
    assert np.abs(dropped.embedding - expected.embedding).max() > 1e-3


@pytest.mark.parametrize("member", [(name, {}) for name in OWN_READOUT], indirect=True, ids=OWN_READOUT)
@pytest.mark.parametrize("rates", [(0.0, 0.5), (0.5, 0.0), (0.5, None)])
def test_a_second_stream_has_a_dropout_of_its_own(
    member: Member, batch: Batch, rates: tuple[float, float | None]
) -> None:
    tf.keras.utils.set_random_seed(0)
    first, second = rates
    config = member.get_config() | {"dropout": first, "second_dropout": second, "name": "dropping"}
    dropping, width = type(member).from_config(config), config["hidden"][-1]
    dropping(batch)
    dropping.set_weights(member.get_weights())
    expected, dropped = member(batch).embedding, dropping(batch, training=True).embedding
    np.testing.assert_array_equal(dropping(batch).embedding, expected)
    moved = np.abs(dropped - expected) > 1e-3
    assert moved[:, :width].any() == (first > 0)
    assert moved[:, width:].any() == (second != 0)


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
