"""`cetnet spec`: guesses, checks and explains the two files that describe a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from cetnet_keras.spec import DataSpec


@click.group()
def spec() -> None:
    """Guesses a data.yaml, checks it and model.yaml, and prints their schemas.

    \b
    Example:
      cetnet spec infer clicks.csv > data.yaml
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
    from cetnet_keras.spec import check_members, load_data_spec, load_model_source

    with quiet() as console:
        data_spec = load_data_spec(data)
        sound = [f"{data}: {_counted(len(data_spec.features), 'feature')}, sound"]
        if model is not None:
            model_spec, text, name = load_model_source(model)
            check_members(model_spec, text, name, data_spec)
            own = model_spec.members
            members = _counted(len(own), "member") if own else "default members"
            sound.append(f"{model}: {members}, sound")
        console.print(_features(data_spec))
        console.print("\n".join(sound), markup=False, highlight=False)


@spec.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--columns",
    metavar="NAMES",
    help="Names for a file without a header line: a,b,I1..I13,history[50] (a list in 50 cells).",
)
@click.option(
    "--label", metavar="COLUMN", help="The column with 1 for a click and 0 for none.  [default: by its name]"
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A new file, in place of standard output.",
)
def infer(files: tuple[str, ...], columns: str | None, label: str | None, output: Path | None) -> None:
    """Writes a first data.yaml for click rows, CSV or Parquet, with the reason of each guess in a comment.

    It reads a sample: the first rows and some from further on. Files with train, valid and test in their names are the
    splits; the rows of others are divided by time, else by a hash. Paths in it start at the folder of --output, else here.

    \b
    Example:
      cetnet spec infer clicks.csv > data.yaml
      cetnet spec infer train.csv.gz test.csv.gz --output data.yaml
      cetnet spec infer day_0.tsv --columns label,I1..I13,C1..C26 > data.yaml
    """
    from cetnet_keras.errors import InputError
    from cetnet_keras.spec.infer import infer as inferred

    text = inferred(files, output.parent if output else Path(), columns, label)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(
            f"{output}: found a file already, expected a new one; remove it or name another"
        ) from error
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); choose another place") from error
    click.echo(f"{output}: read its comments, then: cetnet run --data {output}")


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
