"""Names that Kubernetes and Argo take."""

import re

KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 128  # of a task's name, by Argo's validation


def kebab(name: str) -> str:
    """`ExampleGen`, `latest_blessed` and `Trainer.v2` as `example-gen`, `latest-blessed` and `trainer-v2`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-").lower()


def component_id(task: str) -> str:
    """The id of a task's component; the prefix is the one that the Kubeflow SDK writes and its tools expect."""
    return f"comp-{task}"


def executor_label(task: str) -> str:
    """The label of a task's executor, in the platform document too."""
    return f"exec-{task}"
