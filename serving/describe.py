"""`cetnet serve --describe`: what a model takes and gives, and a command that asks it."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from serving.metadata import Signature, TensorInfo, numpy_type, shape_text
from serving.ports import address_text
from serving.rest_client import json_value
from serving.saved_model_file import read_signatures, read_warmup
from serving.version_folders import check_base_path, version_folder

_INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"}
_IN_JSON = _INTEGERS | {"float", "double", "bool", "string"}


def describe_model(base_path: Path, name: str | None, host: str, rest_port: int) -> None:
    """Prints the signatures of the newest version, each with a curl command for `cetnet serve` of the same options.

    Raises:
        InputError: there is no version, or its files are damaged.
    """
    check_base_path(base_path)
    folder = version_folder(base_path)
    warmup = read_warmup(folder)
    name = name or base_path.absolute().name
    anywhere = host in ("0.0.0.0", "::")
    url = f"http://{address_text('localhost' if anywhere else host, rest_port)}/v1/models/{quote(name, safe='')}"
    console = Console(soft_wrap=True, markup=False, highlight=False)
    click.echo(f"{name} version {folder.name}, -1 is any size")
    for key, signature in read_signatures(folder).items():
        if signature.inputs:  # what initialises the model has none
            click.echo(f"\n{key}")
            console.print(_table(signature))
            click.echo(_curl(url, key, signature, warmup.get(key)))


def _table(signature: Signature) -> Table:
    table = Table("", "name", "dtype", "shape", box=None, pad_edge=False)
    table.columns[1].overflow = "fold"  # a name is copied: it must be whole
    for side, tensors in (("takes", signature.inputs), ("gives", signature.outputs)):
        for alias, info in tensors.items():
            shape = "any" if info.shape is None else shape_text(info.shape)
            table.add_row(side, alias, info.dtype, shape)
    return table


def _curl(url: str, key: str, signature: Signature, known: Mapping[str, np.ndarray] | None) -> str:
    types = {info.dtype for tensors in signature for info in tensors.values()}
    if not types <= _IN_JSON:
        return f"# REST has no {', '.join(sorted(types - _IN_JSON))}: ask over gRPC"
    arrays = _first_row(signature, known) if known else _made_up(signature)
    columns = {alias: json_value(array) for alias, array in arrays.items()}
    body = json.dumps({"signature_name": key, "inputs": columns})
    note = "" if known else "# values made up by type: the model has no warm-up request for this signature\n"
    return f"{note}curl -s {shlex.quote(url + ':predict')} -d {shlex.quote(body)}"


def _first_row(signature: Signature, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first row of a request that is a batch, else all of it."""
    sizes = {array.shape[:1] for array in arrays.values()}
    batch = len(sizes) == 1 and all((info.shape or (0,))[:1] == (-1,) for info in signature.inputs.values())
    return {alias: array[:1] if batch else array for alias, array in sorted(arrays.items())}


def _made_up(signature: Signature) -> dict[str, np.ndarray]:
    """A row of zeros and empty strings: an empty string is a tf.Example too, of which all is missing."""
    return {alias: _zeros(info) for alias, info in signature.inputs.items()}


def _zeros(info: TensorInfo) -> np.ndarray:
    shape = [abs(size) for size in info.shape or ()]
    return np.full(shape, b"" if info.dtype == "string" else 0, numpy_type(info.dtype))
