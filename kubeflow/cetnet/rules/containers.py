"""Rules about what runs in the pods."""

import json
from collections.abc import Iterator

from kubeflow.cetnet.entrypoint_call import (
    COMMAND,
    COMPONENT,
    COMPONENT_SPEC,
    ENVIRONMENT,
    EXECUTOR_CLASS,
    EXECUTOR_INPUT,
    component_spec_text,
)
from kubeflow.cetnet.own_tasks import OWN_TASKS
from kubeflow.cetnet.package import Package
from kubeflow.cetnet.steps import Step, executors, steps

MOST_BYTES = 128 * 1024  # of one argument, by Linux (MAX_ARG_STRLEN); kubeflow/pipelines#12453
_FOR_ARTIFACTS = (
    16 * 1024
)  # bytes that names, addresses and metadata of artifacts may add to an ExecutorInput


def executor_kinds(package: Package) -> Iterator[str]:
    """Executors are containers or importers (`visitor.go`); a `lifecycle` would be dropped without a word."""
    for label, executor in executors(package.spec).items():
        if set(executor) not in ({"container"}, {"importer"}):
            yield f"{label}: found {', '.join(sorted(executor)) or 'nothing'}, expected container or importer"
        if "lifecycle" in executor.get("container", {}):
            yield f"{label}: found a lifecycle, which is dropped"


def commands(package: Package) -> Iterator[str]:
    """A container has an image and our entrypoint as its command (the image's own is not used), with what that needs."""
    for step in steps(package.spec):
        container = step.container
        if not container:
            continue
        if not container.get("image"):
            yield f"task {step.name} has no image"
        if container.get("command") != list(COMMAND):
            yield f"task {step.name}: found the command {container.get('command')}, expected {list(COMMAND)}"
        args = container.get("args", [])
        wanted = step.name if step.name in OWN_TASKS else COMPONENT
        if not args or args[0] != wanted:
            yield f"task {step.name}: found the arguments {args[:1]}, expected {wanted} first"
        expected = {EXECUTOR_INPUT: "{{$}}", COMPONENT_SPEC: component_spec_text(step.component)}
        for flag, value in expected.items():
            if _value(args, flag) != value:
                yield f"task {step.name}: found {_value(args, flag)!r} for {flag}, expected {value}"
        if wanted == COMPONENT and not _value(args, EXECUTOR_CLASS):
            yield f"task {step.name} names no {EXECUTOR_CLASS}"


def _value(args: list[str], flag: str) -> str | None:
    place = args.index(flag) + 1 if flag in args else len(args)
    return args[place] if place < len(args) else None


def environment(package: Package) -> Iterator[str]:
    """A container has the variables that must be set before TensorFlow is imported."""
    for step in steps(package.spec):
        found = {variable.get("name"): variable.get("value") for variable in step.container.get("env", [])}
        for name, value in ENVIRONMENT.items() if step.container else ():
            if found.get(name) != value:
                yield f"task {step.name}: found {found.get(name)!r} for {name}, expected {value!r}"


def resources(package: Package) -> Iterator[str]:
    """Limits stand in both forms and agree: backends before 2.4 read the numbers, later ones the texts."""
    for step in steps(package.spec):
        found = step.container.get("resources", {})
        if step.container and not {"cpuLimit", "memoryLimit"} <= set(found):
            yield f"task {step.name}: found no cpuLimit or no memoryLimit, expected both"
            continue
        accelerator = found.get("accelerator", {})
        pairs = {
            "resourceCpuLimit": (found.get("resourceCpuLimit"), f"{found.get('cpuLimit', 0):g}"),
            "resourceMemoryLimit": (found.get("resourceMemoryLimit"), f"{found.get('memoryLimit', 0):g}G"),
            "resourceType": (accelerator.get("resourceType"), accelerator.get("type")),
            "resourceCount": (accelerator.get("resourceCount"), accelerator.get("count")),
        }
        for name, (new, old) in pairs.items() if step.container else ():
            if new != old:
                yield f"task {step.name}: {name}: found {new!r}, expected {old!r}"


def argument_size(package: Package) -> Iterator[str]:
    """No argument is longer than Linux takes: neither a container's own nor those that the driver is started with."""
    for step in steps(package.spec):
        sizes = {"an argument": max((_size(text) for text in step.container.get("args", [])), default=0)}
        sizes["its parameters, as the entrypoint gets them,"] = _executor_input_size(step)
        for what, value in (("its task", step.task), ("its container", step.container)):
            sizes[f"{what}, as the driver gets it,"] = _size(json.dumps(value))
        for what, size in sizes.items():
            if size >= MOST_BYTES:
                yield f"task {step.name}: {what} has {size:,} bytes, expected fewer than {MOST_BYTES:,}"


def _executor_input_size(step: Step) -> int:
    values = {
        name: given.get("runtimeValue", {}).get("constant")
        for name, given in step.given("parameters").items()
    }
    return _size(json.dumps(values)) + _FOR_ARTIFACTS


def _size(text: str) -> int:
    return len(text.encode())
