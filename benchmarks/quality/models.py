"""The models of a data set: each member alone, a pair of them put together in every way, and further ensembles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from cetnet_keras.ensemble_members import default_members
from cetnet_keras.spec import (
    DataSpec,
    MemberSpec,
    ModelSpec,
    TrainingSpec,
    load_model_source,
    parse_spec,
    read_text,
)
from cetnet_keras.spec.base import LocatedError, SpecModel

UNIFORM = {"type": "paper", "temperature": 1e6}  # a softmax of all but equal numbers
DETACHED = {"type": "logit_mean", "detach_members": True}
WEIGHED = {"type": "logit_mixture", "detach_members": True}
DEFAULT = "default"  # what `cetnet run` trains where there is no model.yaml
RECIPES = ("cetnet-paper", "cetnet", "cetnet-joint")  # the paper's, and ours
ALONE = {"fusion": DETACHED}  # a member with its own loss
WAYS: dict[str, dict[str, Any]] = {
    # the paper's recipe, and what its table 3 leaves out of it
    "cetnet-paper": {"fusion": {"type": "paper"}, "collaboration": {"alpha": 0.5}},
    "paper-without-confidence": {"fusion": UNIFORM, "collaboration": {"alpha": 0.5}},
    "paper-without-kl": {"fusion": {"type": "paper"}, "collaboration": {"alpha": 0.0}},
    "paper-without-own-tables": {
        "fusion": {"type": "paper"},
        "collaboration": {"alpha": 0.5},
        "shared_tables": True,
    },
    "paper-without-stop": {
        "fusion": {"type": "paper", "gradient_stop": False},
        "collaboration": {"alpha": 0.5},
    },
    "concatenation": {"fusion": UNIFORM, "collaboration": {"alpha": 0.0}},
    "concatenation-one-table": {
        "fusion": UNIFORM,
        "collaboration": {"alpha": 0.0},
        "shared_tables": True,
    },
    # the paper's loss, but log odds are weighted by confidence in place of its readout
    "cetnet-joint": {"fusion": {"type": "logit_mixture"}, "collaboration": {"alpha": 0.5}},
    "joint-without-confidence": {"fusion": {"type": "logit_mean"}, "collaboration": {"alpha": 0.5}},
    "joint-without-kl": {"fusion": {"type": "logit_mixture"}, "collaboration": {"alpha": 0.0}},
    "joint-without-own-tables": {
        "fusion": {"type": "logit_mixture"},
        "collaboration": {"alpha": 0.5},
        "shared_tables": True,
    },
    "joint-without-stop": {
        "fusion": {"type": "logit_mixture", "gradient_stop": False},
        "collaboration": {"alpha": 0.5},
    },
    "joint-gate": {"fusion": {"type": "gate"}, "collaboration": {"alpha": 0.5}},
    # ours: log odds are weighted by confidence, the fused loss moves no member, a light pull, each stops by itself
    "cetnet": {"fusion": WEIGHED, "collaboration": {"alpha": 0.1}, "training": {"stop": "each"}},
    "cetnet-without-kl": {
        "fusion": WEIGHED,
        "collaboration": {"alpha": 0.0},
        "training": {"stop": "each"},
    },
    "cetnet-mean": {
        "fusion": DETACHED,
        "collaboration": {"alpha": 0.1},
        "training": {"stop": "each"},
    },
    "cetnet-gate": {
        "fusion": {"type": "gate"},
        "collaboration": {"alpha": 0.1},
        "training": {"stop": "each"},
    },
}


class Sizes(SpecModel):
    """One architecture at n times its embedding size, in three ways: a wider table, ME, and CETNet of n copies."""

    member: str = Field(description="the architecture")
    multi_embedding: str = Field(description="the member that is ME of that architecture")
    times: list[int] = Field(description="each n")


class Models(SpecModel):
    """models.yaml of a data set."""

    training: TrainingSpec = Field(description="of every model")
    members: dict[str, MemberSpec] = Field(description="trained alone, each under its name")
    pair: list[str] = Field(
        min_length=2, max_length=2, description="two of them, trained together in all WAYS"
    )
    others: dict[str, list[str | MemberSpec]] = Field(
        default_factory=dict,
        description="further ensembles, trained in the way whose name theirs begin with, the longest of WAYS",
    )
    sizes: Sizes | None = None
    lazy: list[str] = Field(
        default_factory=list,
        description="trained once more under their name and -lazy, with a penalty on embeddings that is lazy",
    )

    @model_validator(mode="after")
    def _members_are_known(self) -> "Models":
        places: dict[tuple[str, ...], Sequence[str | MemberSpec]] = {("pair",): self.pair}
        places |= {("others", key): names for key, names in self.others.items()}
        if self.sizes is not None:
            places["sizes",] = [self.sizes.member, self.sizes.multi_embedding]
        for ensemble in self.others:
            if not ensemble.startswith(tuple(WAYS)):
                expected = f"expected a name that begins with one of {', '.join(WAYS)}"
                raise LocatedError(("others", ensemble), expected)
        for place, names in places.items():
            for name in names:
                if isinstance(name, str) and name not in self.members:
                    known = f"expected one of {', '.join(self.members)}"
                    raise LocatedError(place, f"found the member {name!r}, {known}")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> "Models":
        taken = {DEFAULT, *WAYS}
        for key, names in (("members", self.members), ("others", self.others)):
            for name in names:
                if name in taken:
                    raise LocatedError(
                        (key, name), "found a name that another model has, expected one of its own"
                    )
            taken |= set(names)
        return self

    @model_validator(mode="after")
    def _lazy_are_known(self) -> "Models":
        known = self._with_own_penalty() if self.lazy else {}
        for name in self.lazy:
            if name not in known:
                raise LocatedError(("lazy",), f"found the model {name!r}, expected one of {', '.join(known)}")
        return self

    def by_name(self) -> dict[str, ModelSpec]:
        """Every model; those that most others are compared with come first."""
        found = self._with_own_penalty()
        for name in self.lazy:
            training = found[name].training.model_copy(update={"embedding_l2_scope": "lazy"})
            found[f"{name}-lazy"] = found[name].model_copy(update={"training": training})
        return found

    def _with_own_penalty(self) -> dict[str, ModelSpec]:
        found = {name: self._model([name], ALONE) for name in self.members}
        found |= {name: self._model(self.pair, way) for name, way in WAYS.items()}
        for name, names in self.others.items():
            way = max((way for way in WAYS if name.startswith(way)), key=len)
            found[name] = self._model(names, WAYS[way])
        return found | self._at_each_size()

    def _at_each_size(self) -> dict[str, ModelSpec]:
        found: dict[str, ModelSpec] = {}
        if self.sizes is None:
            return found
        base = self.sizes.member
        one, several = self.members[base], self.members[self.sizes.multi_embedding]
        for n in self.sizes.times:
            wide = one.model_copy(update={"embedding_dim": n * one.embedding_dim})
            found[f"{base}-{n}x"] = self._model([wide], ALONE)
            found[f"multi-embedding-{n}x"] = self._model([several.model_copy(update={"sets": n})], ALONE)
            found |= {f"{recipe}-{n}x": self._model([base] * n, WAYS[recipe]) for recipe in RECIPES}
        return found

    def _model(self, names: Sequence[str | MemberSpec], way: dict[str, Any]) -> ModelSpec:
        members = [self.members[name] if isinstance(name, str) else name for name in names]
        described = [member.model_dump(exclude_unset=True) for member in members]
        types = [member.type for member in members]
        for position, member in enumerate(described):
            if types.count(member["type"]) > 1:
                member["name"] = f"{member['type']}_{position + 1}"
        training = self.training.model_dump(exclude_unset=True) | way.get("training", {})
        return ModelSpec.model_validate({"members": described} | way | {"training": training})


def load_models(path: Path, data: DataSpec) -> dict[str, ModelSpec]:
    """The models that a models.yaml describes, by name, and DEFAULT for the data."""
    default = load_model_source(None)[0].model_copy(update={"members": default_members(data)})
    return {DEFAULT: default} | parse_spec(Models, read_text(path), str(path)).by_name()
