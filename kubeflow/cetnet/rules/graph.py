"""Rules about what refers to what."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from kubeflow.cetnet.package import Package
from kubeflow.cetnet.steps import executors, root_tasks, steps


def references(package: Package) -> Iterator[str]:
    """A task names a component, a component an executor, and each component and executor is named."""
    components, found = package.spec.get("components", {}), executors(package.spec)
    named = {task.get("componentRef", {}).get("name") for task in root_tasks(package.spec).values()}
    labels = {component.get("executorLabel") for component in components.values()}
    for kind, wanted, there in (("component", named, set(components)), ("executor", labels, set(found))):
        for name in sorted(map(str, wanted - there)):
            yield f"{kind} {name} is not there"
        for name in sorted(there - wanted):
            yield f"{kind} {name} is used by nothing"


def producers(package: Package) -> Iterator[str]:
    """An input comes from an output that its producer declares, and the task runs after its producer."""
    found = {step.name: step for step in steps(package.spec)}
    for step in found.values():
        after = set(step.task.get("dependentTasks", []))
        for name in sorted(after - set(found)):
            yield f"task {step.name} runs after {name}, which is not there"
        for kind, source, key in (
            ("artifacts", "taskOutputArtifact", "outputArtifactKey"),
            ("parameters", "taskOutputParameter", "outputParameterKey"),
        ):
            for name, given in step.given(kind).items():
                if source not in given:
                    continue
                producer, output = given[source].get("producerTask"), given[source].get(key)
                if producer not in found or output not in found[producer].declared("output", kind):
                    yield f"task {step.name}: {name} comes from {output} of {producer}, which is not declared"
                elif producer not in after:
                    yield f"task {step.name} takes {name} from {producer} and does not run after it"


def acyclic(package: Package) -> Iterator[str]:
    """No task waits for itself (`dag.go`: tasks become nodes of an Argo DAG)."""
    after = {name: task.get("dependentTasks", []) for name, task in root_tasks(package.spec).items()}
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        yield f"found the circle {' > '.join(error.args[1])}"


def inputs_given(package: Package) -> Iterator[str]:
    """Each declared input is given and each given one declared: the driver fails on what it cannot resolve."""
    for step in steps(package.spec):
        for kind in ("artifacts", "parameters"):
            declared, given = step.declared("input", kind), step.given(kind)
            for name in sorted(set(declared) - set(given)):
                if not declared[name].get("isOptional"):
                    yield f"task {step.name}: input {name} is not given"
            for name in sorted(set(given) - set(declared)):
                yield f"task {step.name}: input {name} is not declared by its component"
