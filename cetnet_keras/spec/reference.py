"""The reference of the two files as Markdown: docs/data_spec.md and docs/model_spec.md."""

import json
import re
from collections.abc import Iterator
from typing import Any

from cetnet_keras.spec.schema import json_schema
from cetnet_keras.spec.source import DEFAULT_MODEL

EXAMPLES = {
    "data": """\
version: 1
name: shop
label: click
group: user_id
features:
  user_id: {type: categorical}
  item_id: {type: categorical, role: candidate, vocabulary: {min_count: 2}}
  price:   {type: numeric, role: candidate, transform: log1p}
  tags:    {type: bag, role: candidate, separator: "|"}
  history: {type: sequence, vocabulary: item_id, of: item_id, by: user_id, time: time, where: {click: 1}}
slices: [[], [item_id]]
splits: {files: clicks/*.csv, by: time, column: time, eval: 0.1, test: 0.1}
""",
    "model": """\
members:
  - {type: din, embedding_dim: 16}
  - {type: dhen, embedding_dim: 16, layers: 2}
fusion: {type: paper}
collaboration: {alpha: 0.5}
training: {batch_size: 1024, learning_rate: 0.001, epochs: 20, patience: 2}
""",
}


_WITHOUT = {
    "model": (
        "An empty file has the paper's fusion and pull, and the default members. Without a file `cetnet run` and "
        "`cetnet kubeflow compile` take this one ([why](method.md#fusion)):",
        f"```yaml\n{DEFAULT_MODEL}```",
    )
}


def markdown(name: str) -> str:
    """The reference of a file in `KINDS`: an example, then a table of its keys and of those below them."""
    schema = json_schema(name)
    parts = [
        f"# {name}.yaml",
        f"<!-- Made by `cetnet spec schema {name} --markdown`; change the code, then run it again. -->",
        schema["description"],
        f"```yaml\n{EXAMPLES[name]}```",
        *_WITHOUT.get(name, ()),
        f"`cetnet spec check` checks a file; `cetnet spec schema {name}` prints a JSON Schema for editors.",
        f"## Keys\n\n{_table(schema)}",
    ]
    for definition in dict.fromkeys(_references(schema, schema["$defs"])):
        below = schema["$defs"][definition]
        parts.append(f"## {_title(definition)}\n\n{below['description']}\n\n{_table(below)}")
    return "\n\n".join(parts) + "\n"


def _references(schema: Any, definitions: dict[str, Any]) -> Iterator[str]:
    """The definitions that a schema leads to, in the order in which a reader meets them."""
    if isinstance(schema, list):
        for value in schema:
            yield from _references(value, definitions)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                name = value.rpartition("/")[2]
                yield name
                yield from _references(definitions[name], definitions)
            elif key not in ("$defs", "discriminator"):
                yield from _references(value, definitions)


def _table(schema: dict[str, Any]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, value in sorted(schema["properties"].items(), key=lambda item: item[0] != "type"):
        if key in schema.get("required", ()):
            default = "required"
        else:
            default = f"`{json.dumps(value['default'])}`" if value.get("default") is not None else ""
        cells = (f"`{key}`", _value(value), default, value["description"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _value(schema: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "$ref" in schema:
        title = _title(schema["$ref"].rpartition("/")[2])
        return f"[{title}](#{title.lower().replace(' ', '-')})"
    if schema.get("not") == {}:
        return "reserved"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            options = (_value(option) for option in schema[key] if option.get("type") != "null")
            return " or ".join(dict.fromkeys(option for option in options if option != "reserved"))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        return f"list of {_value(schema['items'])}"
    if schema["type"] == "object":
        return f"names, each with {_value(schema['additionalProperties'])}"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    return words[schema["type"]] + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    words = {"minimum": "{} or more", "exclusiveMinimum": "above {}", "exclusiveMaximum": "below {}"}
    limits = [text.format(f"{schema[key]:g}") for key, text in words.items() if key in schema]
    return f", {', '.join(limits)}" if limits else ""


def _title(definition: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", definition).capitalize()
