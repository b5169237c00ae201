"""model.yaml: which members, how they are fused, how they learn from each other, how training runs."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from cetnet_keras.spec.base import Count, LocatedError, SpecModel
from cetnet_keras.spec.document import shown

TAKEN_NAMES = ("fused", "collaboration", "calibration")  # the losses that stand beside those of the members
_SMALL = 0.001  # deviation of embedding rows before training
_OWN_WEIGHTS = ("mean", "logit_mean", "gate")  # the fusions that do not weigh by confidence


class MemberSpec(SpecModel):
    """One member. Keys beside these are the member's own options and are checked against its class."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        pattern=r"^([A-Za-z0-9_]+|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*)$",
        description="a built-in member, or package.module:Class",
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]+$",
        description="name in outputs and metrics; default: the type, or its Class",
    )
    embedding_dim: Count = Field(default=16, description="width of this member's embedding rows")

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_class(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("name") is None and ":" in str(value.get("type")):
            return value | {"name": str(value["type"]).rpartition(":")[2]}  # a path is no name of a layer
        return value

    @model_validator(mode="before")
    @classmethod
    def _of_plain_values(cls, value: Any) -> Any:
        return {key: _plain(entry) for key, entry in value.items()} if isinstance(value, dict) else value

    @property
    def options(self) -> dict[str, Any]:
        """The member's own options, such as the number of layers."""
        return dict(self.model_extra or {})


def _plain(value: Any) -> Any:
    """A NumPy number or array, as a search over settings draws them, as Python's: a saved model has them as JSON."""
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value


class FusionSpec(SpecModel):
    """How the members' outputs become one CTR."""

    type: Literal["paper", "sum", "mixture", "mean", "logit_mixture", "logit_mean", "gate"] = Field(
        default="paper",
        description="paper: weighted output embeddings side by side, one readout; sum: their sum, one readout; mixture and "
        "mean: of the members' probabilities; logit_mixture and logit_mean: of their log odds; gate: a mixture by "
        "learned weights",
    )
    temperature: float = Field(
        default=1.0, gt=0, description="of the softmax over confidence; the paper has 1"
    )
    learned_temperature: bool = Field(
        default=False,
        description="whether training goes on from `temperature`; it needs a weight that learns",
    )
    learned_prior: bool = Field(
        default=False, description="whether each member has a learned number that is added to its confidence"
    )
    confidence: Literal["entropy", "base_rate"] = Field(
        default="entropy",
        description="entropy: its negative, as in the paper; base_rate: KL divergence from the click rate, which "
        "prefers no member for low predictions where clicks are rare",
    )
    calibrated: bool = Field(
        default=False,
        description="whether confidence is read off members' log odds after a learned line each",
    )
    gradient_stop: bool = Field(
        default=True, description="whether members learn nothing through the weights, as in the paper"
    )
    loss_weight: float = Field(
        default=1.0, ge=0, description="weight of the fused prediction's loss; each member's own has 1"
    )
    detach_members: bool = Field(
        default=False, description="whether the fused prediction's loss moves the fusion alone and no member"
    )

    @model_validator(mode="after")
    def _a_temperature_is_of_confidence(self) -> "FusionSpec":
        if self.type in _OWN_WEIGHTS and self.temperature != 1:
            found = f"found {shown(self.temperature)}, but fusion {self.type} does not weigh by confidence"
            cure = "leave it out, or take `type` paper, sum, mixture or logit_mixture"
            raise LocatedError(("temperature",), f"{found}; {cure}")
        return self

    @model_validator(mode="after")
    def _what_is_learned_is_used(self) -> "FusionSpec":
        for key in ("learned_temperature", "learned_prior"):
            if getattr(self, key) and self.type in _OWN_WEIGHTS:
                found = f"found true, but fusion {self.type} does not weigh by confidence, so that nothing would learn"
                cure = "expected false, or `type` paper, sum, mixture or logit_mixture"
                raise LocatedError((key,), f"{found}; {cure}")
            if getattr(self, key) and not self.loss_weight:
                found = "found true, but with loss_weight 0 nothing would teach it"
                raise LocatedError((key,), f"{found}; expected false, or a `loss_weight` above 0")
        return self


class CollaborationSpec(SpecModel):
    """How strongly the members are drawn towards one another."""

    type: Literal["symmetric_kl", "one_way", "to_fused"] = Field(
        default="symmetric_kl",
        description="symmetric_kl: mean over pairs of members of the KL divergence in both directions, both move; "
        "one_way: each KL moves one side alone; to_fused: each member is drawn to the fused prediction",
    )
    alpha: float = Field(
        default=0.5, ge=0, description="weight of the collaborative loss; the paper tries 0.1, 0.5 and 1.0"
    )
    warmup_steps: int = Field(default=0, ge=0, description="training steps over which alpha rises from 0")


class TrainingSpec(SpecModel):
    """How training runs and when it stops."""

    batch_size: Count = Field(
        default=1024,
        description="rows a step, over all replicas; no more than from one evaluation to the next",
    )
    learning_rate: float = Field(default=0.001, gt=0, description="of the optimiser")
    learning_rate_decay: Literal["none", "linear", "cosine"] = Field(
        default="none", description="how the rate falls towards 0, evaluation by evaluation, over `epochs`"
    )
    plateau_factor: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="what the learning rate is multiplied by after evaluations without gain; FuxiCTR has 0.1",
    )
    plateau_patience: Count = Field(
        default=1, description="evaluations without gain before that; FuxiCTR has 1"
    )
    gradient_clip_norm: float | None = Field(
        default=None,
        gt=0,
        description="largest norm of a step's gradient as a whole, the L2 penalty's part included; FuxiCTR has 10",
    )
    optimizer: Literal["adam", "adagrad"] = Field(
        default="adam", description="lazy Adam, or Adagrad with one rate a row"
    )
    epochs: Count = Field(default=20, description="passes over the training rows at most")
    evaluations_per_epoch: Count = Field(
        default=2, description="how often the eval split is looked at within one epoch"
    )
    patience: Count = Field(default=2, description="epochs without gain before training stops")
    stop: Literal["together", "each"] = Field(
        default="together",
        description="together: when the fused prediction gains no more, its best weights are kept; each: when no member "
        "gains either, and each is kept as it did best by itself where that is better on the eval split",
    )
    monitor: Literal["gauc", "auc", "log_loss"] = Field(
        default="gauc", description="what counts as gain on the eval split"
    )
    average_weights: bool = Field(
        default=True,
        description="whether evaluations and the model that is kept have an average of the weights, over about the last "
        "ninth of the training so far: much like a falling learning rate; it costs host memory for two copies",
    )
    calibrate: bool = Field(
        default=True,
        description="whether log odds are put on curves that fit the eval split after training: beta calibration of each "
        "member's and of the fused ones, which also counts less where members disagree",
    )
    embedding_l2: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        default=0.0,
        description="weight of the L2 penalty on embedding rows; auto: 12,000 / training rows, the same prior for any "
        "data, with the scope lazy or table",
    )
    embedding_l2_scope: Literal["touched", "lazy", "table"] = Field(
        default="touched",
        description="touched: rows of the batch; lazy: these, times the steps since the row was last there, so that rare "
        "ids stay small as in `table` if they start small; table: all rows, each step (cost grows with the vocabulary), "
        "adam alone",
    )
    seed: int = Field(default=42, ge=0, le=2**31 - 1, description="of initial values, shuffling and dropout")

    @model_validator(mode="after")
    def _adagrad_touches_rows_alone(self) -> "TrainingSpec":
        if self.optimizer == "adagrad" and self.embedding_l2_scope == "table":
            found = "found table, but adagrad touches the rows of the batch alone"
            raise LocatedError(
                ("embedding_l2_scope",), f"{found}; expected lazy or touched, or optimizer: adam"
            )
        return self

    @model_validator(mode="after")
    def _a_prior_is_of_all_steps(self) -> "TrainingSpec":
        if self.embedding_l2 == "auto" and self.embedding_l2_scope == "touched":
            found = "found auto beside embedding_l2_scope: touched, whose strength hangs on the batch size"
            raise LocatedError(("embedding_l2",), f"{found}; expected a number, or embedding_l2_scope: lazy")
        return self

    @model_validator(mode="after")
    def _one_thing_sets_the_rate(self) -> "TrainingSpec":
        if self.learning_rate_decay != "none" and self.plateau_factor < 1:
            found = f"found {self.plateau_factor:g} beside learning_rate_decay: {self.learning_rate_decay}"
            cause = "which sets the rate anew each time; expected one of the two"
            raise LocatedError(("plateau_factor",), f"{found}, {cause}")
        return self


