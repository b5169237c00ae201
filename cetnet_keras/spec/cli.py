"""`cetnet spec`: checks the two files that describe a model, and prints their schemas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from cetnet_keras.spec import DataSpec


@click.group()
def spec() -> None:
    """Checks data.yaml and model.yaml, and prints their schemas.

    \b
    Example:
      cetnet spec check data.yaml --model model.yaml
    """


@spec.command()
@click.argument("data", metavar="DATA.YAML", type=click.Path(path_type=Path))
@click.option(
    "--model", metavar="MODEL.YAML", type=click.Path(path_type=Path), help="Checks the model's file too."
)
def check(data: Path, model: Path | None) -> None:
    """Refuses a wrong spec before any data is read; shows what each column of a sound one becomes.

    \b
    Example:
      cetnet spec check recipes/movielens_100k/data.yaml
    """
    from cetnet_keras.console import quiet
    from cetnet_keras.spec import ModelSpec, check_members, load_data_spec, parse_spec, read_text

    with quiet() as console:
        data_spec = load_data_spec(data)
        sound = [f"{data}: {_counted(len(data_spec.features), 'feature')}, sound"]
        if model is not None:
            text = read_text(model)
            model_spec = parse_spec(ModelSpec, text, str(model))
            check_members(model_spec, text, str(model), data_spec)
            own = model_spec.members
            members = _counted(len(own), "member") if own else "default members"
            sound.append(f"{model}: {members}, sound")
        console.print(_features(data_spec))
        console.print("\n".join(sound), markup=False, highlight=False)


@spec.command()
@click.argument("file", type=click.Choice(["data", "model"]))
@click.option("--markdown", is_flag=True, help="A reference for people instead of JSON for editors.")
def schema(file: str, markdown: bool) -> None:
    """Prints the JSON Schema of data.yaml or model.yaml; editors complete and check with it.

    \b
    Example:
      cetnet spec schema data > data.schema.json
    """
    import json

    from cetnet_keras.spec import reference
    from cetnet_keras.spec.schema import json_schema

    click.echo(
        reference.markdown(file) if markdown else json.dumps(json_schema(file), indent=2), nl=not markdown
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _features(spec: DataSpec) -> Table:
    from rich.table import Table

    table = Table("feature", "type", "role", "raw value", "becomes")
    for name, feature in spec.features.items():
        role, raw = getattr(feature, "role", ""), spec.raw_types.get(name, "")
        shape = "" if spec.raw_shapes.get(name, ()) == () else ", list"
        table.add_row(name, feature.type, role, f"{raw}{shape}", _becomes(spec, name))
    return table


def _becomes(spec: DataSpec, name: str) -> str:
    from cetnet_keras.spec import NumericFeature, PretrainedFeature, TimestampFeature, VectorFeature

    feature = spec.features[name]
    if isinstance(feature, NumericFeature):
        return f"{feature.buckets} quantiles" if feature.buckets else f"number, {feature.transform}"
    if isinstance(feature, VectorFeature):
        return f"{feature.dimension} numbers"
    if isinstance(feature, TimestampFeature):
        return f"ids of {', '.join(feature.parts)}"
    if isinstance(feature, PretrainedFeature):
        return f"{feature.dimension} numbers of each id of {feature.of}, {'tuned' if feature.trainable else 'fixed'}"
    if spec.owner(name) != name:
        return f"ids of {spec.owner(name)}"
    if feature.hash_buckets is not None:
        return f"{feature.hash_buckets} hashed ids"
    identity = getattr(feature, "identity", None)
    return f"ids 0..{identity - 1}" if identity else "ids of its own vocabulary"
