"""DCN-v2 against its formula (arXiv 2008.13535, equation 1) in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import DataSpec
from cetnet_keras.members import Dcnv2Member

MakeSpec = Callable[..., DataSpec]
FEATURES = {
    "item": {"type": "categorical", "role": "candidate"},
    "age": {"type": "numeric"},
    "history": {"type": "sequence", "vocabulary": "item"},
}
BATCH = {
    "item": np.array([1, 3]),
    "age": np.array([0.5, -2.0], np.float32),
    "age/missing": np.array([0.0, 1.0], np.float32),
    "history": np.array([[2, 1, 0], [0, 0, 0]]),
}


def x0(table: np.ndarray) -> np.ndarray:
    """The fields, the numbers and the mean of the sequence side by side, [B, 2 + 2 + 2]."""
    item, mean = table[[1, 3]], np.stack([(table[2] + table[1]) / 2, np.zeros(2)])
    return np.concatenate([item, np.stack([BATCH["age"], BATCH["age/missing"]], axis=1), mean], axis=1)


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
@pytest.mark.parametrize("rank", [None, 2])
def test_member_follows_the_paper(
    structure: str, rank: int | None, make_spec: MakeSpec, randomise: Callable[..., None]
) -> None:
    member = Dcnv2Member(
        make_spec(FEATURES),
        {"item": 4},
        embedding_dim=2,
        cross_layers=2,
        rank=rank,
        hidden=[3],
        structure=structure,
    )
    member(BATCH)
    randomise(member)
    weights = iter([weight.astype(np.float64) for weight in member.get_weights()])  # in the order of making
    x = x0(next(weights))
    logit_kernel, logit_bias = next(weights), next(weights)
    crossed = x
    for _ in range(2):
        w = (
            next(weights) if rank is None else next(weights) @ next(weights)
        )  # x W^T of the paper is x @ kernel
        crossed = x * (crossed @ w + next(weights)) + crossed
    kernel, bias = next(weights), next(weights)
    deep = np.maximum((crossed if structure == "stacked" else x) @ kernel + bias, 0)
    expected = deep if structure == "stacked" else np.concatenate([crossed, deep], axis=1)
    embedding, logit, _ = member(BATCH)
    np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logit, (expected @ logit_kernel + logit_bias)[:, 0], rtol=1e-4, atol=1e-5)


def test_projection_is_an_mlp_from_the_output_embedding(
    make_spec: MakeSpec, randomise: Callable[..., None]
) -> None:
    member = Dcnv2Member(make_spec(FEATURES), {"item": 4}, embedding_dim=2, projection=[3], hidden=[2])
    member(BATCH)
    randomise(member)
    _, hidden, hidden_bias, last, last_bias = member.get_weights()[:5]
    embedding, logit, _ = member(BATCH)
    expected = np.maximum(embedding.numpy().astype(np.float64) @ hidden + hidden_bias, 0) @ last + last_bias
    np.testing.assert_allclose(logit, expected[:, 0], rtol=1e-4)


def test_contract(make_spec: MakeSpec, assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    member = Dcnv2Member(make_spec(FEATURES), {"item": 4}, 4, hidden=[3], rank=2, dropout=0.1, name="dcnv2")
    assert_layer_contract(member, [BATCH], tmp_path, float32_outputs=(1,))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"cross_layers": 0}, r"`cross_layers` must be 1 or more\. Received: cross_layers=0"),
        ({"rank": 0}, r"`rank` must be 1 or more, or none\. Received: rank=0"),
        ({"structure": "beside"}, r"`structure` must be parallel or stacked\. Received: structure='beside'"),
    ],
)
def test_options_outside_their_range_are_refused(option: dict, message: str, make_spec: MakeSpec) -> None:
    with pytest.raises(ValueError, match=message):
        Dcnv2Member(make_spec(FEATURES), {"item": 4}, **option)


def test_dropout_acts_in_training_alone(make_spec: MakeSpec) -> None:
    tf.keras.utils.set_random_seed(0)
    member = Dcnv2Member(make_spec(FEATURES), {"item": 4}, hidden=[64], dropout=0.5)
    calm, again, dropped = (member(BATCH, training=training).embedding for training in (False, False, True))
    np.testing.assert_array_equal(calm, again)
    assert np.abs(dropped - calm).max() > 0
