"""A model in this process behind the same client as one behind a server: for files of rows, and to compare."""

from pathlib import Path

import numpy as np

from serving.blocking_client import Client
from serving.metadata import ModelMetadata, Prediction, Signature, VersionStatus
from serving.model import Model
from serving.version_folders import version_folder


class ModelBackend:
    """A loaded model; see `serving.async_client.Backend`. Errors are the model's own, nothing is unreachable."""

    blocking = True

    def __init__(self, model: Model) -> None:
        self._model = model
        self.target, self.name = str(model.path), model.path.parent.name

    async def predict(
        self, arrays: dict[str, np.ndarray], signature: str, known: Signature, timeout: float
    ) -> Prediction:
        """All outputs of a signature for typed arrays."""
        return Prediction(self._model.run(signature, arrays, timeout=timeout), self._model.version)

    async def metadata(self, timeout: float) -> ModelMetadata:
        """Name, version and signatures."""
        return self._model.metadata()

    async def status(self, timeout: float) -> list[VersionStatus]:
        """The one version there is."""
        return [VersionStatus(self._model.version, "AVAILABLE", "OK", "")]

    async def close(self) -> None:
        """Frees the model's memory."""
        self._model.close()


def load(path: Path, deadline: float = 30.0) -> Client:
    """A client for a pushed model's newest version, or for the version whose folder it is.

    Raises:
        InputError: there is no such folder, or no version in it.
        StatusError: TensorFlow cannot load it.
    """
    return Client(ModelBackend(Model(version_folder(path))), deadline)
