"""The bounds that a model has to keep before it is blessed and pushed."""

from pydantic import Field, model_validator

from cetnet_keras.spec.base import LocatedError, SpecModel

SERVING_BOUNDS = {"max_latency_ms", "max_model_mb", "max_memory_mb"}
"""The bounds that the parity gate looks at; the Evaluator looks at the others."""


class Gates(SpecModel):
    """Bounds on the fused CTR over all test rows, and on serving; a value on a bound passes. The defaults are our choice.

    The first run has the absolute bounds alone, a later one is also compared with the last blessed model on
    the same rows. Raises ValueError (pydantic's) where no value could pass.
    """

    min_auc: float = Field(0.501, ge=0, le=1, description="least AUC; guessing has 0.5")
    max_log_loss: float | None = Field(None, gt=0, description="largest log loss in nats; none by default")
    min_calibration: float = Field(0.5, ge=0, description="least ratio of predicted to actual clicks")
    max_calibration: float = Field(2.0, gt=0, description="largest ratio of predicted to actual clicks")
    max_auc_drop: float = Field(0.005, ge=0, description="AUC that may be lost to the last blessed model")
    max_log_loss_rise: float = Field(0.01, ge=0, description="log loss that may be added to it")
    max_latency_ms: float | None = Field(
        None,
        gt=0,
        description="largest p99 of a gRPC request of one row, on the machine of the run; none by default",
    )
    max_model_mb: float | None = Field(
        None, gt=0, description="largest size of the pushed model, in 10^6 bytes"
    )
    max_memory_mb: float | None = Field(
        None, gt=0, description="most memory of a server that has it, 10^6 bytes"
    )

    @model_validator(mode="after")
    def _some_calibration_passes(self) -> "Gates":
        if self.min_calibration > self.max_calibration:
            expected = f"expected {self.max_calibration:g} (max_calibration) or less"
            raise LocatedError(("min_calibration",), f"found {self.min_calibration:g}, {expected}")
        return self
