"""run_fn: what TFX Trainer runs. Trains a CETNet under MirroredStrategy, keeps the best weights, exports the signatures."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from absl import logging
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader
from tfx.components.trainer.fn_args_utils import FnArgs

from cetnet_keras.cetnet import CETNet
from cetnet_keras.errors import WorkFailed
from cetnet_keras.oov import replace_by_oov
from cetnet_keras.optimizers import LazyAdam, RowWiseAdagrad, prior_l2
from cetnet_keras.spec import ROW_KEY, DataSpec, ModelSpec, TrainingSpec, parse_spec
from cetnet_keras.weight_average import WeightAverage
from pipeline.dataset import (
    dense_batch,
    inputs_of,
    parsed_batches,
    records,
    shuffled_records,
    transformed_batches,
)
from pipeline.divergence import diverged, is_divergence
from pipeline.evaluate_split import EvalSplit, EvaluateSplit
from pipeline.keep_best import KeepBest
from pipeline.pretrained import pretrained_tables
from pipeline.run_parameters import with_run_parameters
from pipeline.training_diagnostics import TableWatch, coverage, ensemble_summary
from pipeline.training_record import TableHealth, TrainingRecord
from pipeline.transform import (
    MISSING_INT,
    has_vocabulary,
    slice_keys,
    slice_vocabulary,
    vocabulary_sizes,
)
from pipeline.warmup_rows import warmup_requests
from serving.signatures import ServableModel
from serving.warmup import write_warmup

OFFLINE_SCORES = "offline_scores.npz"  # in the model run's folder: what the parity gate compares with
OFFLINE_ROWS = 1000
EVAL_BATCH = 8192
SUMMARY_BATCHES = 25  # of the eval split, that the members' agreement is measured on


class Fit(NamedTuple):
    """How training went."""

    history: dict[str, list[float]]  # a value a Keras epoch
    monitored: str  # the key of what the best weights were chosen by
    best: int  # position of the weights that were kept
    rows: int  # of the train split
    own_best: dict[
        str, int
    ]  # where each member's weights are of another position: that, by member; else empty


def run_fn(fn_args: FnArgs) -> None:
    """Trains, scores some eval rows offline, keeps a record and writes the SavedModel with its signatures.

    `fn_args.custom_config`: {"data_spec": text of data.yaml, "model_spec": text of model.yaml, "data_root": the folder
    that paths in the data spec are relative to, where it has a pretrained feature} and, where a run sets some of its own,
    pipeline.run_parameters.TRAINING_PARAMETERS.
    """
    config = with_run_parameters(fn_args.custom_config)
    spec = parse_spec(DataSpec, config["data_spec"], "data.yaml")
    model_spec = parse_spec(ModelSpec, config["model_spec"], "model.yaml")
    tf.keras.utils.set_random_seed(model_spec.training.seed)
    tf.config.experimental.enable_op_determinism()
    transformed = tft.TFTransformOutput(fn_args.transform_output)
    sizes = vocabulary_sizes(spec, transformed)
    with tf.distribute.MirroredStrategy().scope():
        model = make_model(spec, sizes, model_spec)
    tokens = partial(_tokens_of, spec, transformed)
    model.set_pretrained(pretrained_tables(spec, Path(config["data_root"]), tokens, sizes))
    run_dir = Path(fn_args.model_run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    held_out = EvalSplit.read(spec, transformed_batches(fn_args.eval_files, transformed, EVAL_BATCH))
    tables = TableWatch(model)
    fit = train(model, model_spec.training, fn_args.train_files, transformed, held_out, run_dir)
    health = tables.health()  # of the tables as they were trained
    if model_spec.serving.table_dtype != "float32":
        model.compress_tables(model_spec.serving.table_dtype)
    if model_spec.training.calibrate and _of_one_class(held_out.label):
        logging.warning("No calibration: the eval split has one class alone.")
    elif model_spec.training.calibrate:
        model.calibrate(held_out.inputs, held_out.label, held_out.weight)
        logging.info("Calibration on the eval split: %s", model.calibration.get_weights())
    _record(model, model_spec.training, fit, health, held_out).write(run_dir)
    _write_offline_scores(model, spec, fn_args.eval_files, transformed, run_dir / OFFLINE_SCORES)
    _export(model, transformed, config, run_dir, fn_args.serving_model_dir)
    requests = warmup_requests(spec, transformed, model_spec.serving.warmup_batch_sizes)
    write_warmup(Path(fn_args.serving_model_dir), requests)


def _of_one_class(label: np.ndarray) -> bool:
    return bool((label == label[0]).all())


def _tokens_of(spec: DataSpec, transformed: tft.TFTransformOutput, owner: str) -> list[str]:
    """The tokens of an owner of ids, in the order of the ids; those of an identity are its numbers."""
    if has_vocabulary(spec, owner):
        return [token.decode() for token in transformed.vocabulary_by_name(owner)]
    return [str(number) for number in range(vocabulary_sizes(spec, transformed)[owner] - 1)]


def make_model(spec: DataSpec, sizes: Mapping[str, int], model_spec: ModelSpec) -> CETNet:
    """The model that model.yaml describes; `sizes` are CETNet's vocabulary_sizes."""
    chosen = model_spec.members, model_spec.collaboration, model_spec.fusion, model_spec.shared_tables
    return CETNet(spec, sizes, *chosen)


