"""How the package calls the entrypoint in the image: the one place that says so.

    python -m pipeline.kubeflow_entrypoint SUBCOMMAND [--executor-class CLASS]
        --executor-input {{$}} --component-spec JSON [-- BEAM ARGUMENTS]

SUBCOMMAND is `component` for a component of TFX, whose executor is CLASS, or one of the tasks of own_tasks.py. The launcher
puts the ExecutorInput, as proto JSON, in place of `{{$}}`. JSON is the component's ComponentSpec, to read types from: an
open-source backend hands artifacts over without theirs, and whole numbers as floats.

What an entrypoint has to know beside that of a ComponentSpec's inputs:
    rt_NAME                  of trainer: goes to custom_config[NAME], as pipeline.run_parameters has it; of example-gen: as
                             text to the key NAME of the Struct in its custom_config
    fingerprint, span,       of example-gen: what `data-fingerprint` found; the properties of the artifact `examples`
    version, input_config
    baseline_model           of the evaluator: none where its metadata has `absent: 1`
"""

import json
from collections.abc import Sequence
from typing import Any

COMMAND = ("python", "-m", "pipeline.kubeflow_entrypoint")
COMPONENT = "component"
EXECUTOR_CLASS, EXECUTOR_INPUT, COMPONENT_SPEC = "--executor-class", "--executor-input", "--component-spec"
RUN_PARAMETER = "rt_"
ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1"}  # before TensorFlow is imported, in Beam's workers too


def container(
    image: str,
    subcommand: str,
    component: dict[str, Any],
    executor_class: str | None = None,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """The container of a component, as a PipelineContainerSpec's JSON."""
    of_class = [EXECUTOR_CLASS, executor_class] if executor_class else []
    call = [subcommand, *of_class, EXECUTOR_INPUT, "{{$}}", COMPONENT_SPEC, component_spec_text(component)]
    return {
        "image": image,
        "command": list(COMMAND),
        "args": [*call, "--", *beam_args] if beam_args else call,
        "env": [{"name": name, "value": value} for name, value in sorted(ENVIRONMENT.items())],
    }


def component_spec_text(component: dict[str, Any]) -> str:
    """A ComponentSpec as an argument: compact, sorted, and in ASCII."""
    return json.dumps(component, sort_keys=True, separators=(",", ":"))
