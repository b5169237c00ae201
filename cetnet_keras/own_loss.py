"""A Keras model that computes its loss by itself: what it takes when it is compiled, and what its optimiser has to be."""

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs


class OwnLossModel(tfrs.Model):
    """A model whose `compute_loss` is the whole loss, and whose steps check what they learn from."""

    optimizer: Any  # None until `compile`

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool | None = None,
        steps_per_execution: int | None = None,
        jit_compile: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Keras' own, without what such a model has no use for.

        Raises:
            ValueError: a loss or its weights, which would be ignored; `jit_compile`: XLA leaves out the checks of ids,
                labels and the loss, and a step that should be refused would be learned from.
        """
        if loss is not None or loss_weights is not None:
            cure = "say it in `fusion` and `collaboration`, and leave `loss` and `loss_weights` out"
            raise ValueError(
                f"{type(self).__name__} has a loss of its own: {cure}. Received: {loss!r}, {loss_weights!r}"
            )
        if jit_compile:
            raise ValueError(
                "`jit_compile` must be left out: XLA skips the checks of ids, labels and the loss"
            )
        super().compile(
            optimizer=optimizer,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            **kwargs,
        )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """What Keras does with a file of a model whose `compile` it knows to be its own."""
        self.compile(**tf.keras.saving.deserialize_keras_object(config))
        if hasattr(self.optimizer, "build"):  # none of `legacy`
            self.optimizer.build(self.trainable_variables)

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' own, with the optimiser's variables made first: a step that makes variables is traced twice."""
        if not hasattr(self.optimizer, "build"):
            raise ValueError(
                f"`optimizer` must be of tf.keras.optimizers, not of its `legacy`. Received: {self.optimizer}"
            )
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)