def optimizer_of(training: TrainingSpec, rows: int) -> tf.keras.optimizers.Optimizer:
    """The optimiser that model.yaml names, for so many rows."""
    kind = RowWiseAdagrad if training.optimizer == "adagrad" else LazyAdam
    l2 = prior_l2(rows) if training.embedding_l2 == "auto" else training.embedding_l2
    return kind(
        training.learning_rate,
        embedding_l2=l2,
        embedding_l2_scope=training.embedding_l2_scope,
        global_clipnorm=training.gradient_clip_norm,
    )


def train(
    model: CETNet,
    training: TrainingSpec,
    files: list[str],
    transformed: tft.TFTransformOutput,
    held_out: EvalSplit,
    run_dir: Path,
) -> Fit:
    """Compiles and fits the model and leaves the weights in it that did best on the eval split.

    One Keras epoch is a part of a pass over the rows, so that the eval split is looked at within the pass too: such
    models often overfit after their first. Source of the part and the patience: our choice.
    Raises WorkFailed where the loss becomes no number, the best weights before it are kept; or where no evaluation is one.
    """
    rows = int(records(files).reduce(np.int64(0), lambda count, _: count + 1))
    with model.distribute_strategy.scope():
        model.compile(optimizer=optimizer_of(training, rows))
    parts = training.evaluations_per_epoch
    # a larger one would go over the rows more than once in a step
    batch_size = min(training.batch_size, -(-rows // parts))
    if batch_size < training.batch_size:
        logging.warning("batch_size %d is cut to %d, a part of a pass.", training.batch_size, batch_size)
    steps = -(-rows // (batch_size * parts))
    evaluate = EvaluateSplit(held_out, training.monitor)
    each = training.stop == "each" and len(model.members) > 1
    stop = KeepBest(evaluate, training.patience * parts, each)
    board = tf.keras.callbacks.TensorBoard(str(run_dir / "tensorboard"), write_graph=False)
    callbacks = [evaluate, stop, board]  # the first measures what the others look at
    if training.average_weights:
        callbacks.insert(0, WeightAverage(steps))
    if training.learning_rate_decay != "none":
        falling = partial(falling_rate, training, training.epochs * parts)
        callbacks.append(tf.keras.callbacks.LearningRateScheduler(falling))
    if training.plateau_factor < 1:
        slow_down = tf.keras.callbacks.ReduceLROnPlateau(
            evaluate.monitored,
            training.plateau_factor,
            patience=training.plateau_patience,
            mode=evaluate.mode,
            min_delta=0,
        )
        callbacks.append(slow_down)
    with TemporaryDirectory() as scratch:

        def batches() -> tf.data.Dataset:
            shuffled = shuffled_records(files, rows, training.seed, Path(scratch))
            return parsed_batches(shuffled, transformed, batch_size)

        try:
            history = model.fit(
                _training_pairs(model, batches(), training.seed),
                epochs=training.epochs * parts,
                steps_per_epoch=steps,
                callbacks=callbacks,
                verbose=0,
            )
        except tf.errors.InvalidArgumentError as error:
            if not is_divergence(error):
                raise
            done = int(model.optimizer.iterations.numpy())
            again = next(batches().skip(done).as_numpy_iterator())
            best = stop.best_weights if np.isfinite(stop.best) else None
            raise diverged(model, again, best, run_dir) from error
    if not np.isfinite(history.history[evaluate.monitored]).any():
        found = f"no evaluation of {len(history.history[evaluate.monitored])} gave a number for {evaluate.monitored}"
        raise WorkFailed(
            f"{found}: the weights have overflowed; lower `learning_rate`, or set `gradient_clip_norm`"
        )
    logging.info("Best %s %.5f after evaluation %d.", evaluate.monitored, stop.best, stop.best_epoch + 1)
    own_best = stop.take_each_at_its_best()
    if own_best:
        logging.info("Each member at its own best is better: after the evaluations %s, from 0.", own_best)
    return Fit(history.history, evaluate.monitored, stop.best_epoch, rows, own_best)


def falling_rate(training: TrainingSpec, evaluations: int, done: int, now: float) -> float:
    """The learning rate after `done` of so many evaluations, whatever it is `now`."""
    left = 1 - done / evaluations
    share = left if training.learning_rate_decay == "linear" else (1 - math.cos(math.pi * left)) / 2
    return training.learning_rate * share


def _record(
    model: CETNet, training: TrainingSpec, fit: Fit, tables: list[TableHealth], held_out: EvalSplit
) -> TrainingRecord:
    seen = model.predict(held_out.inputs.take(SUMMARY_BATCHES), verbose=0)
    return TrainingRecord(
        train_rows=fit.rows,
        eval_rows=len(held_out.label),
        evaluations_per_epoch=training.evaluations_per_epoch,
        monitored=fit.monitored,
        best=fit.best,
        own_best=fit.own_best,
        history=fit.history,
        tables=tables,
        coverage=coverage(model.spec, model.vocabulary_sizes, held_out.inputs.as_numpy_iterator()),
        ensemble=ensemble_summary(model.member_names, seen["member_ctr"], seen["fusion_weight"]),
    )


def _training_pairs(model: CETNet, batches: tf.data.Dataset, seed: int) -> tf.data.Dataset:
    spec, sizes = model.spec, model.vocabulary_sizes

    def pair(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        inputs = replace_by_oov(
            inputs_of(spec, batch), spec, sizes, tf.stack([tf.constant(seed, tf.int64), step])
        )
        weight = () if spec.weight is None else (batch[spec.weight],)
        return inputs, batch[spec.label], *weight

    return batches.enumerate().map(pair, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(4)


def _write_offline_scores(
    model: CETNet, spec: DataSpec, files: list[str], transformed: tft.TFTransformOutput, path: Path
) -> None:
    """Scores rows of the eval split as Beam transformed them, with the model as it was trained."""
    batch = next(iter(transformed_batches(files, transformed, OFFLINE_ROWS)))
    output = {key: value.numpy() for key, value in model(inputs_of(spec, batch), training=False).items()}
    np.savez(path, **{ROW_KEY: batch[ROW_KEY].numpy(), **output})


class ServingTransform(tf.Module):
    """The transform graph as the signatures call it: dense raw tensors of some features in, model inputs out.

    TFT's own layer does the same as a Keras model, whose saving traces every layer once more.
    """

    def __init__(self, spec: DataSpec, transformed: tft.TFTransformOutput) -> None:
        super().__init__(name="transform")
        self._loader = SavedModelLoader(transformed.transform_savedmodel_dir)
        self._tables = [
            part
            for part in vars(self._loader).values()
            if isinstance(part, tf.__internal__.tracking.Trackable)
        ]

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return dense_batch(self._loader.apply_transform_model({n: _as_schema(v) for n, v in raw.items()}))


def _as_schema(dense: tf.Tensor) -> tf.Tensor | tf.SparseTensor:
    """A raw tensor as the schema has it: of a number [B] or vector [B, n] nothing where it is missing, lists sparse."""
    if dense.shape.rank == 1:
        return dense if dense.dtype == tf.string else _without_missing(dense[:, tf.newaxis])
    return (
        _without_missing(dense) if dense.dtype.is_floating else tf.RaggedTensor.from_tensor(dense).to_sparse()
    )


def _without_missing(dense: tf.Tensor) -> tf.SparseTensor:
    """[B, n], without the rows that have a NaN or MISSING_INT."""
    missing = tf.math.is_nan(dense) if dense.dtype.is_floating else dense == MISSING_INT
    present = tf.ones_like(missing) & ~tf.reduce_any(missing, axis=1, keepdims=True)
    return tf.SparseTensor(tf.where(present), tf.boolean_mask(dense, present), tf.shape(dense, tf.int64))


def _export(
    model: CETNet, transformed: tft.TFTransformOutput, config: Mapping[str, Any], run_dir: Path, path: str
) -> None:
    spec = model.spec
    assets = []
    for name, key in (("data.yaml", "data_spec"), ("model.yaml", "model_spec")):
        (run_dir / name).write_text(config[key], encoding="utf-8")
        assets.append(run_dir / name)
    values = {key: _most_frequent(spec, transformed, key) for key in slice_keys(spec)}
    servable = ServableModel(model, ServingTransform(spec, transformed), values, assets)
    servable.save(path)


def _most_frequent(spec: DataSpec, transformed: tft.TFTransformOutput, key: str) -> list[str]:
    values = transformed.vocabulary_by_name(slice_vocabulary(spec, key))
    return [value.decode() for value in values[: spec.slice_top]]