class ServingSpec(SpecModel):
    """What the pushed model is made like."""

    table_dtype: Literal["float32", "float16", "int8"] = Field(
        default="float32",
        description="how embedding rows are stored in it; int8 has one scale a row. Evaluation and gates see the same",
    )
    warmup_batch_sizes: list[Count] = Field(
        default=[1, 100],
        max_length=100,
        description="rows of the warm-up requests of each signature, and candidates of those that rank; [] for none",
    )


class ModelSpec(SpecModel):
    """The whole of model.yaml; an empty file is a sound model."""

    members: list[MemberSpec] | None = Field(
        default=None,
        min_length=1,
        description="default: din and finalmlp where the data has a sequence, else finalmlp and dcnv2, with `batch_norm` "
        "and `embedding_stddev: 0.0001`",
    )
    fusion: FusionSpec = Field(default_factory=FusionSpec, description="how members become one CTR")
    collaboration: CollaborationSpec = Field(
        default_factory=CollaborationSpec, description="the collaborative loss"
    )
    shared_tables: bool = Field(
        default=False,
        description="whether all members read the embedding rows of the first: an ablation, which needs one embedding_dim",
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec, description="how training runs")
    serving: ServingSpec = Field(
        default_factory=ServingSpec, description="what the pushed model is made like"
    )

    @model_validator(mode="after")
    def _shared_tables_stop_together(self) -> "ModelSpec":
        if self.shared_tables and self.training.stop == "each":
            found = "found each, but members that share tables cannot be kept at different times; expected together"
            raise LocatedError(("training", "stop"), found)
        return self

    @model_validator(mode="after")
    def _lazily_kept_rows_start_small(self) -> "ModelSpec":
        training = self.training
        if training.optimizer != "adam" or training.embedding_l2_scope != "lazy" or not training.embedding_l2:
            return self
        for position, member in enumerate(self.members or []):
            first = member.options.get("embedding_stddev")
            if not isinstance(first, int | float) or first > _SMALL:
                found = (
                    f"found {shown(first)}, but with adam and embedding_l2_scope: lazy rows must start small"
                )
                cause = "what an id owes when it first comes back would else drown what it has to learn"
                cure = "expected `embedding_stddev: 0.0001`, or embedding_l2_scope: table"
                raise LocatedError(("members", position, "embedding_stddev"), f"{found}: {cause}; {cure}")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> "ModelSpec":
        seen: list[str] = []
        for position, member in enumerate(self.members or []):
            name = member.name or member.type
            key = "name" if "name" in member.model_fields_set else "type"
            if name in TAKEN_NAMES:
                taken = f"found {name!r}, which names a loss of the ensemble; give the member another `name`"
                raise LocatedError(("members", position, key), taken)
            if name in seen:
                again = f"found the name {name!r} again, expected each member to have its own"
                raise LocatedError(("members", position, key), f"{again}; give this one a `name`")
            seen.append(name)
        return self
