"""A pipeline spec read step by step: a task with the component and the executor that it refers to."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kubeflow.cetnet.package import Spec


class Step(NamedTuple):
    """One task of the root; what it refers to in vain is empty."""

    name: str
    task: dict[str, Any]
    component: dict[str, Any]
    executor: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        """The container, empty where the executor is of another kind."""
        return dict(self.executor.get("container", {}))

    def declared(self, direction: str, kind: str) -> dict[str, Any]:
        """What the component declares: `direction` is input or output, `kind` artifacts or parameters."""
        return dict(self.component.get(f"{direction}Definitions", {}).get(kind, {}))

    def given(self, kind: str) -> dict[str, Any]:
        """Where the task takes its artifacts or parameters from."""
        return dict(self.task.get("inputs", {}).get(kind, {}))


def root_tasks(spec: Spec) -> dict[str, dict[str, Any]]:
    """The tasks of the root, by key."""
    tasks: dict[str, dict[str, Any]] = spec.get("root", {}).get("dag", {}).get("tasks", {})
    return tasks


def root_parameters(spec: Spec) -> dict[str, dict[str, Any]]:
    """What a run can be given, by name."""
    found: dict[str, dict[str, Any]] = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    return found


def executors(spec: Spec) -> dict[str, dict[str, Any]]:
    """How components run, by label."""
    found: dict[str, dict[str, Any]] = spec.get("deploymentSpec", {}).get("executors", {})
    return found


def steps(spec: Spec) -> Iterator[Step]:
    """The tasks of the root, each with what it refers to."""
    for name, task in root_tasks(spec).items():
        component = spec.get("components", {}).get(task.get("componentRef", {}).get("name"), {})
        yield Step(name, task, component, executors(spec).get(component.get("executorLabel"), {}))
