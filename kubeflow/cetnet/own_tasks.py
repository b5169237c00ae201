"""Tasks where open-source Kubeflow has nothing: the fingerprint of the files, the last blessed model, and its record.

None of the three is ever cached: each looks at, or changes, what lies outside the run's artifacts.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kubeflow.cetnet.entrypoint_call import container
from kubeflow.cetnet.names import component_id, executor_label
from kubeflow.cetnet.package import Spec
from kubeflow.cetnet.steps import root_tasks, steps

FINGERPRINT, BASELINE, REGISTER = "data-fingerprint", "baseline-resolver", "register-blessed"
OWN_TASKS = (FINGERPRINT, BASELINE, REGISTER)
_RESOLVER = (
    "latest-blessed-model-resolver"  # of the two that TFX makes, the one that evaluators take the model from
)
_FOUND = {  # what the driver of a file-based ExampleGen works out before the executor runs
    "fingerprint": "STRING",  # of the files' names, sizes and times
    "input_config": "STRING",  # the patterns, with span and version filled in
    "span": "NUMBER_INTEGER",  # 0 where the patterns have none
    "version": "NUMBER_INTEGER",
}


def with_data_fingerprint(spec: Spec, image: str) -> Spec:
    """Lets a task of its own do what the dropped hook `preCacheCheck` did, so that changed files miss the cache.

    The cache knows ExampleGen by its parameters; the fingerprint of the files becomes one of them.
    """
    spec = deepcopy(spec)
    for ingest in [step for step in steps(spec) if "lifecycle" in step.container]:
        del ingest.executor["container"]["lifecycle"]
        looked_at = {"input_base", "input_config"}
        _add_task(
            spec,
            FINGERPRINT,
            image,
            parameters={name: ingest.declared("input", "parameters")[name] for name in looked_at},
            inputs={"parameters": {name: ingest.given("parameters")[name] for name in looked_at}},
            outputs={"parameters": {name: {"parameterType": kind} for name, kind in _FOUND.items()}},
            after=[],
        )
        for name, kind in _FOUND.items():
            ingest.component["inputDefinitions"]["parameters"][name] = {"parameterType": kind}
            found = {"taskOutputParameter": {"producerTask": FINGERPRINT, "outputParameterKey": name}}
            ingest.task["inputs"]["parameters"][name] = found
        _run_after(ingest.task, FINGERPRINT)
    return spec


def with_baseline_resolver(spec: Spec, image: str, raw: Mapping[str, str]) -> Spec:
    """Puts a container in place of TFX's resolvers, which run nowhere but on Vertex.

    Its output `model` is a copy of the model that ROOT/_cetnet/PIPELINE/latest_blessed.json names or, where there is none
    yet, or it takes other columns than `raw`, an empty artifact with the metadata `absent: 1`: every declared
    input has to be given.

    Args:
        spec: the pipeline spec.
        image: of the container.
        raw: the `pipeline.pushed_model.raw_inputs` of the rows, which become the parameter `raw_inputs`, as JSON.
    """
    spec = deepcopy(spec)
    found = {step.name: step for step in steps(spec)}
    resolvers = [step for step in found.values() if "resolver" in step.executor]
    model = {"artifacts": {"model": found[_RESOLVER].declared("output", "artifacts")["model"]}}
    for step in resolvers:
        del root_tasks(spec)[step.name]
        label = spec["components"].pop(step.task["componentRef"]["name"])["executorLabel"]
        del spec["deploymentSpec"]["executors"][label]
    of_pipeline = _of_pipeline(spec)
    of_pipeline["parameters"]["raw_inputs"] = {"parameterType": "STRING"}
    of_pipeline["inputs"]["parameters"]["raw_inputs"] = {
        "runtimeValue": {"constant": json.dumps(raw, sort_keys=True)}
    }
    _add_task(spec, BASELINE, image, **of_pipeline, outputs=model, after=[])
    for task in root_tasks(spec).values():
        producers = [
            given["taskOutputArtifact"] for given in task.get("inputs", {}).get("artifacts", {}).values()
        ]
        for producer in producers:
            if producer["producerTask"] == _RESOLVER:
                producer["producerTask"] = BASELINE
        if _RESOLVER in task.get("dependentTasks", []):
            task["dependentTasks"].remove(_RESOLVER)
            _run_after(task, BASELINE)
    return spec


def with_register_blessed(spec: Spec, image: str) -> Spec:
    """Records, after the pusher, the model of this run as the last blessed one, if it is blessed and pushed."""
    spec = deepcopy(spec)
    pusher = next(step for step in steps(spec) if step.name == "pusher")
    taken = {name: pusher.given("artifacts")[name] for name in ("model", "model_blessing")}
    taken["pushed_model"] = {
        "taskOutputArtifact": {"producerTask": pusher.name, "outputArtifactKey": "pushed_model"}
    }
    declared = {name: pusher.declared("input", "artifacts")[name] for name in ("model", "model_blessing")}
    pushed = pusher.declared("output", "artifacts")["pushed_model"]["artifactType"]
    of_pipeline = _of_pipeline(spec)
    of_pipeline["inputs"]["artifacts"] = taken
    _add_task(
        spec,
        REGISTER,
        image,
        **of_pipeline,
        artifacts=declared | {"pushed_model": {"artifactType": pushed}},
        after=[given["taskOutputArtifact"]["producerTask"] for given in taken.values()],
    )
    return spec


def _of_pipeline(spec: Spec) -> dict[str, Any]:
    """The input `pipeline_name`: the record is one of the pipeline, whatever the run."""
    name = {"pipeline_name": {"runtimeValue": {"constant": spec["pipelineInfo"]["name"]}}}
    return {"parameters": {"pipeline_name": {"parameterType": "STRING"}}, "inputs": {"parameters": name}}


def _add_task(
    spec: Spec,
    name: str,
    image: str,
    *,
    parameters: dict[str, Any],
    inputs: dict[str, Any],
    after: list[str],
    artifacts: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
) -> None:
    definitions: dict[str, Any] = {"parameters": parameters} | ({"artifacts": artifacts} if artifacts else {})
    component: dict[str, Any] = {"executorLabel": executor_label(name), "inputDefinitions": definitions}
    if outputs:
        component["outputDefinitions"] = outputs
    task = {"taskInfo": {"name": name}, "componentRef": {"name": component_id(name)}, "inputs": inputs}
    root_tasks(spec)[name] = deepcopy(task | ({"dependentTasks": sorted(after)} if after else {}))
    spec["components"][component_id(name)] = component = deepcopy(component)
    spec["deploymentSpec"]["executors"][executor_label(name)] = {
        "container": container(image, name, component)
    }


def _run_after(task: dict[str, Any], name: str) -> None:
    task["dependentTasks"] = sorted({*task.get("dependentTasks", []), name})
