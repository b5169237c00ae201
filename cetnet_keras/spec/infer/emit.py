"""Writes a guessed spec as YAML, with the reason of each guess as a comment above it."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from cetnet_keras.spec.data_spec import DataSpec
from cetnet_keras.spec.document import printable
from cetnet_keras.spec.infer.guess import Guess
from cetnet_keras.spec.infer.table import Table
from cetnet_keras.spec.source import parse_spec

_WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./*-]*")
_OTHER_MEANING = re.compile("yes|no|on|off|true|false|null|y|n", re.I)  # for one reader of YAML or another


def as_yaml(guess: Guess, table: Table) -> str:
    """The text of a data.yaml that gives `guess.spec` when it is read.

    Raises:
        InputError: a name in it cannot be written in YAML.
    """
    text = "\n".join(_lines(guess, table)) + "\n"
    if parse_spec(DataSpec, text, "the inferred spec") != guess.spec:
        raise AssertionError(f"the inferred spec reads differently from what it was written from:\n{text}")
    return text


def _lines(guess: Guess, table: Table) -> Iterator[str]:
    spec = guess.spec
    rows = f"all {table.rows:,} rows" if table.whole else f"{table.rows:,} of about {table.about:,} rows"
    yield from _comment(f"Guessed by `cetnet spec infer` from {rows} of {table.path}.")
    yield from _comment("context is who looks, where and when, and the default; candidate is what is shown.")
    yield from _comment("Correct what is wrong, then: cetnet spec check, cetnet run --data")
    yield "version: 1"
    yield f"name: {_flow(spec.name)}"
    yield from _comment(guess.keys["label"])
    yield f"label: {_flow(spec.label)}"
    yield from _comment(guess.keys["group"])
    yield f"group: {_flow(spec.group)}" if spec.group is not None else "# group: COLUMN"
    if spec.id:
        yield f"id: {_flow(spec.id)}"
    dialect = spec.csv.model_dump(exclude_defaults=True)
    if dialect:
        yield from _block("csv", dialect)
    yield "features:"
    for name, reason in guess.columns.items():
        if name in spec.features:
            yield from _comment(reason, "  ")
            feature = spec.features[name]
            keys = {"type": feature.type} | feature.model_dump(exclude_unset=True)  # the type comes first
            yield f"  {_flow(name)}: {_flow(keys)}"
        else:
            yield from _comment(f"{name or '(no name)'} is left out: {reason}", "  ")
    yield from _comment(guess.keys["splits"])
    if spec.splits is not None:
        yield from _block("splits", spec.splits.model_dump(exclude_unset=True))


def _comment(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _block(key: str, values: dict[str, Any]) -> list[str]:
    return [f"{key}:", *(f"  {name}: {_flow(value, 100)}" for name, value in values.items())]


class _Dumper(yaml.SafeDumper):
    """Quotes every text that is not plainly a word: a spec's reader takes 1e3 for a number, PyYAML for text."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and not _OTHER_MEANING.fullmatch(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def _flow(value: Any, width: int | None = None) -> str:
    """A value on one line, or on lines of `width` characters."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=width or 1 << 30,
    )
    return text.removesuffix("...\n").strip().replace("\n", "\n    ")
