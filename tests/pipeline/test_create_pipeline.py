"""Which components a change reaches: all that an artifact is cached by stands in the execution properties of its maker."""

from pathlib import Path
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import pytest

from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.create_pipeline import Job, create_pipeline
from pipeline.gates import Gates

DATA = """
name: clicks
label: click
features: {item: {type: categorical, role: candidate}}
splits: {train: a.csv, eval: b.csv, test: c.csv}
"""
OURS = {"ExampleGen", "SpecSchema", "DataGate", "Transform", "Trainer", "ParityGate"}
CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a line of data.yaml": (
        {"data_text": DATA + "# more"},
        {"ExampleGen", "SpecSchema", "Transform", "Trainer", "ParityGate"},
    ),
    "a line of model.yaml": ({"model_text": "training: {epochs: 3}"}, {"Trainer"}),
    "a line of code": ({"code": "d1"}, OURS),
    "a bound": ({"gates": Gates(min_auc=0.7)}, {"Evaluator"}),
    "a bound on serving": ({"gates": Gates(max_model_mb=1.0)}, {"ParityGate"}),
    "a member": ({"members": ("din", "dhen")}, {"Evaluator"}),
    "a file of pretrained vectors": ({"vectors": {"v.npz": "d1"}}, {"Trainer"}),
    "what is allowed": ({"allow_anomalies": True}, {"DataGate"}),
    "the folder of the data": ({"base": Path("/elsewhere")}, {"ExampleGen"}),
}


def properties(**changes: Any) -> dict[str, dict[str, str]]:
    """By component: its execution properties."""
    job = Job(
        spec=parse_spec(DataSpec, DATA, "data.yaml"),
        data_text=DATA,
        model_text="",
        members=("dcnv2",),
        base=Path("/data"),
        vectors={},
        code="d0",
        gates=Gates(),
    )
    nodes = create_pipeline(job._replace(**changes), "root", "serving").components
    return {node.id: {key: str(value) for key, value in node.exec_properties.items()} for node in nodes}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reaches_those_that_depend_on_it_and_no_others(change: str) -> None:
    before, after = properties(), properties(**CHANGES[change][0])
    assert {name for name in before if before[name] != after[name]} == CHANGES[change][1]


def test_the_same_job_is_the_same_pipeline() -> None:
    assert properties() == properties() and OURS | {"StatisticsGen", "Evaluator", "Pusher"} <= set(
        properties()
    )
