"""What a package is told beside the two specs."""

from importlib.metadata import version
from typing import NamedTuple

PIPELINE_ROOT = "minio://mlpipeline/v2/artifacts"  # the default of an open-source Kubeflow installation


class Volume(NamedTuple):
    """A persistent volume claim of the cluster and where pods see it."""

    claim: str
    mount: str  # absolute path

    def holds(self, path: str) -> bool:
        """Whether an absolute path lies on the volume."""
        return f"{path}/".startswith(f"{self.mount.rstrip('/')}/")


class Options(NamedTuple):
    """Where the pipeline runs and what it may use there. Paths are those of the pods."""

    image: str
    display_name: str
    pipeline_root: str = PIPELINE_ROOT
    data_root: str = "/data"  # default of the parameter: the folder that the data spec's paths start at
    push_to: str | None = None  # versions go to PUSH_TO/NAME; without it they are artifacts alone
    volumes: tuple[Volume, ...] = ()
    storage_secret: str | None = None  # with the keys accesskey and secretkey
    cpu: float = 4  # cores of each heavy step
    memory: float = 16  # GB of each heavy step
    accelerators: int = 0  # of the trainer
    accelerator_type: str = "nvidia.com/gpu"  # the name of the Kubernetes resource
    retries: int = 2  # of each step


def default_image() -> str:
    """The name that an image of this release goes by where none is given."""
    return f"cetnet:{version('cetnet')}"
