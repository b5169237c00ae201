"""What a run of the package can be given, and which input of which task each value reaches."""

from copy import deepcopy
from typing import Any, NamedTuple

from cetnet_keras.spec import ModelSpec, TrainingSpec, parse_spec
from kubeflow.cetnet.entrypoint_call import RUN_PARAMETER
from kubeflow.cetnet.own_tasks import FINGERPRINT
from kubeflow.cetnet.package import Spec
from kubeflow.cetnet.steps import root_parameters, steps
from pipeline.create_pipeline import Job
from pipeline.run_parameters import TRAINING_PARAMETERS

_KINDS = {int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE"}


class RunParameter(NamedTuple):
    """A parameter of the pipeline. Only a whole execution property can be one; a nested one is an input rt_NAME."""

    name: str
    kind: str  # its parameterType
    default: str | int | float
    description: str
    reaches: tuple[tuple[str, str], ...]  # (task, input)


def run_parameters(job: Job, data_root: str) -> list[RunParameter]:
    """All parameters of a package, with what was compiled in as defaults."""
    readers = [(FINGERPRINT, "input_base"), ("example-gen", "input_base")]
    if job.vectors:
        readers.append(("trainer", f"{RUN_PARAMETER}data_root"))
    found = [
        RunParameter(
            "data_root",
            "STRING",
            data_root,
            "folder, as the pods see it, that the paths of the data spec start at",
            tuple(readers),
        ),
        RunParameter(
            "allow_anomalies",
            "NUMBER_INTEGER",  # a boolean would not fit the gate's input
            int(job.allow_anomalies),
            "1 goes on where the data contradict the schema or a split has one class alone, 0 stops",
            (("data-gate", "allow"),),
        ),
        RunParameter(
            "max_bad_rows",
            "NUMBER_INTEGER",
            job.max_bad_rows,
            "rows that do not fit, in all files together, that may be left out",
            (("example-gen", f"{RUN_PARAMETER}max_bad_rows"),),
        ),
    ]
    training = parse_spec(ModelSpec, job.model_text, "model.yaml").training
    for name in TRAINING_PARAMETERS:
        value, field = getattr(training, name), TrainingSpec.model_fields[name]
        reached = (("trainer", f"{RUN_PARAMETER}{name}"),)
        found.append(
            RunParameter(name, _KINDS[type(value)], value, f"training: {field.description}", reached)
        )
    return found


def with_parameters(spec: Spec, parameters: list[RunParameter]) -> Spec:
    """Declares the parameters at the root, with their defaults, and leads them to their tasks."""
    spec = deepcopy(spec)
    found = {step.name: step for step in steps(spec)}
    definitions: dict[str, Any] = spec["root"].setdefault("inputDefinitions", {})
    definitions["parameters"] = root_parameters(spec) | {
        parameter.name: {
            "parameterType": parameter.kind,
            "defaultValue": parameter.default,
            "isOptional": True,
            "description": parameter.description,
        }
        for parameter in parameters
    }
    for parameter in parameters:
        for name, key in parameter.reaches:
            declared = found[name].component["inputDefinitions"]["parameters"]
            declared.setdefault(key, {"parameterType": parameter.kind})
            given = found[name].task["inputs"].setdefault("parameters", {})
            given[key] = {"componentInputParameter": parameter.name}
    return spec
