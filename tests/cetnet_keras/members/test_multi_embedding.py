"""The multi-embedding model against its formula (arXiv 2310.04400) in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import DataSpec, LazyAdam, RowWiseAdagrad
from cetnet_keras.members import MultiEmbeddingMember
from cetnet_keras.members.multi_embedding import INTERACTIONS, InnerProducts

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


def products(rows: np.ndarray) -> np.ndarray:
    n = rows.shape[1]
    pairs = [(rows[:, i] * rows[:, j]).sum(axis=1) for i in range(n) for j in range(i + 1, n)]
    return np.stack(pairs, axis=1)


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_member_is_the_mean_of_its_sets_and_one_head(
    interaction: str, make_spec: Callable[..., DataSpec], randomise: Callable[..., None]
) -> None:
    spec = make_spec(FEATURES)
    member = MultiEmbeddingMember(spec, SIZES, 3, interaction, sets=2, hidden=[5, 4], cross_layers=2)
    member(BATCH)
    randomise(member)
    weights = {v.name.split("/", 1)[1]: v.numpy().astype(np.float64) for v in member.variables}

    def part(name: str) -> list[np.ndarray]:
        return [value for key, value in weights.items() if key.startswith(f"{name}/")]

    numbers = np.stack([BATCH["age"], BATCH["age/missing"]], axis=1)
    each = []
    for m in range(2):
        table = weights["features/embeddings:0"][:, 3 * m : 3 * m + 3]  # a complete set: both vocabularies
        seen = np.stack([(table[4] + table[3]) / 2, np.zeros(3)])
        user, item = table[[1, 2]], table[[3, 5]]
        x0 = x = np.concatenate([user, item, numbers, seen], axis=1)
        if interaction == "dcnv2":
            for i in range(2):
                kernel, bias = part(f"set_{m}_cross_{i}")
                x = x0 * (x @ kernel + bias) + x
        if interaction == "ipnn":
            x = np.concatenate([x0, products(np.stack([user, item, seen], axis=1))], axis=1)
        kernel, bias = part(f"set_{m}")
        each.append(np.maximum(x @ kernel + bias, 0))
    kernel, bias = part("head")
    expected = np.maximum((each[0] + each[1]) / 2 @ kernel + bias, 0)
    np.testing.assert_allclose(member(BATCH).embedding, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "alike"),
    [
        (lambda: tf.keras.optimizers.SGD(0.1), True),
        (lambda: LazyAdam(0.1, embedding_l2=0.01), True),
        (lambda: RowWiseAdagrad(0.1), False),
    ],
    ids=["sgd", "lazy_adam", "row_wise_adagrad"],
)
def test_its_sets_learn_as_separate_tables_would_but_by_adagrad(
    optimizer: Callable[[], tf.keras.optimizers.Optimizer],
    alike: bool,
    make_spec: Callable[..., DataSpec],
    randomise: Callable[..., None],
) -> None:
    spec = make_spec(FEATURES)
    member = MultiEmbeddingMember(spec, SIZES, 3, sets=2, hidden=[5, 4], cross_layers=1)
    apart = [MultiEmbeddingMember(spec, SIZES, 3, sets=1, hidden=[5], cross_layers=1) for _ in range(2)]
    for each in (member, *apart):
        each(BATCH)
    randomise(member)
    wide, *separate = (each.features.variables[0] for each in (member, *apart))
    for m, single in enumerate(apart):
        separate[m].assign(wide[:, 3 * m : 3 * m + 3])
        single._crosses[0].set_weights(member._crosses[m].get_weights())
        single._own[0].set_weights(member._own[m].get_weights())

    def learned(tables: list[tf.Variable], embedding: Callable[[], tf.Tensor]) -> np.ndarray:
        steps = optimizer()
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(member.logit(embedding(), training=True)))
            steps.apply_gradients(zip(tape.gradient(loss, tables), tables, strict=True))
        return np.concatenate([table.numpy() for table in tables], axis=1)

    before = wide.numpy()
    expected = learned(separate, lambda: member._head((apart[0](BATCH)[0] + apart[1](BATCH)[0]) / 2))
    found = learned([wide], lambda: member(BATCH).embedding)
    assert np.abs(found - before).max() > 0.01
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5) == alike


@pytest.mark.parametrize("sets", [1, 3])
def test_its_tables_have_the_size_of_all_sets(sets: int, spec: DataSpec, sizes: dict[str, int]) -> None:
    member = MultiEmbeddingMember(spec, sizes, 4, sets=sets)
    member.features.build(None)
    assert member.features.table is not None
    assert member.features.table.embeddings.shape == (1 + sum(sizes.values()), 4 * sets)
    assert member.get_config()["embedding_dim"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interaction": "fm"}, "one of dnn, ipnn, dcnv2. Received: interaction='fm'"),
        ({"sets": 0}, "`sets` must be 1 or more. Received: sets=0"),
        ({"hidden": []}, "`hidden` must be 1 or more"),
        ({"cross_layers": 0}, "`cross_layers` must be 1 or more"),
    ],
)
def test_wrong_options_are_refused(
    spec: DataSpec, sizes: dict[str, int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MultiEmbeddingMember(spec, sizes, **options)


def test_contract_of_the_products(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(InnerProducts()(rows), products(rows), rtol=1e-5)
    assert_layer_contract(InnerProducts(name="products"), [rows], tmp_path)
