"""Training on what Transform wrote: the seed decides, the eval split is looked at within a pass, the best weights stay."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from sklearn.metrics import log_loss, roc_auc_score

from cetnet_keras.cetnet import CETNet
from cetnet_keras.errors import WorkFailed
from cetnet_keras.spec import DataSpec, MemberSpec, TrainingSpec
from pipeline import trainer
from pipeline.dataset import parsed_batches, transformed_batches
from pipeline.evaluate_split import EvalSplit, EvaluateSplit
from pipeline.groups import NO_GROUP
from pipeline.keep_best import KeepBest
from pipeline.trainer import Fit, optimizer_of, train
from pipeline.transform import vocabulary_sizes

MEMBER = MemberSpec(type="dcnv2", embedding_dim=8, hidden=[16], cross_layers=1)
STEPS = 4  # 240 rows of train, batches of 64


class Prepared(NamedTuple):
    """What Trainer is given."""

    spec: DataSpec
    transformed: tft.TFTransformOutput
    files: list[str]
    held_out: EvalSplit


class Trained(NamedTuple):
    """A model after `train`, how that went, and where."""

    model: CETNet
    fit: Fit
    folder: Path

    @property
    def history(self) -> dict[str, list[float]]:
        """By what was logged, a value each Keras epoch."""
        return self.fit.history


@pytest.fixture(scope="module")
def prepared(first_run: Any) -> Prepared:
    """Transformed rows of the first run."""
    transformed = tft.TFTransformOutput(str(first_run.artifact("Transform", "transform_graph")))
    rows = first_run.artifact("Transform", "transformed_examples")
    batches = transformed_batches([str(rows / "Split-eval" / "*")], transformed, 32)
    held_out = EvalSplit.read(first_run.spec, batches)
    return Prepared(first_run.spec, transformed, [str(rows / "Split-train" / "*")], held_out)


@pytest.fixture(scope="module")
def trained(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """(members, one by default; whether they learn apart; keys of `training` in model.yaml) -> a new model, trained so."""

    def run(members: Sequence[MemberSpec] = (MEMBER,), apart: bool = False, **keys: Any) -> Trained:
        training = TrainingSpec.model_validate({"batch_size": 64, "monitor": "auc"} | keys)
        tf.keras.utils.set_random_seed(training.seed)
        tf.config.experimental.enable_op_determinism()
        sizes = vocabulary_sizes(prepared.spec, prepared.transformed)
        ways = ({"alpha": 0.0}, {"type": "logit_mean", "detach_members": True}) if apart else ()
        model = CETNet(prepared.spec, sizes, members, *ways)
        folder = tmp_path_factory.mktemp("training")
        fit = train(model, training, prepared.files, prepared.transformed, prepared.held_out, folder)
        return Trained(model, fit, folder)

    return run


@pytest.fixture(scope="module")
def overfitted(trained: Callable[..., Trained]) -> Trained:
    """Trained on a few rows, fast, until it gets worse."""
    return trained(epochs=60, patience=3, learning_rate=0.03, evaluations_per_epoch=2)


def scores(prepared: Prepared, trained: Trained) -> np.ndarray:
    """The fused CTR on the eval split."""
    return np.asarray(trained.model.predict(prepared.held_out.inputs, verbose=0)["ctr"])


def test_the_seed_decides_the_weights(prepared: Prepared, trained: Callable[..., Trained]) -> None:
    first, second, other = (trained(epochs=2, learning_rate=0.01, seed=seed) for seed in (1, 1, 2))
    for one, same in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert first.history == second.history
    np.testing.assert_array_equal(scores(prepared, first), scores(prepared, second))
    assert np.abs(scores(prepared, first) - scores(prepared, other)).max() > 1e-3


def test_training_stops_early_and_keeps_the_best_weights(prepared: Prepared, overfitted: Trained) -> None:
    found = overfitted.history["eval_auc"]
    best = int(np.argmax(found))
    assert (overfitted.fit.monitored, overfitted.fit.best) == ("eval_auc", best)
    assert len(found) == best + 1 + 3 * 2 < 60 * 2, "patience is counted in passes, of two evaluations each"
    assert found[-1] < found[best], "it has overfitted"
    label = prepared.held_out.label
    assert roc_auc_score(label, scores(prepared, overfitted)) == pytest.approx(found[best], abs=1e-9)


def test_the_best_weights_stay_where_the_last_pass_ends_the_training(
    prepared: Prepared, trained: Callable[..., Trained]
) -> None:
    ended = trained(epochs=12, patience=99, learning_rate=0.03, evaluations_per_epoch=1)
    found = ended.history["eval_auc"]
    assert len(found) == 12 and found[-1] < max(found)
    assert roc_auc_score(prepared.held_out.label, scores(prepared, ended)) == pytest.approx(
        max(found), abs=1e-9
    )


def test_each_member_is_kept_as_it_did_best_by_itself_where_that_is_better(
    prepared: Prepared, trained: Callable[..., Trained]
) -> None:
    members = [MEMBER, MemberSpec(type="mlp", embedding_dim=2, hidden=[4])]
    label, batches, taken = prepared.held_out.label, prepared.held_out.inputs, []
    for seed in range(4):
        keys = {"epochs": 80, "patience": 3, "learning_rate": 0.02, "evaluations_per_epoch": 1, "seed": seed}
        ended = trained(members, apart=True, stop="each", **keys)
        own = {name: ended.history[f"eval_{name}_auc"] for name in ("dcnv2", "mlp")}
        best = {name: int(np.argmax(values)) for name, values in own.items()}
        fused = ended.history["eval_auc"]
        assert len(fused) == 1 + max(ended.fit.best, *best.values()) + 3, "it waits for the last of them"
        output = ended.model.predict(batches, verbose=0)
        found = roc_auc_score(label, output["ctr"])
        if ended.fit.own_best:
            assert ended.fit.own_best == best and found > max(fused)
        else:
            assert found == pytest.approx(max(fused), abs=1e-9)
        kept = ended.fit.own_best or dict.fromkeys(own, ended.fit.best)
        for member, (name, values) in enumerate(own.items()):
            auc = roc_auc_score(label, output["member_ctr"][:, member])
            assert auc == pytest.approx(values[kept[name]], abs=1e-9), name
        taken.append(bool(ended.fit.own_best))
    assert any(taken) and not all(taken)


def test_the_eval_split_is_measured_within_a_pass_and_logged(
    prepared: Prepared, trained: Callable[..., Trained]
) -> None:
    once = trained(epochs=1, evaluations_per_epoch=STEPS)
    assert len(once.history["eval_auc"]) == int(once.model.optimizer.iterations) == STEPS
    best = int(np.argmax(once.history["eval_auc"]))
    logged = {key: values[best] for key, values in once.history.items()}
    label, ctr = prepared.held_out.label, scores(prepared, once).astype(np.float64)
    assert logged["eval_auc"] == pytest.approx(roc_auc_score(label, ctr), abs=1e-9)
    assert logged["eval_log_loss"] == pytest.approx(log_loss(label, ctr), abs=1e-6)
    sizes, areas = [], []
    for user in set(prepared.held_out.group) - {NO_GROUP}:
        own = prepared.held_out.group == user
        if len(set(label[own])) == 2:
            sizes.append(own.sum())
            areas.append(roc_auc_score(label[own], ctr[own]))
    assert logged["eval_gauc"] == pytest.approx(np.average(areas, weights=sizes), abs=1e-9)
    assert logged["eval_gauc_mean"] == pytest.approx(np.mean(areas), abs=1e-9)
    assert {"loss", "loss_fused", "loss_dcnv2", "eval_dcnv2_auc", "eval_dcnv2_gauc"} <= set(logged)


@pytest.mark.parametrize("wait", [1, 2])
def test_the_rate_falls_after_evaluations_without_gain(trained: Callable[..., Trained], wait: int) -> None:
    keys = {"plateau_factor": 0.5, "plateau_patience": wait, "evaluations_per_epoch": 1}
    slower = trained(epochs=8, patience=8, learning_rate=0.1, **keys)
    found, rate, best, without = slower.history["eval_auc"], 0.1, -np.inf, 0
    for auc, logged in zip(found, slower.history["lr"], strict=True):
        assert logged == pytest.approx(rate)
        best, without = (auc, 0) if auc > best else (best, without + 1)
        if without == wait:
            rate, without = rate / 2, 0
    assert slower.history["lr"][-1] < 0.1, "there was one"


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_rate_falls_towards_zero_over_all_evaluations(
    trained: Callable[..., Trained], decay: str
) -> None:
    keys = {"epochs": 2, "patience": 2, "evaluations_per_epoch": 2, "learning_rate": 0.1}
    found = trained(learning_rate_decay=decay, **keys).history["lr"]
    done = np.arange(4) / 4
    expected = 0.1 * (1 - done if decay == "linear" else (1 + np.cos(np.pi * done)) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_training_of_which_no_evaluation_is_a_number_fails(trained: Callable[..., Trained]) -> None:
    with pytest.raises(
        WorkFailed, match="no evaluation of 1 gave a number for eval_auc: the weights have overflowed"
    ):
        trained(learning_rate=3e37, batch_size=10_000, epochs=1, evaluations_per_epoch=1)


def test_a_member_whose_first_evaluation_is_no_number_is_kept_at_a_later_one(
    prepared: Prepared, trained: Callable[..., Trained]
) -> None:
    stop = KeepBest(EvaluateSplit(prepared.held_out, "auc"), patience=1, each=True)
    (member,) = trained(epochs=1).model.members
    gains = [
        stop._keep("mlp", member, evaluation, {"eval_mlp_auc": auc})
        for evaluation, auc in enumerate((np.nan, 0.6, 0.5, np.nan, 0.7))
    ]
    assert gains == [True, True, False, False, True] and stop._own["mlp"].evaluation == 4


def test_a_step_has_no_more_rows_than_its_part_of_a_pass(
    trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def watched(rows: tf.data.Dataset, transformed: tft.TFTransformOutput, size: int) -> tf.data.Dataset:
        sizes.append(size)
        return parsed_batches(rows, transformed, size)

    monkeypatch.setattr(trainer, "parsed_batches", watched)
    found = trained(batch_size=100_000, epochs=2, evaluations_per_epoch=2)
    assert sizes == [-(-found.fit.rows // 2)]
    assert found.model.optimizer.iterations == len(found.history["loss"]) == 4


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize(("weight", "found"), [("auto", 12_000 / 406_000), (0.03, 0.03), (0.0, 0.0)])
def test_the_penalty_is_of_one_prior_for_any_number_of_rows(
    optimizer: str, weight: float | str, found: float
) -> None:
    training = TrainingSpec(optimizer=optimizer, embedding_l2=weight, embedding_l2_scope="lazy")
    made = optimizer_of(training, 406_000)
    assert (made.embedding_l2, made.embedding_l2_scope) == (found, "lazy")


def test_training_counts_the_rows_that_the_penalty_is_for(trained: Callable[..., Trained]) -> None:
    found = trained(epochs=1, embedding_l2="auto", embedding_l2_scope="lazy")
    assert found.model.optimizer.embedding_l2 == 12_000 / found.fit.rows


def test_the_gradient_as_a_whole_is_clipped() -> None:
    optimizer = optimizer_of(TrainingSpec(optimizer="adagrad", learning_rate=1.0, gradient_clip_norm=2.5), 1)
    dense, table = tf.Variable([0.0]), tf.Variable(np.zeros((3, 1), np.float32))
    slices = tf.IndexedSlices(tf.constant([[4.0]]), tf.constant([1]), tf.constant([3, 1]))
    optimizer.apply_gradients([(tf.constant([3.0]), dense), (slices, table)])  # of norm 5: halved
    np.testing.assert_allclose(dense, [-1.5 / np.sqrt(0.1 + 1.5**2)], rtol=1e-5)
    np.testing.assert_allclose(table, [[0], [-2 / np.sqrt(0.1 + 2**2)], [0]], rtol=1e-5)


def test_tensorboard_has_what_was_logged(first_run: Any, overfitted: Trained) -> None:
    for folder in (overfitted.folder, first_run.artifact("Trainer", "model_run")):
        events = [
            path for path in (folder / "tensorboard").rglob("events.out.tfevents.*") if path.stat().st_size
        ]
        assert events
        tags = {
            value.tag
            for path in events
            for event in tf.compat.v1.train.summary_iterator(str(path))
            for value in event.summary.value
        }
        assert {"epoch_eval_auc", "epoch_eval_gauc", "epoch_loss"} <= tags


def test_groups_are_those_of_the_raw_column(prepared: Prepared, first_run: Any, csv_rows: Any) -> None:
    users = {row["user"] for row in csv_rows(first_run.folder / "clicks.csv")}
    assert prepared.held_out.group is not None
    groups, rows = np.unique(prepared.held_out.group, return_counts=True)
    assert len(groups) == len(users) and (rows == 4).all()
    assert "" in users and groups[0] == NO_GROUP and (groups[1:] >= 0).all()


def split_of(label: list[int], group: list[int] | None) -> EvalSplit:
    rows = tf.data.Dataset.range(1)
    return EvalSplit(
        rows,
        np.array(label),
        np.ones(len(label)),
        np.ones(len(label)),
        None if group is None else np.array(group),
    )


def test_rows_without_a_group_count_for_all_but_the_group_aucs() -> None:
    split = split_of([1, 0, 1, 0], [5, 5, NO_GROUP, NO_GROUP])
    found = split.measure(np.array([0.9, 0.1, 0.0, 0.5]))
    assert (found["auc"], found["gauc"], found["gauc_mean"]) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("label", "group", "monitor", "expected"),
    [
        ([0, 1, 0, 1], [1, 1, 2, 2], "gauc", ("eval_gauc", "max")),
        ([0, 1, 0, 1], [1, 1, 2, 2], "log_loss", ("eval_log_loss", "min")),
        ([0, 1, 0, 1], [1, 1, 2, 2], "auc", ("eval_auc", "max")),
        ([0, 1, 0, 1], None, "gauc", ("eval_auc", "max")),  # no groups
        ([0, 1, 0, 1], [1, 2, 3, 4], "gauc", ("eval_auc", "max")),  # no group has both labels
        ([0, 1, 0, 1], [-1, -1, 3, 4], "gauc", ("eval_auc", "max")),  # those without a group are none
        ([0, 1, 0, 1], [-1, -1, -1, -1], "gauc", ("eval_auc", "max")),
        ([0, 0, 0, 0], [1, 1, 2, 2], "gauc", ("eval_log_loss", "min")),  # one class alone
        ([1, 1, 1, 1], None, "auc", ("eval_log_loss", "min")),
    ],
)
def test_what_cannot_be_measured_is_not_monitored(
    label: list[int], group: list[int] | None, monitor: str, expected: tuple[str, str]
) -> None:
    callback = EvaluateSplit(split_of(label, group), monitor)
    assert (callback.monitored, callback.mode) == expected
