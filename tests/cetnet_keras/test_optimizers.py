"""The touched-rows optimisers against Adam and row-wise Adagrad written out in NumPy, float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import LazyAdam, RowWiseAdagrad

TABLE = np.random.default_rng(0).normal(size=(6, 3))
STEPS = [
    [1, 4, 1],
    [4],
    [0, 4, 5, 5, 5],
    [1, 2],
]  # rows of each batch, some of them twice; row 3 is never touched
ALL_ROWS = [[0, 1, 2, 3, 4, 5]] * 4


def gradients(steps: list[list[int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=(len(rows), TABLE.shape[1])) for rows in steps]


def summed(rows: list[int], values: np.ndarray) -> dict[int, np.ndarray]:
    return {row: values[[i for i, other in enumerate(rows) if other == row]].sum(axis=0) for row in rows}


def trained(optimizer: Any, steps: list[list[int]], dense: bool = False) -> np.ndarray:
    table = tf.Variable(TABLE, dtype=tf.float32, name="embeddings")
    for rows, values in zip(steps, gradients(steps), strict=True):
        gradient = tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows, tf.int64), TABLE.shape)
        optimizer.apply_gradients([(tf.convert_to_tensor(gradient) if dense else gradient, table)])
    return table.numpy()


def since(steps: list[list[int]], t: int, row: int) -> int:
    """How many steps a row of step t, from 1, was last touched before; one never touched, before step 1."""
    return t - max((s for s in range(1, t) if row in steps[s - 1]), default=0)


def lazy_adam(
    steps: list[list[int]], rate: float = 0.1, l2: float = 0.0, scope: str = "touched"
) -> np.ndarray:
    """Adam (Kingma and Ba 2015, algorithm 1, in the form with the corrected rate) on the rows of the batch alone."""
    table, m, v = TABLE.copy(), np.zeros_like(TABLE), np.zeros_like(TABLE)
    for t, (rows, values) in enumerate(zip(steps, gradients(steps), strict=True), start=1):
        for row, gradient in summed(rows, values).items():
            g = gradient + l2 * table[row] * (since(steps, t, row) if scope == "lazy" else 1)
            m[row] = 0.9 * m[row] + 0.1 * g
            v[row] = 0.999 * v[row] + 0.001 * g**2
            table[row] -= rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m[row] / (np.sqrt(v[row]) + 1e-7)
    return table


def row_wise_adagrad(
    steps: list[list[int]], rate: float = 0.1, l2: float = 0.0, scope: str = "touched"
) -> np.ndarray:
    table, total = TABLE.copy(), np.full(len(TABLE), 0.1)
    for t, (rows, values) in enumerate(zip(steps, gradients(steps), strict=True), start=1):
        for row, gradient in summed(rows, values).items():
            g = gradient + l2 * table[row] * (since(steps, t, row) if scope == "lazy" else 1)
            total[row] += np.mean(g**2)
            table[row] -= rate * g / (np.sqrt(total[row]) + 1e-8)
    return table


@pytest.mark.parametrize("scope", ["touched", "lazy"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_lazy_adam_is_adam_on_the_rows_of_the_batch(l2: float, scope: str) -> None:
    found = trained(LazyAdam(0.1, embedding_l2=l2, embedding_l2_scope=scope), STEPS)
    np.testing.assert_allclose(found, lazy_adam(STEPS, l2=l2, scope=scope), rtol=1e-4)
    np.testing.assert_array_equal(found[3], TABLE[3].astype(np.float32))


def test_lazy_adam_equals_stock_adam_where_every_row_is_touched() -> None:
    stock = trained(tf.keras.optimizers.Adam(0.1), ALL_ROWS)
    np.testing.assert_allclose(trained(LazyAdam(0.1), ALL_ROWS), stock, rtol=1e-4)


def test_lazy_adam_is_plain_adam_for_a_dense_gradient() -> None:
    stock = trained(tf.keras.optimizers.Adam(0.1), STEPS, dense=True)
    np.testing.assert_allclose(trained(LazyAdam(0.1, embedding_l2=0.3), STEPS, dense=True), stock, rtol=1e-4)


def test_l2_on_the_whole_table_is_adam_on_the_gradient_and_every_row() -> None:
    table, m, v = TABLE.copy(), np.zeros_like(TABLE), np.zeros_like(TABLE)
    for t, (rows, values) in enumerate(zip(STEPS, gradients(STEPS), strict=True), start=1):
        g = 0.3 * table
        for row, gradient in summed(rows, values).items():
            g[row] += gradient
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        table -= 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
    found = trained(LazyAdam(0.1, embedding_l2=0.3, embedding_l2_scope="table"), STEPS)
    np.testing.assert_allclose(found, table, rtol=1e-4)


def test_where_every_row_is_in_every_step_all_penalties_are_one() -> None:
    """Steps that no row missed: nothing to make up for."""
    whole, lazy, touched = (
        trained(LazyAdam(0.1, embedding_l2=0.3, embedding_l2_scope=scope), ALL_ROWS)
        for scope in ("table", "lazy", "touched")
    )
    np.testing.assert_allclose(lazy, whole, rtol=1e-4)
    np.testing.assert_array_equal(lazy, touched)


@pytest.mark.parametrize("scope", ["touched", "lazy"])
def test_the_steps_that_rows_missed_come_back_with_a_saved_optimiser(scope: str) -> None:
    whole = LazyAdam(0.1, embedding_l2=0.3, embedding_l2_scope=scope)
    before, after = (LazyAdam(0.1, embedding_l2=0.3, embedding_l2_scope=scope) for _ in range(2))
    table = tf.Variable(TABLE, dtype=tf.float32, name="embeddings")
    for position, (rows, values) in enumerate(zip(STEPS, gradients(STEPS), strict=True)):
        optimizer = before if position < 2 else after
        if position == 2:
            after.build([table])
            for old, new in zip(before.variables, after.variables, strict=True):
                new.assign(old)
        slices = tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows, tf.int64), TABLE.shape)
        optimizer.apply_gradients([(slices, table)])
    np.testing.assert_array_equal(table, trained(whole, STEPS))


@pytest.mark.parametrize("scope", ["touched", "lazy"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_row_wise_adagrad_keeps_one_rate_a_row(l2: float, scope: str) -> None:
    optimizer = RowWiseAdagrad(0.1, embedding_l2=l2, embedding_l2_scope=scope)
    found = trained(optimizer, STEPS)
    np.testing.assert_allclose(found, row_wise_adagrad(STEPS, l2=l2, scope=scope), rtol=1e-4)
    np.testing.assert_array_equal(found[3], TABLE[3].astype(np.float32))
    # the step, the accumulators and, of lazy, when each row was last touched
    counts = [(6, 1)] if l2 and scope == "lazy" else []
    assert [variable.shape for variable in optimizer.variables] == [(), (6, 1), *counts]


def test_row_wise_adagrad_takes_a_dense_gradient_of_a_table_by_rows_too() -> None:
    found = trained(RowWiseAdagrad(0.1), ALL_ROWS, dense=True)
    np.testing.assert_allclose(found, row_wise_adagrad(ALL_ROWS), rtol=1e-4)


def test_row_wise_adagrad_is_plain_adagrad_for_other_variables() -> None:
    kernel, total = tf.Variable(TABLE, dtype=tf.float32, name="kernel"), np.full_like(TABLE, 0.1)
    expected, optimizer = TABLE.copy(), RowWiseAdagrad(0.1)
    for gradient in gradients(ALL_ROWS):
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), kernel)])
        total += gradient**2
        expected -= 0.1 * gradient / (np.sqrt(total) + 1e-8)
    np.testing.assert_allclose(kernel, expected, rtol=1e-4)


def clipped_adagrad(steps: list[list[int]], norm: float, l2: float = 0.0) -> np.ndarray:
    """Row-wise Adagrad on the gradient of the loss and of the rows' penalty, scaled to a norm of at most `norm`."""
    table, total = TABLE.copy(), np.full(len(TABLE), 0.1)
    for rows, values in zip(steps, gradients(steps), strict=True):
        whole = {row: g + l2 * table[row] for row, g in summed(rows, values).items()}
        scale = min(1, norm / np.sqrt(sum(np.sum(g**2) for g in whole.values())))
        for row, g in whole.items():
            total[row] += np.mean((scale * g) ** 2)
            table[row] -= 0.1 * scale * g / (np.sqrt(total[row]) + 1e-8)
    return table


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("norm", [1.0, 3.0, 100.0])
def test_the_norm_is_that_of_the_gradient_that_is_applied(norm: float, l2: float) -> None:
    found = trained(RowWiseAdagrad(0.1, embedding_l2=l2, global_clipnorm=norm), STEPS)
    np.testing.assert_allclose(found, clipped_adagrad(STEPS, norm, l2), rtol=1e-4)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({"global_clipnorm": 1.0}, 0.6),  # of [3, 4], 5 long
        ({"clipnorm": 1.0}, 1.0),
        ({"clipvalue": 0.5}, 0.5),
        ({"global_clipnorm": 10.0}, 3.0),
        ({}, 3.0),
    ],
)
@pytest.mark.parametrize("make", [LazyAdam, RowWiseAdagrad])
def test_copies_of_an_id_are_one_row_to_every_clip(
    make: Callable[..., Any], clip: dict[str, float], expected: float
) -> None:
    """What reaches the state of a row is seen there: moments of Adam, the accumulator of Adagrad."""
    optimizer = make(0.1, **clip)
    table, kernel = tf.Variable([[0.0], [0.0]], name="embeddings"), tf.Variable([0.0], name="kernel")
    copies = tf.IndexedSlices(tf.fill([100, 1], 0.03), tf.ones(100, tf.int64), tf.constant([2, 1]))
    optimizer.apply_gradients([(copies, table), (tf.constant([4.0]), kernel)])
    state = optimizer.variables[1].numpy()  # [2, 1], behind the step
    seen = np.sqrt(state - np.float32(0.1)) if make is RowWiseAdagrad else state / 0.1
    np.testing.assert_allclose(seen, [[0.0], [expected]], rtol=1e-5)


