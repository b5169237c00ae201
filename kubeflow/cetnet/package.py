"""A package: one pipeline spec and at most one platform document, as canonical YAML."""

import re
from typing import Any, NamedTuple

import yaml

Spec = dict[str, Any]

# Plain scalars that no reader of YAML 1.1 or 1.2 takes for anything but text; Go's and Python's differ on 1e3, 0o7, y
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9]*([._/-]?[A-Za-z0-9]+)+")

# YAML 1.1 breaks lines at these too, and some of them are read as \n
_OTHER_BREAKS = re.compile("[\x85\u2028\u2029]")


class Package(NamedTuple):
    """What the API server is given."""

    spec: Spec  # PipelineSpec as JSON has it
    platform: Spec | None = None  # {"platforms": {"kubernetes": ...}}

    def text(self) -> str:
        """The package as YAML; the same package is the same text on every machine."""
        documents = [self.spec] if self.platform is None else [self.spec, self.platform]
        return yaml.dump_all(
            [_whole_numbers(document) for document in documents],
            Dumper=_Dumper,
            sort_keys=True,
            allow_unicode=True,
            default_flow_style=False,
            width=2**31,  # no line is folded
            explicit_start=len(documents) > 1,
        )


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Writes out what occurs twice: anchors would depend on which objects happen to be shared."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    as_lines = "\n" in value and not _OTHER_BREAKS.search(value)
    style = None if _PLAIN.fullmatch(value) else "|" if as_lines else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _whole_numbers(value: Any) -> Any:
    """Protos know one kind of number: 1.0 is written 1."""
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
