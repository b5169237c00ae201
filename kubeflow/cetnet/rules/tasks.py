"""Rules about when and how often tasks run."""

import re
from collections.abc import Iterator

from kubeflow.cetnet.own_tasks import OWN_TASKS
from kubeflow.cetnet.package import Package
from kubeflow.cetnet.steps import root_tasks, steps


def iterators(package: Package) -> Iterator[str]:
    """No task iterates over artifacts (`dag.go`: not implemented)."""
    for name, task in root_tasks(package.spec).items():
        if "artifactIterator" in task:
            yield f"task {name} has an artifactIterator"


def conditions(package: Package) -> Iterator[str]:
    """A condition asks only for inputs that the task declares: a missing key is an error to the driver, not false."""
    for step in steps(package.spec):
        text = step.task.get("triggerPolicy", {}).get("condition", "")
        for kind, name in re.findall(r"inputs\.(artifacts|parameter_values)\['([^']*)'\]", text):
            if name not in step.declared("input", "parameters" if kind != "artifacts" else kind):
                yield f"task {step.name}: its condition asks for {name}, which is no input of it"


def caching(package: Package) -> Iterator[str]:
    """Tasks that look at or change what lies outside are never cached; `cacheKey` is not known to older backends."""
    for name, task in root_tasks(package.spec).items():
        options = task.get("cachingOptions", {})
        if name in OWN_TASKS and options.get("enableCache"):
            yield f"task {name} is cached, expected enableCache: false"
        if "cacheKey" in options:
            yield f"task {name} has a cacheKey, which backends before 2.15 refuse"


def retries(package: Package) -> Iterator[str]:
    """A retry policy counts at least one retry; where there are to be none there is no policy."""
    for name, task in root_tasks(package.spec).items():
        found = task.get("retryPolicy", {}).get("maxRetryCount", 0)
        if "retryPolicy" in task and found < 1:
            yield f"task {name}: found a maxRetryCount of {found}, expected 1 or more"
