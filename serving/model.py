"""A SavedModel in memory, loaded and run as TensorFlow Serving does it: a graph in a session of its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.arrays import as_array, typed_arrays
from serving.metadata import (
    DEFAULT_SIGNATURE,
    ModelMetadata,
    Signature,
    TensorInfo,
    shape_text,
    type_name,
)
from serving.status import Code, StatusError, invalid
from serving.version_folders import version_number


class Model:
    """A loaded SavedModel. Any number of threads may run it at once.

    A session and not `tf.saved_model.load`: it is the C++ runtime that a stock server calls, so messages,
    deadlines and what is computed for a subset of the outputs agree, and closing it gives the memory back
    after a swap.

    Args:
        path: folder of the version, with saved_model.pb and variables/.
        ran: told of each run when TensorFlow began it, in nanoseconds of time.perf_counter_ns.
    Raises:
        StatusError: the folder holds no whole SavedModel, or TensorFlow cannot load it.
    """

    def __init__(self, path: Path, ran: Callable[[int], None] = lambda began: None) -> None:
        if not (path / "saved_model.pb").is_file():
            raise StatusError(
                Code.NOT_FOUND,
                "Specified file path does not appear to contain a SavedModel bundle (should have a file "
                f"called `saved_model.pb`)\nSpecified file path: {path}",
            )
        # TensorFlow would load it all the same, with nothing restored
        if not (path / "variables" / "variables.index").is_file():
            raise StatusError(
                Code.NOT_FOUND,
                f"{path} has no variables/variables.index: the folder was not copied whole; copy it again, "
                "under another name first, and rename it into place",
            )
        self.path, self._ran = path, ran
        config = tf.compat.v1.ConfigProto()
        config.gpu_options.allow_growth = True  # two versions have to fit side by side while they are swapped
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        except Exception as error:  # a foreign file can fail in any way; the caller learns the version's fate
            self._session.close()
            raise _load_error(path, error) from error
        self.signature_defs: dict[str, Any] = dict(meta_graph.signature_def)
        self._signatures = {name: _signature(proto) for name, proto in self.signature_defs.items()}

    @property
    def version(self) -> int:
        """The number that the folder's name is, 0 if it is none."""
        return version_number(self.path.name) or 0

    def metadata(self) -> ModelMetadata:
        """Name (of the base path), version and signatures, as a server would tell them."""
        return ModelMetadata(self.path.parent.name, self.version, self._signatures)

    def predict(
        self,
        inputs: Mapping[str, np.ndarray | Sequence[Any]],
        signature: str = DEFAULT_SIGNATURE,
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """What a client's `predict` gives, without a server: all outputs of the signature for these inputs.

        Raises:
            InputError: the inputs are not those of the signature, or it does not exist.
            StatusError: the run failed.
        """
        return self.run(signature, typed_arrays(inputs, self.metadata(), signature), timeout=deadline)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature once.

        Args:
            signature: a key of `signature_defs`.
            inputs: an array for each input, strings as arrays of bytes objects.
            outputs: the outputs to compute; none means all.
            timeout: seconds that the run may take.
        Raises:
            StatusError: INVALID_ARGUMENT for a wrong type or shape, DEADLINE_EXCEEDED, or a kernel's own.
        """
        definition = self.signature_defs[signature]
        _check_types(definition, inputs)
        _check_shapes(self._signatures[signature], inputs)
        wanted = outputs or sorted(definition.outputs)
        fetches = {alias: definition.outputs[alias].name for alias in wanted}
        if not all(":" in name for name in fetches.values()):
            raise invalid(
                f'signature "{signature}" gives no tensors: it initialises the model and cannot be called'
            )
        options = None
        if timeout is not None:
            options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(timeout * 1000)))
        feeds = {definition.inputs[alias].name: array for alias, array in inputs.items()}
        began = time.perf_counter_ns()
        try:
            results = self._session.run(fetches, feeds, options=options)
            self._ran(began)
        except tf.errors.OpError as error:
            # Python adds where in the graph it was; a stock server's message is the plain one
            plain = error.__context__ if isinstance(error.__context__, tf.errors.OpError) else error
            raise StatusError(Code(plain.error_code), str(plain.message)) from error
        except ValueError as error:  # a shape that the graph refuses although the signature leaves it open
            raise invalid(str(error)) from error
        except RuntimeError as error:  # the session was closed, as a server that stops does it
            raise StatusError(Code.UNAVAILABLE, f"{self.path} is unloaded") from error
        return {alias: as_array(result) for alias, result in results.items()}

    def close(self) -> None:
        """Frees the memory; a run that has not begun by now fails."""
        self._session.close()


def _load_error(path: Path, error: Exception) -> StatusError:
    if isinstance(error, tf.errors.OpError):
        return StatusError(Code(error.error_code), f"{path}: {error.message}")
    return StatusError(Code.UNKNOWN, f"{path}: {error}")


def _signature(definition: Any) -> Signature:
    def tensors(protos: Any) -> dict[str, TensorInfo]:
        return {alias: _tensor_info(proto) for alias, proto in sorted(protos.items())}

    return Signature(tensors(definition.inputs), tensors(definition.outputs))


def _tensor_info(proto: Any) -> TensorInfo:
    shape = None if proto.tensor_shape.unknown_rank else tuple(dim.size for dim in proto.tensor_shape.dim)
    return TensorInfo(type_name(proto.dtype), shape)


def _check_types(definition: Any, inputs: Mapping[str, np.ndarray]) -> None:
    """Session.run would cast in silence; a stock server counts its feeds by the name of their tensors."""
    by_feed = sorted((definition.inputs[alias].name, alias) for alias in inputs)
    for index, (_, alias) in enumerate(by_feed):
        expected = definition.inputs[alias].dtype
        found = tf.as_dtype(inputs[alias].dtype).as_datatype_enum
        if found != expected:
            raise invalid(
                f"Expects arg[{index}] to be {type_name(expected)} but {type_name(found)} is provided"
            )


def _check_shapes(signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    """A stock server runs what broadcasts, and answers nonsense; refusing is an allowed exception."""
    for alias, array in inputs.items():
        info = signature.inputs[alias]
        if not info.accepts(array.shape):
            raise invalid(
                f"Input {alias} has shape {shape_text(array.shape)}, the signature takes "
                f"{shape_text(info.shape or ())} (-1: any size)"
            )