def test_the_norm_has_the_penalty_of_whole_tables_in_it() -> None:
    optimizer = LazyAdam(0.1, embedding_l2=0.3, embedding_l2_scope="table", global_clipnorm=1.0)
    table = tf.Variable(TABLE, dtype=tf.float32, name="embeddings")
    slices = tf.IndexedSlices(tf.constant([[1.0, 2.0, 3.0]]), tf.constant([4]), tf.constant(TABLE.shape))
    optimizer.apply_gradients([(slices, table)])
    g = 0.3 * TABLE
    g[4] += [1.0, 2.0, 3.0]
    np.testing.assert_allclose(optimizer.variables[1] / 0.1, g / np.linalg.norm(g), rtol=1e-4)


@pytest.mark.parametrize("make", [LazyAdam, RowWiseAdagrad])
def test_the_rate_may_be_a_schedule(make: Callable[..., Any]) -> None:
    schedule = tf.keras.optimizers.schedules.PiecewiseConstantDecay(
        [1], [0.1, 0.0]
    )  # steps 0 and 1, then nothing
    reference = trained(make(0.1), STEPS[:2])
    np.testing.assert_allclose(trained(make(schedule), STEPS), reference, rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        LazyAdam(0.01, embedding_l2=0.1, embedding_l2_scope="table", beta_1=0.8, epsilon=1e-6),
        RowWiseAdagrad(
            0.02, initial_accumulator=0.2, epsilon=1e-6, embedding_l2=0.1, embedding_l2_scope="lazy"
        ),
    ],
)
def test_the_config_comes_back_from_keras(optimizer: Any) -> None:
    twin = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
    assert type(twin) is type(optimizer)
    assert twin.get_config() == optimizer.get_config()


