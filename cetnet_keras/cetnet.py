"""CETNet: members with tables of their own, trained towards one another, fused by confidence."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cetnet_keras.calibration import Calibration
from cetnet_keras.collaboration import collaborative_loss
from cetnet_keras.confidence import ConfidenceWeight
from cetnet_keras.embeddings import EmbeddingTable, FeatureBatch
from cetnet_keras.ensemble_members import default_members, make_member, member_names, share_tables
from cetnet_keras.fusion import Fusion
from cetnet_keras.input_signature import (
    check_ids,
    check_keys,
    check_numbers,
    example_batch,
    input_signature,
)
from cetnet_keras.labels import Labelled, check_rows, check_targets, labelled
from cetnet_keras.members.base import checked_output
from cetnet_keras.metrics import weight_among_all
from cetnet_keras.own_loss import OwnLossModel
from cetnet_keras.spec import CollaborationSpec, DataSpec, FusionSpec, MemberSpec


class EnsembleOutput(NamedTuple):
    """What the ensemble says of a batch, in log odds."""

    fused_logit: tf.Tensor  # [B] float32
    member_logit: tf.Tensor  # [B, M] float32
    weight: tf.Tensor  # [B, M] float32, sums to 1 over M
    confidence: tf.Tensor  # [B, M] float32, nats
    extra_loss: tf.Tensor  # [B, M] float32, what members add to their own loss


class _Seen(NamedTuple):
    """What a batch adds to logged losses, metrics and the click rate, once its loss is known to be sound."""

    output: EnsembleOutput
    label: tf.Tensor  # [B] float32
    weight: tf.Tensor  # [B] float32
    loss_sums: tf.Tensor  # [parts of the loss] float32


@tf.keras.utils.register_keras_serializable(package="cetnet")
class CETNet(OwnLossModel):
    """Collaborative Ensemble Training Network: several CTR models in one, and one fused CTR.

    Loss = BCE(fused) + sum_m BCE(member m) + alpha * mean over pairs of the symmetric KL (or what `collaboration` and
    `fusion` name in their place; a calibrated confidence adds the BCE of its own lines, and a member what its paper adds to
    its own loss), all from logits in float32,
    each example times its weight, divided by the global batch, so that N replicas give one replica's numbers.
    Where the spec says that negatives were down-sampled, losses and fusion are on the scale of training; ctr and
    member_ctr are p / (p + (1 - p) / negative_keep_rate), the rate among all rows (source: our choice; He et al. 2014), and
    then what `calibrate` makes of them.
    Source: CETNet (arXiv 2411.13700), sections 3.2 to 3.4; the means over pairs and, of the KL, over examples, which the
    paper prints as a sum, are our choice.

    Args:
        spec: the data spec, or its dict.
        vocabulary_sizes: ids beside 0 of each feature in `spec.owners`, out-of-vocabulary ids included.
        members: MemberSpec of each member (or its dict); default: `default_members(spec)`. One member is that model
            trained alone where `fusion` is {"type": "logit_mean", "detach_members": True}; other fusions give it a second
            head.
        collaboration: CollaborationSpec or its dict.
        fusion: FusionSpec or its dict.
        shared_tables: whether all members read the embedding rows of the first, the ablation "own tables" of the paper's
            table 3; tables that a member has beside those of its features stay its own.
        name, dtype: as for any Keras model; under a mixed policy logits and losses are float32 all the same.
    Call arguments:
        inputs: FeatureBatch with every feature of the spec; a label in it is not looked at.
    Returns:
        dict: ctr [B], member_ctr [B, M], fusion_weight [B, M] (sums to 1 over M), confidence [B, M] (nats), float32.
    Raises:
        ValueError: an unknown member, an option that it does not have, a value that it refuses, two members of one name,
            tables to be shared by members of unequal `embedding_dim`. In a call: a batch that lacks a key, or has it in
            another type or shape.

    A label outside [0, 1], a negative weight and an id above `vocabulary_sizes` raise InvalidArgumentError in training and
    evaluation, and such an id in `predict`; a served model does not look: its own transform makes its ids.
    A training step whose loss or gradient is not finite raises InvalidArgumentError and moves nothing but the moving
    statistics of batch normalisation, which the forward pass moves.
    In `fit`, a batch is (inputs, label) or (inputs, label, weight) with label [B], 0 or 1, and weight [B]. The parts of
    the loss are logged as `loss_NAME`, and beside them what `compile(metrics=..., weighted_metrics=...)`
    names, measured on ctr. Under `weighted_metrics` a row counts by its weight, and one without a click 1 /
    negative_keep_rate times that, so that rows and ctr are on one scale; under `metrics` every row counts once.
    """

    LOSS_CHECK = "the loss of a training step"  # what a failed check is known by
    GRADIENT_CHECK = "the gradient of a training step"

    def __init__(
        self,
        spec: DataSpec | dict[str, Any],
        vocabulary_sizes: Mapping[str, int],
        members: Sequence[MemberSpec | dict[str, Any]] | None = None,
        collaboration: CollaborationSpec | dict[str, Any] | None = None,
        fusion: FusionSpec | dict[str, Any] | None = None,
        shared_tables: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.distribute_reduction_method = "first"  # every replica has the logs of all; Keras would sum them
        self.spec = spec if isinstance(spec, DataSpec) else DataSpec.model_validate(spec)
        self.vocabulary_sizes = dict(vocabulary_sizes)
        chosen = default_members(self.spec) if members is None else members
        if not chosen:
            raise ValueError("`members` is empty; leave it out for the default ones")
        self.member_specs = [MemberSpec.model_validate(member) for member in chosen]
        self.collaboration = CollaborationSpec.model_validate(collaboration or {})
        self.fusion_spec = FusionSpec.model_validate(fusion or {})
        self.member_names = member_names(self.member_specs)
        self.members = [
            make_member(member, name, self.spec, self.vocabulary_sizes, self.dtype_policy)
            for member, name in zip(self.member_specs, self.member_names, strict=True)
        ]
        self.table_dtype = "float32"  # of all embedding tables
        self.shared_tables = shared_tables
        if shared_tables:
            share_tables(self.members)
        fusion_spec = self.fusion_spec
        self.weigh = ConfidenceWeight(
            fusion_spec.temperature,
            fusion_spec.learned_temperature,
            fusion_spec.learned_prior,
            fusion_spec.confidence,
            fusion_spec.gradient_stop,
            fusion_spec.calibrated,
            name="confidence_weight",
        )
        self.fuse = Fusion(fusion_spec.type, name="fusion")
        self.calibration = Calibration(name="calibration")
        calibration = ("calibration",) if fusion_spec.calibrated else ()
        self._loss_names = ("fused", *self.member_names, "collaboration", *calibration)
        # one metric for all parts: each metric more is traced for itself, again for each replica
        self._means = tf.keras.metrics.MeanTensor("losses", dtype="float32", shape=(len(self._loss_names),))
        self._set_save_spec(
            input_signature(self.spec)
        )  # else Keras takes the one token below for the only length
        # all variables exist from here on: saving and restoring need no first batch
        self(example_batch(self.spec, rows=2))

    @tf.autograph.experimental.do_not_convert  # nor what it calls: conversion took half of the time to a first step
    def predict_logits(self, inputs: FeatureBatch, training: bool | None = None) -> EnsembleOutput:
        """The ensemble's view of a batch in log odds."""
        check_keys(self.spec, inputs)
        outputs = [checked_output(member, inputs, training) for member in self.members]
        member_logit = tf.stack([output.logit for output in outputs], axis=1)
        # detached, the fused loss reaches no member through a weight either
        weighed = tf.stop_gradient(member_logit) if self.fusion_spec.detach_members else member_logit
        weight, confidence = self.weigh(weighed)
        seen = [output.embedding for output in outputs], member_logit  # by the fusion
        if self.fusion_spec.detach_members:
            seen = tf.nest.map_structure(tf.stop_gradient, seen)
        fused, weight = self.fuse(*seen, weight, self.weigh.log_weight(confidence))
        extra = [tf.zeros_like(o.logit) if o.extra_loss is None else o.extra_loss for o in outputs]
        return EnsembleOutput(fused, member_logit, weight, confidence, tf.stack(extra, axis=1))

    def call(self, inputs: FeatureBatch, training: bool | None = None) -> dict[str, tf.Tensor]:
        output = self.predict_logits(inputs, training)
        ctr = tf.sigmoid(self.calibration(self._served_logit(output)))  # [B, 1 + M]
        return {
            "ctr": ctr[:, 0],
            "member_ctr": ctr[:, 1:],
            "fusion_weight": output.weight,
            "confidence": output.confidence,
        }

    def _served_logit(self, output: EnsembleOutput) -> tf.Tensor:
        """Log odds [B, 1 + M] of the fused prediction and of each member among all rows, those that were dropped too."""
        every = tf.concat([output.fused_logit[:, tf.newaxis], output.member_logit], axis=1)
        return every + math.log(self.spec.negative_keep_rate)  # the odds of a click times the rate

    def calibrate(
        self, inputs: Iterable[FeatureBatch], label: np.ndarray, weight: np.ndarray | None = None
    ) -> None:
        """Fits `calibration` after training, on rows that training did not learn from.

        Args:
            inputs: batches of N rows in all, or one batch.
            label: [N], 0 or 1.
            weight: [N], that of a row; 1 if left out. Rows without a click count 1 / negative_keep_rate times that.
        Raises:
            ValueError: no batch, another number of labels or weights than rows, a label outside [0, 1], a weight that is
                negative or not finite, or none above 0.
            tf.errors.InvalidArgumentError: an id above `vocabulary_sizes`, a number that is not finite.
        """
        label = np.reshape(label, [-1])
        weight = np.ones(len(label)) if weight is None else np.reshape(weight, [-1])
        check_targets(label, weight)
        inputs = [inputs] if isinstance(inputs, Mapping) else inputs
        served = tf.function(
            lambda batch: self._served_logit(self.predict_logits(self._checked(batch))), reduce_retracing=True
        )
        every = [served(batch).numpy() for batch in inputs]
        if not every:
            raise ValueError("`inputs` has no batch")
        logit = np.concatenate(every)
        if not len(logit) == len(label) == len(weight):
            found = f"{len(logit)} rows, {len(label)} labels and {len(weight)} weights"
            raise ValueError(f"`inputs`, `label` and `weight` must be of one length. Received: {found}")
        self.calibration.fit(logit, label, weight_among_all(label, weight, self.spec.negative_keep_rate))

    def compress_tables(self, dtype: str) -> None:
        """Stores the rows of all embedding tables as float16 or int8, as `EmbeddingTable.compress` says, after training.

        A file of the model has them so too. What goes on learning does so with an optimiser that starts anew.
        Raises:
            ValueError: they are stored so already.
        """
        for table in self.embedding_tables:
            table.compress(dtype)
        self.table_dtype = dtype
        if self.optimizer is not None:  # it has moments as large as the tables that are gone
            with self.distribute_strategy.scope():
                self.optimizer = type(self.optimizer).from_config(self.optimizer.get_config())
                self.optimizer.build(self.trainable_variables)
        # traced with the tables as they were
        self.train_function = self.test_function = self.predict_function = None

    @property
    def embedding_tables(self) -> list[EmbeddingTable]:
        """The tables of all members, each once."""
        return [layer for layer in self.submodules if isinstance(layer, EmbeddingTable)]

    def compute_loss(self, inputs: Labelled, training: bool = False) -> tf.Tensor:
        """This replica's share of the loss: the sum over its examples over the size of the global batch.

        Args:
            inputs: (FeatureBatch, label [B]) or (FeatureBatch, label [B], weight [B]).
            training: whether dropout is active.
        Returns:
            scalar float32; summed over the replicas it is the loss of the global batch.
        """
        loss, seen = self._loss(inputs, training)
        self._log(seen, training)
        return loss

    def _loss(self, inputs: Labelled, training: bool) -> tuple[tf.Tensor, _Seen]:
        batch, label, weight = labelled(inputs)
        counted = tf.ones_like(label) if weight is None else weight
        batch = self._checked(batch, check_rows(label, counted))
        output = self.predict_logits(batch, training)
        clicks = tf.tile(label[:, tf.newaxis], [1, len(self.members)])  # [B, M]
        apart = collaborative_loss(self.collaboration.type, output.member_logit, output.fused_logit)
        parts = [
            tf.nn.sigmoid_cross_entropy_with_logits(label, output.fused_logit)[:, tf.newaxis],
            tf.nn.sigmoid_cross_entropy_with_logits(clicks, output.member_logit) + output.extra_loss,
            apart[:, tf.newaxis],
        ]
        if self.fusion_spec.calibrated:
            lines = self.weigh.calibrated_logit(output.member_logit)
            each = tf.nn.sigmoid_cross_entropy_with_logits(clicks, lines)
            parts.append(tf.reduce_sum(each, axis=1, keepdims=True))
        losses = tf.concat(parts, axis=1)  # [B, parts]
        if weight is not None:
            losses *= counted[:, tf.newaxis]
        sums = tf.reduce_sum(losses, axis=0)  # [parts]
        size = tf.cast(tf.size(label), tf.float32)
        loss = self._weighted(sums, self._warmth(training)) / self._over_replicas(size)
        return loss, _Seen(output, label, counted, sums)

    def _log(self, seen: _Seen, training: bool) -> None:
        """Adds a batch to the logged losses, the metrics and, in training, the click rate of "base_rate"."""
        label, weight = seen.label, seen.weight
        size = tf.cast(tf.size(label), tf.float32)  # 0 where a last batch has fewer rows than replicas
        self._means.update_state(tf.math.divide_no_nan(seen.loss_sums, size), sample_weight=size)
        if self.compiled_metrics is not None:
            ctr = tf.sigmoid(self.calibration(self._served_logit(seen.output))[:, 0])
            rows = weight_among_all(label, weight, self.spec.negative_keep_rate)
            # one column: Keras takes a last axis for the outputs of one row
            self.compiled_metrics.update_state(label[:, tf.newaxis], ctr[:, tf.newaxis], sample_weight=rows)
        if training and self.fusion_spec.confidence == "base_rate":
            totals = tf.tensordot(weight, label, 1), tf.reduce_sum(weight)
            self.weigh.observe(*(self._over_replicas(total) for total in totals))

    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs: Labelled) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss, seen = self._loss(inputs, training=True)
            loss = tf.debugging.check_numerics(loss + self._regularisation(), self.LOSS_CHECK)
        # scales the loss where float16 needs it
        gradients = self.optimizer.compute_gradients(loss, self.trainable_variables, tape=tape)
        with tf.control_dependencies([loss, self._checked_norm(gradients)]):  # stop the count of steps, too
            self._log(seen, training=True)
            self.optimizer.apply_gradients(gradients)
        return self._mean_losses()

    @tf.autograph.experimental.do_not_convert
    def test_step(self, inputs: Labelled) -> dict[str, tf.Tensor]:
        self.compute_loss(inputs, training=False)
        return self._mean_losses()

    @tf.autograph.experimental.do_not_convert
    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        return super().predict_step((self._checked(data[0] if isinstance(data, tuple) else data),))

    def _checked_norm(self, gradients: list[tuple[Any, tf.Variable]]) -> tf.Tensor:
        """The norm [] of a step's gradients, which must be finite: on a CPU a fused ReLU makes 0 of NaN, and hides it."""
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            return tf.constant(0.0)  # it leaves such a step out by itself, and lowers its scale
        norm = tf.linalg.global_norm([tf.cast(g, tf.float32) for g, _ in gradients if g is not None])
        return tf.debugging.check_numerics(norm, self.GRADIENT_CHECK)

    def _checked(self, batch: FeatureBatch, *others: tf.Operation | None) -> FeatureBatch:
        """The batch, of which nothing is read before these checks and those of its ids and numbers."""
        ids = check_ids(self.spec, self.vocabulary_sizes, batch)
        with tf.control_dependencies([ids, check_numbers(self.spec, batch, self.compute_dtype), *others]):
            return {key: tf.identity(value) for key, value in batch.items()}

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` gives a list of, in its order."""
        return ["loss", *(f"loss_{name}" for name in self._loss_names), *self._compiled()]

    def _compiled(self) -> dict[str, Any]:
        """The metrics that `compile` named, by name."""
        compiled = self.compiled_metrics
        return {} if compiled is None else {metric.name: metric for metric in compiled.metrics}

    def set_pretrained(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Gives every member the pretrained vectors: by `spec.owner` of the feature, [ids + 1, dimension], row 0 zero.

        Raises:
            ValueError: another shape, a value that is not finite, or no such feature.
        """
        for member in self.members:
            for owner, table in vectors.items():
                member.features.set_pretrained(owner, table)

    def _weighted(self, parts: tf.Tensor, warmth: tf.Tensor | float = 1.0) -> tf.Tensor:
        """The loss [] of its parts, in the order of their names."""
        factors = dict.fromkeys(self._loss_names, 1.0)
        factors |= {"fused": self.fusion_spec.loss_weight, "collaboration": self.collaboration.alpha * warmth}
        return tf.tensordot(tf.stack(list(factors.values())), parts, 1)

    def _warmth(self, training: bool) -> tf.Tensor | float:
        """The share of alpha in force: it rises from 0 over the first steps of training."""
        steps = self.collaboration.warmup_steps
        if not (training and steps):
            return 1.0
        if self.optimizer is None:
            raise ValueError("`warmup_steps` counts the optimiser's steps, and there is none: compile first")
        return tf.minimum(tf.cast(self.optimizer.iterations, tf.float32) / steps, 1.0)

    def _regularisation(self) -> tf.Tensor:
        """Each replica adds its part: gradients are summed over the replicas."""
        own = [tf.cast(loss, tf.float32) for loss in self.losses]  # a layer's may be of half precision
        return tf.add_n([*own, 0.0]) / tf.distribute.get_strategy().num_replicas_in_sync

    def _mean_losses(self) -> dict[str, tf.Tensor]:
        """Means over all replicas and all steps of the epoch; `loss` is their weighted sum."""
        means = self._means.result()
        parts = dict(zip(self._loss_names, tf.unstack(means), strict=True))
        named = {f"loss_{name}": part for name, part in parts.items()}
        compiled = {name: metric.result() for name, metric in self._compiled().items()}
        return {"loss": self._weighted(means)} | named | compiled

    @staticmethod
    def _over_replicas(total: tf.Tensor) -> tf.Tensor:
        """The sum of each replica's [], such as the size of its share of the batch."""
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return total
        return context.all_reduce(
            tf.distribute.ReduceOp.SUM, total
        )  # the last batch may be shared out unevenly

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "spec": self.spec.model_dump(mode="json", exclude_unset=True),
            "vocabulary_sizes": dict(
                self.vocabulary_sizes
            ),  # Keras wraps dicts, and JSON does not take the wrap
            "members": [member.model_dump(mode="json", exclude_unset=True) for member in self.member_specs],
            "collaboration": self.collaboration.model_dump(mode="json"),
            "fusion": self.fusion_spec.model_dump(mode="json"),
            "shared_tables": self.shared_tables,
        }

    def get_build_config(self) -> dict[str, Any]:
        return {"table_dtype": self.table_dtype}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Makes the variables of compressed tables; all others are made with the model."""
        if (dtype := config.get("table_dtype", "float32")) != "float32":
            self.compress_tables(dtype)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "CETNet":
        return cls(**config)
