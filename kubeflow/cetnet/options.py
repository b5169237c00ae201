"""What a package is told beside the two specs."""

from typing import NamedTuple


class Volume(NamedTuple):
    """A persistent volume claim of the cluster and where pods see it."""

    claim: str
    mount: str  # absolute path

    def holds(self, path: str) -> bool:
        """Whether an absolute path lies on the volume."""
        return f"{path}/".startswith(f"{self.mount}/")


class Options(NamedTuple):
    """Where the pipeline runs and what it may use there. Paths are those of the pods."""

    image: str
    display_name: str
    pipeline_root: str
    data_root: str  # default of the parameter: the folder that the data spec's paths start at
    push_to: str | None  # versions go to PUSH_TO/NAME; without it they are artifacts alone
    volumes: tuple[Volume, ...]
    storage_secret: str | None  # with the keys accesskey and secretkey
    cpu: float  # cores of each heavy step
    memory: float  # GB of each heavy step
    accelerators: int  # of the trainer
    accelerator_type: str  # the name of the Kubernetes resource
    retries: int  # of each step