@pytest.mark.parametrize("make", [LazyAdam, RowWiseAdagrad])
@pytest.mark.parametrize("option", [{"weight_decay": 0.1}, {"use_ema": True}])
def test_what_would_touch_every_row_is_refused(make: Callable[..., Any], option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"cannot take {next(iter(option))}: use `embedding_l2`"):
        make(**option)


@pytest.mark.parametrize("option", ["amsgrad", "adaptive_epsilon"])
def test_lazy_adam_refuses_what_has_no_lazy_form(option: str) -> None:
    with pytest.raises(ValueError, match=f"cannot take {option}"):
        LazyAdam(**{option: True})


def test_arguments_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`embedding_l2` must be 0 or more\. Received: embedding_l2=-1"):
        LazyAdam(embedding_l2=-1)
    with pytest.raises(
        ValueError, match=r"`embedding_l2_scope` must be one of touched, lazy, table\. Received: 'rows'"
    ):
        LazyAdam(embedding_l2_scope="rows")
    with pytest.raises(
        ValueError, match=r"`embedding_l2_scope` must be one of touched, lazy\. Received: 'table'"
    ):
        RowWiseAdagrad(embedding_l2_scope="table")
    with pytest.raises(ValueError, match=r"`initial_accumulator` must be 0 or more\. Received: -0\.1"):
        RowWiseAdagrad(initial_accumulator=-0.1)


def test_a_rare_row_is_kept_about_as_small_as_by_the_penalty_on_the_whole_table() -> None:
    """Row 1 is in every 50th step, each time with the same gradient of the loss; row 0 in all."""

    def size(scope: str) -> float:
        optimizer = LazyAdam(0.001, embedding_l2=0.15, embedding_l2_scope=scope)
        table = tf.Variable(tf.fill([2, 4], 1e-4), name="embeddings")
        sizes = []
        for step in range(1, 1001):
            rows = [0, 1] if step % 50 == 0 else [0]
            optimizer.apply_gradients(
                [(tf.IndexedSlices(tf.fill([len(rows), 4], 1e-3), rows, [2, 4]), table)]
            )
            sizes.append(float(tf.norm(table[1])))
        return float(np.mean(sizes[500:]))

    whole, lazy, touched = size("table"), size("lazy"), size("touched")
    assert lazy < 2 * whole and touched > 4 * max(whole, lazy)
