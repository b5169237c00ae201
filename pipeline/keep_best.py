"""When training stops, and which weights stay."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cetnet_keras.members import Member
from pipeline.evaluate_split import EvaluateSplit


class Best(NamedTuple):
    """A member as it did best by itself."""

    value: float  # of what is monitored, of its own prediction
    evaluation: int  # counted from 0
    weights: list[np.ndarray]  # of its variables


class KeepBest(tf.keras.callbacks.EarlyStopping):
    """Early stopping by the fused prediction; where asked to, each member is also kept as it did best by itself.

    Members learn at different speeds: at the evaluation where the fused prediction is best, one may have far to go and
    another be past its best. Training then waits until neither the fused prediction nor any member gains.
    Source: our choice; an ensemble of models trained apart has each at its own best.

    Args:
        evaluate: stands before it in the list of callbacks.
        patience: evaluations without gain before training stops.
        each: whether members are kept too.
    """

    def __init__(self, evaluate: EvaluateSplit, patience: int, each: bool) -> None:
        super().__init__(evaluate.monitored, mode=evaluate.mode, patience=patience, restore_best_weights=True)
        self._evaluate, self._each = evaluate, each
        self._own: dict[str, Best] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if not self._each:
            return
        gains = [self._keep(name, member, epoch, logs or {}) for name, member in self._members()]
        if any(gains):
            self.wait, self.stopped_epoch, self.model.stop_training = 0, 0, False

    def take_each_at_its_best(self) -> dict[str, int]:
        """Puts each member's own best weights into the model, after training, where that is better on the eval split.

        Returns:
            by member the evaluation, from 0, that its weights are of; empty where the model stays as it is.
        """
        if not self._own or {own.evaluation for own in self._own.values()} == {self.best_epoch}:
            return {}
        together = self.model.get_weights()
        for name, member in self._members():
            for variable, value in zip(member.variables, self._own[name].weights, strict=True):
                variable.assign(value)
        if self._is_improvement(self._evaluate.measure()[self.monitor], self.best):
            return {name: own.evaluation for name, own in self._own.items()}
        self.model.set_weights(together)
        return {}

    def _members(self) -> list[tuple[str, Member]]:
        return list(zip(self.model.member_names, self.model.members, strict=True))

    def _keep(self, name: str, member: Member, epoch: int, logs: dict[str, Any]) -> bool:
        value, own = logs[f"eval_{name}_{self.monitor.removeprefix('eval_')}"], self._own.get(name)
        if own is not None and np.isfinite(own.value) and not self._is_improvement(value, own.value):
            return False
        self._own[name] = Best(value, epoch, [variable.numpy() for variable in member.variables])
        return True
