"""Rewrites of what TFX compiles, one for each thing that an open-source backend takes differently.

Each is a function from a spec to a new one.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from kubeflow.cetnet.entrypoint_call import COMPONENT, container
from kubeflow.cetnet.names import component_id, executor_label, kebab
from kubeflow.cetnet.options import Options
from kubeflow.cetnet.package import Spec
from kubeflow.cetnet.steps import executors, root_tasks, steps

# Those that read all rows or hold the model; the others start, look at little and end
HEAVY_TASKS = ("evaluator", "example-gen", "parity-gate", "statistics-gen", "trainer", "transform")
_LIGHT_CPU, _LIGHT_MEMORY = 1, 4  # cores and GB: importing TFX alone takes 1 GB


def bare_spec(job: dict[str, Any]) -> Spec:
    """The pipeline spec of a PipelineJob: the API server knows no jobs."""
    spec: Spec = deepcopy(job["pipelineSpec"])
    return spec


def with_kebab_ids(spec: Spec) -> Spec:
    """Renames tasks, components and executors, wherever they are named: Argo takes no `_` and no `.` in them.

    Raises:
        ValueError: two ids would become one.
    """
    old = deepcopy(spec)
    tasks = {kebab(name): _renamed(task) for name, task in root_tasks(old).items()}
    components = {component_id(kebab(name)): component for name, component in old["components"].items()}
    labels = {
        component["executorLabel"]: executor_label(kebab(name))
        for name, component in old["components"].items()
    }
    found = {labels[label]: executor for label, executor in executors(old).items()}
    for before, after in ((root_tasks(old), tasks), (old["components"], components), (executors(old), found)):
        if len(before) != len(after):
            raise ValueError(f"two of the ids {sorted(before)} are one in kebab-case")
    for component in components.values():
        component["executorLabel"] = labels[component["executorLabel"]]
    new = old | {"components": components, "deploymentSpec": old["deploymentSpec"] | {"executors": found}}
    new["root"]["dag"]["tasks"] = tasks
    return new


def _renamed(task: dict[str, Any]) -> dict[str, Any]:
    task["taskInfo"]["name"] = kebab(task["taskInfo"]["name"])
    task["componentRef"]["name"] = component_id(kebab(task["componentRef"]["name"]))
    if "dependentTasks" in task:
        task["dependentTasks"] = sorted(kebab(name) for name in task["dependentTasks"])
    for given in task.get("inputs", {}).get("artifacts", {}).values():
        given["taskOutputArtifact"]["producerTask"] = kebab(given["taskOutputArtifact"]["producerTask"])
    return task


def with_entrypoint(spec: Spec, image: str) -> Spec:
    """Calls our entrypoint where TFX calls its own, which dies of artifacts without types and of `minio://`."""
    spec = deepcopy(spec)
    for step in steps(spec):
        args = step.container.get("args", [])
        if "--executor_class_path" in args:
            executor_class = args[args.index("--executor_class_path") + 1]
            beam_args = args[args.index("--json_serialized_inputs_spec_args") + 2 :]
            called = container(image, COMPONENT, step.component, executor_class, beam_args)
            step.executor["container"] = called
    return spec


def with_caching(spec: Spec, never: Iterable[str]) -> Spec:
    """Says of each task whether it may be answered from the cache; those of `never` may not."""
    spec, never = deepcopy(spec), set(never)
    for name, task in root_tasks(spec).items():
        task["cachingOptions"] = {"enableCache": name not in never}
    return spec


def with_retries(spec: Spec, retries: int) -> Spec:
    """Starts a failed step again in a fresh pod, after half a minute and then after twice as long each time."""
    spec = deepcopy(spec)
    policy = {
        "maxRetryCount": retries,
        "backoffDuration": "30s",
        "backoffFactor": 2,
        "backoffMaxDuration": "600s",
    }
    for task in root_tasks(spec).values() if retries else ():
        task["retryPolicy"] = dict(policy)
    return spec


def with_resources(spec: Spec, options: Options) -> Spec:
    """Limits of each container. Newer backends read the texts, older ones the numbers; both are written."""
    spec = deepcopy(spec)
    for step in steps(spec):
        heavy = step.name in HEAVY_TASKS
        cpu = options.cpu if heavy else min(options.cpu, _LIGHT_CPU)
        memory = options.memory if heavy else min(options.memory, _LIGHT_MEMORY)
        resources: dict[str, Any] = {
            "cpuLimit": cpu,
            "memoryLimit": memory,
            "resourceCpuLimit": f"{cpu:g}",
            "resourceMemoryLimit": f"{memory:g}G",
        }
        if step.name == "trainer" and options.accelerators:
            kind, count = options.accelerator_type, str(options.accelerators)
            resources["accelerator"] = {
                "type": kind,
                "count": count,
                "resourceType": kind,
                "resourceCount": count,
            }
        step.executor["container"]["resources"] = resources
    return spec


def with_header(spec: Spec, options: Options, sdk: str) -> Spec:
    """What stands above the tasks: names, root and who made it."""
    info = spec["pipelineInfo"] | {
        "displayName": options.display_name,
        "description": "From rows of clicks to a blessed and pushed CETNet",
    }
    return deepcopy(spec) | {
        "pipelineInfo": info,
        "defaultPipelineRoot": options.pipeline_root,
        "sdkVersion": sdk,
    }
