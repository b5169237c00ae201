"""Optimisers whose step costs what the batch touches and never what the vocabulary holds."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

_TOUCHED_SCOPES = ("touched", "lazy")
_L2_SCOPES = (*_TOUCHED_SCOPES, "table")


def prior_l2(rows: int) -> float:
    """The weight of a penalty that is one normal prior on embeddings, however many rows there are to learn from.

    The mean loss of N rows and weight / 2 * ||E||^2 are, times N, minus the log posterior under a prior of mean 0 and
    variance 1 / (N weight), where the penalty is of whole tables, or lazy. Its deviation of 0.009 is our choice, on the
    eval splits of benchmarks/quality; docs/method.md has what others found.

    Args:
        rows: of the training data, 1 or more.
    """
    return 12_000 / rows


def _gather(variable: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Rows of the replica's own copy of a variable; `tf.gather` would read a mirrored variable whole."""
    return tf.raw_ops.ResourceGather(resource=variable.handle, indices=rows, dtype=variable.dtype)


def _set_rows(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=rows, updates=values)


def _subtract_rows(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    tf.raw_ops.ResourceScatterSub(resource=variable.handle, indices=rows, updates=values)


def _refuse(arguments: dict[str, Any], *refused: str) -> None:
    given = [key for key in refused if arguments.get(key)]
    if given:
        raise ValueError(f"cannot take {', '.join(given)}: use `embedding_l2`, or an optimiser of tf.keras")


def _touching_no_table(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of Keras' base class; its default, a weight decay of 0, multiplies whole tables by 1."""
    return {"jit_compile": False} | arguments | {"weight_decay": None}


class _RowOptimizer(tf.keras.optimizers.Optimizer):
    """L2 on embedding rows and the clips, in this order: a clip is of the gradient of loss and penalty together.

    Keras clips before it sums the rows of an id that a batch has several times, by a norm that is up to the root of
    their number too small. Here the penalty is added, and what is clipped is clipped, after duplicate ids and replicas
    are summed. Source: FuxiCTR clips so, as its penalty is a part of the loss.
    """

    embedding_l2 = 0.0
    embedding_l2_scope = "touched"

    def _set_l2(self, weight: float, scope: str, scopes: Sequence[str]) -> None:
        if not weight >= 0:
            raise ValueError(f"`embedding_l2` must be 0 or more. Received: embedding_l2={weight!r}")
        if scope not in scopes:
            raise ValueError(f"`embedding_l2_scope` must be one of {', '.join(scopes)}. Received: {scope!r}")
        self.embedding_l2, self.embedding_l2_scope = weight, scope
        self._last_steps: list[tf.Variable] = []

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        super().build(var_list)
        if not self.embedding_l2 or self.embedding_l2_scope != "lazy" or self._last_steps:
            return
        for variable in var_list:  # all: which of them have a sparse gradient, only a step can say
            first = tf.zeros([*variable.shape[:1], *[1] * (variable.shape.rank - 1)], variable.dtype)
            self._last_steps.append(
                self.add_variable_from_reference(
                    variable, "last_step", shape=first.shape, initial_value=first
                )
            )

    def _clip_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        return gradients  # Keras asks before ids are summed: too early

    def _internal_apply_gradients(self, pairs: Iterable[tuple[Any, tf.Variable]]) -> tf.Tensor:
        gradients, variables = zip(*((self._with_l2(*pair), pair[1]) for pair in pairs), strict=True)
        clipped = super()._clip_gradients(gradients)
        return super()._internal_apply_gradients(list(zip(clipped, variables, strict=True)))

    def _with_l2(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
    ) -> tf.Tensor | tf.IndexedSlices:
        if not self.embedding_l2 or not isinstance(gradient, tf.IndexedSlices):
            return gradient
        if self.embedding_l2_scope == "table":
            return tf.convert_to_tensor(gradient) + self.embedding_l2 * variable
        rows = gradient.indices
        penalty = self.embedding_l2 * _gather(variable, rows)
        if self.embedding_l2_scope == "lazy":
            last, now = self._last_steps[self._index_dict[self._var_key(variable)]], self.iterations + 1
            before = _gather(last, rows)
            now = tf.fill(tf.shape(before), tf.cast(now, last.dtype))
            _set_rows(last, rows, now)
            penalty *= now - before
        return tf.IndexedSlices(gradient.values + penalty, rows, gradient.dense_shape)


@tf.keras.utils.register_keras_serializable(package="cetnet")
class LazyAdam(_RowOptimizer, tf.keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) that, for a sparse gradient, reads and writes the touched rows alone.

    For a row in the batch the update is Adam's own; moments of other rows rest until the row comes back, where stock
    Adam lets them decay and goes on moving the row. Other variables get plain Adam. The L2 penalty,
    embedding_l2 / 2 * ||row||^2, enters the gradient here, after duplicate ids and replicas are summed, so that N
    replicas give one replica's numbers; clips of the gradient (global_clipnorm, clipnorm, clipvalue) come after it.
    Source: our choice; the penalty on whole tables is FuxiCTR's.

    Args:
        learning_rate: float above 0 or a Keras schedule. Further arguments are Adam's, the refused ones aside.
        embedding_l2: weight of the penalty on embedding rows (variables with a sparse gradient), 0 or more.
        embedding_l2_scope: "touched", rows of the batch; "lazy", these, times the steps since the row was last there, so
            that rare rows make up for those they missed (float32 counts 2^24 steps exactly); "table", all rows at each step
            with stock Adam, as in FuxiCTR: then the cost of a step grows with the vocabulary.
    Raises:
        ValueError: a value outside these ranges, or an argument that has no lazy form (use_ema and weight_decay touch
            every row of a table): adaptive_epsilon, amsgrad, use_ema, weight_decay.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        embedding_l2: float = 0.0,
        embedding_l2_scope: str = "touched",
        name: str = "LazyAdam",
        **kwargs: Any,
    ) -> None:
        _refuse(kwargs, "adaptive_epsilon", "amsgrad", "use_ema", "weight_decay")
        super().__init__(learning_rate=learning_rate, name=name, **_touching_no_table(kwargs))
        self._set_l2(embedding_l2, embedding_l2_scope, _L2_SCOPES)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, variable.dtype), tf.cast(self.beta_2, variable.dtype)
        rate = tf.cast(self.learning_rate, variable.dtype)
        index = self._index_dict[self._var_key(variable)]
        momentum, velocity = self._momentums[index], self._velocities[index]
        if not isinstance(gradient, tf.IndexedSlices):
            # one fused op in place of the thirty of `super()`: a model has dozens of such variables
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=beta_1**step,
                beta2_power=beta_2**step,
                lr=rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=tf.cast(self.epsilon, variable.dtype),
                grad=gradient,
            )
            return
        rows, values = gradient.indices, gradient.values
        m = beta_1 * _gather(momentum, rows) + (1 - beta_1) * values
        v = beta_2 * _gather(velocity, rows) + (1 - beta_2) * tf.square(values)
        _set_rows(momentum, rows, m)
        _set_rows(velocity, rows, v)
        rate = rate * tf.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        _subtract_rows(variable, rows, rate * m / (tf.sqrt(v) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "embedding_l2": self.embedding_l2,
            "embedding_l2_scope": self.embedding_l2_scope,
        }


@tf.keras.utils.register_keras_serializable(package="cetnet")
class RowWiseAdagrad(_RowOptimizer):
    """Adagrad (Duchi et al. 2011) that keeps one accumulator a row of an embedding table: a d-th of the memory.

    a_r += mean over the row of g^2; row -= rate * g / (sqrt(a_r) + epsilon). Other variables have an accumulator an
    element. Penalty and clips are as in LazyAdam.
    Source: Mudigere et al. 2022 (arXiv 2104.05158), section on row-wise sparse Adagrad; defaults are ours.

    Args:
        learning_rate: float above 0 or a Keras schedule.
        initial_accumulator: first value of every accumulator, 0 or more.
        epsilon: keeps the division finite.
        embedding_l2: weight of the penalty on the batch's embedding rows, 0 or more.
        embedding_l2_scope: "touched" or "lazy", as in LazyAdam.
    Raises:
        ValueError: a value outside these ranges, or use_ema or weight_decay, which touch every row of a table.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        initial_accumulator: float = 0.1,
        epsilon: float = 1e-8,
        embedding_l2: float = 0.0,
        embedding_l2_scope: str = "touched",
        name: str = "RowWiseAdagrad",
        **kwargs: Any,
    ) -> None:
        _refuse(kwargs, "use_ema", "weight_decay")
        super().__init__(name=name, **_touching_no_table(kwargs))
        self._learning_rate = self._build_learning_rate(learning_rate)
        if not initial_accumulator >= 0:
            raise ValueError(f"`initial_accumulator` must be 0 or more. Received: {initial_accumulator!r}")
        self.initial_accumulator = initial_accumulator
        self.epsilon = epsilon
        self._set_l2(embedding_l2, embedding_l2_scope, _TOUCHED_SCOPES)

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built, self._accumulators = True, []
        for variable in var_list:
            is_table = variable.shape.rank == 2 and variable.name.split("/")[-1].startswith("embeddings")
            shape = (variable.shape[0], 1) if is_table else variable.shape
            first = tf.fill(shape, tf.cast(self.initial_accumulator, variable.dtype))
            self._accumulators.append(
                self.add_variable_from_reference(variable, "accumulator", shape=shape, initial_value=first)
            )

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        rate = tf.cast(self.learning_rate, variable.dtype)
        accumulator = self._accumulators[self._index_dict[self._var_key(variable)]]
        if not isinstance(gradient, tf.IndexedSlices):
            squares = tf.square(gradient)
            if accumulator.shape != gradient.shape:  # a table under a dense gradient, such as a regulariser's
                squares = tf.reduce_mean(squares, axis=-1, keepdims=True)
            accumulator.assign_add(squares)
            variable.assign_sub(rate * gradient / (tf.sqrt(accumulator) + self.epsilon))
            return
        rows, values = gradient.indices, gradient.values
        total = _gather(accumulator, rows) + tf.reduce_mean(tf.square(values), axis=-1, keepdims=True)
        _set_rows(accumulator, rows, total)
        _subtract_rows(variable, rows, rate * values / (tf.sqrt(total) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "initial_accumulator": self.initial_accumulator,
            "epsilon": self.epsilon,
            "embedding_l2": self.embedding_l2,
            "embedding_l2_scope": self.embedding_l2_scope,
        }
