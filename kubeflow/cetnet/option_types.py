"""What an option may hold: a value that Kubernetes would refuse is refused before the package is made."""

import re
from typing import Any

import click

from kubeflow.cetnet.options import Volume

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # a DNS label (RFC 1123)


class Matching(click.ParamType):
    """A text of one form.

    Args:
        name: what `--help` calls it.
        pattern: regular expression of the whole text.
        expected: the form in words.
    """

    def __init__(self, name: str, pattern: str, expected: str) -> None:
        self.name, self._pattern, self._expected = name, re.compile(pattern), expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._pattern.fullmatch(value):
            self.fail(f"found {value!r}, expected {self._expected}", param, ctx)
        return str(value)


FOLDER = Matching(  # neither a `..`, nor wildcards, which ExampleGen's driver would take for a pattern
    "path",
    r"(/(?!\.{1,2}(/|$))[\w.@+=-]+)+",
    "an absolute path in the pods, such as /data",
)
ADDRESS = Matching(
    "address",
    r"(minio|s3|gs)://[a-z0-9][a-z0-9._-]+(/[\w.@+=-]+)*",
    "a bucket's address that starts with minio://, s3:// or gs://; there are no file roots",
)
IMAGE = Matching(
    "image",
    r"[A-Za-z0-9][\w.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
    "an image's name, such as registry.example/cetnet:1",
)
SECRET = Matching("name", rf"{_LABEL}(\.{_LABEL})*", "a secret's name, of a-z, 0-9, - and .")
RESOURCE = Matching(
    "resource", rf"{_LABEL}(\.{_LABEL})*/[A-Za-z0-9][\w.-]*", "a resource's name, such as nvidia.com/gpu"
)
_CLAIM = Matching("claim", _LABEL, "a claim's name of at most 63 of a-z, 0-9 and -, as in rows:/data")


class VolumeType(click.ParamType):
    """CLAIM:PATH. Kubeflow names the pod's volume after the claim, so that the claim has to be a DNS label."""

    name = "claim:path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Volume:
        claim, _, mount = value.partition(":")
        return Volume(_CLAIM.convert(claim, param, ctx), FOLDER.convert(mount, param, ctx))
