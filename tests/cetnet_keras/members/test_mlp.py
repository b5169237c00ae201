"""The mlp member against its formula in float64."""

from collections.abc import Callable

import numpy as np

from cetnet_keras import DataSpec
from cetnet_keras.members import MlpMember


def test_member_is_an_mlp_on_everything_side_by_side(
    make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(
        {
            "item": {"type": "categorical", "role": "candidate"},
            "words": {"type": "sequence"},
            "age": {"type": "numeric"},
        }
    )
    member = MlpMember(spec, {"item": 4, "words": 3}, embedding_dim=2, hidden=[5, 3])
    batch = {
        "item": np.array([1, 3]),
        "words": np.array([[1, 2, 0], [0, 0, 0]]),
        "age": np.array([0.5, -2.0], np.float32),
        "age/missing": np.array([0.0, 1.0], np.float32),
    }
    member(batch)
    randomise(member)
    table, *dense = (weight.astype(np.float64) for weight in member.get_weights())
    logit, logit_bias, first, first_bias, last, last_bias = dense
    words = np.stack([(table[5] + table[6]) / 2, np.zeros(2)])
    x = np.concatenate([table[[1, 3]], np.stack([batch["age"], batch["age/missing"]], axis=1), words], axis=1)
    expected = np.maximum(np.maximum(x @ first + first_bias, 0) @ last + last_bias, 0)
    np.testing.assert_allclose(member(batch).embedding, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        member(batch).logit, (expected @ logit + logit_bias)[:, 0], rtol=1e-4, atol=1e-5
    )
