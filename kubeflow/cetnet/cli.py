"""`cetnet kubeflow`: packages for Kubeflow Pipelines. What is heavy is imported when a command runs."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cetnet_keras.errors import InputError
from cetnet_keras.output import output_file, write_output
from kubeflow.cetnet.option_types import ADDRESS, FOLDER, IMAGE, RESOURCE, SECRET, VolumeType
from kubeflow.cetnet.options import Options
from pipeline.job_options import FiniteRange, job_options

if TYPE_CHECKING:
    from cetnet_keras.spec import DataSpec

_PATH = click.Path(path_type=Path)


@click.group()
def kubeflow() -> None:
    """Compiles the pipeline for Kubeflow Pipelines. A server takes the package, but its steps do not run yet.

    \b
    Example:
      cetnet kubeflow compile --data data.yaml --output pipeline.yaml
    """


@kubeflow.command(name="compile", short_help="Write the package for Kubeflow Pipelines v2.")
@click.option("--data", required=True, metavar="DATA.YAML", type=_PATH, help="The data spec.")
@click.option(
    "--model",
    metavar="MODEL.YAML",
    type=_PATH,
    help="Members, fusion and training.  [default: a sound model]",
)
@click.option("--output", required=True, metavar="FILE", type=_PATH, help="The package, as YAML.")
@click.option(
    "--target", default="kfp", show_default=True, type=click.Choice(["kfp"]), help="What it is for."
)
@click.option("--display-name", metavar="TEXT", help="What the pages show.  [default: the spec's name]")
@click.option(
    "--image",
    default=lambda: f"cetnet:{version('cetnet')}",
    metavar="IMAGE",
    type=IMAGE,
    help="What all steps run in.  [default: cetnet:VERSION]",
)
@click.option(
    "--pipeline-root",
    default="minio://mlpipeline/v2/artifacts",  # of an installation as it comes
    show_default=True,
    metavar="ADDRESS",
    type=ADDRESS,
    help="Where artifacts go.",
)
@click.option(
    "--data-root",
    default="/data",
    show_default=True,
    metavar="PATH",
    type=FOLDER,
    help="Where pods find what the data spec's paths start at; a run may name another.",
)
@click.option(
    "--pvc",
    "volumes",
    multiple=True,
    metavar="CLAIM:PATH",
    type=VolumeType(),
    help="A volume for rows or pushed models; repeat it for more.",
)
@click.option(
    "--push-to",
    metavar="PATH",
    type=FOLDER,
    help="Push to PATH/NAME on a volume.  [default: the artifact alone]",
)
@click.option(
    "--storage-secret", metavar="NAME", type=SECRET, help="Secret with the keys accesskey and secretkey."
)
@click.option(
    "--cpu",
    default=4.0,
    show_default=True,
    type=FiniteRange(min=0.1),
    help="Cores of a step that reads all rows or holds the model.",
)
@click.option(
    "--memory",
    default=16.0,
    show_default=True,
    type=FiniteRange(min=1),
    help="GB of a step that reads all rows or holds the model.",
)
@click.option(
    "--accelerators",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Accelerators of the trainer.",
)
@click.option(
    "--accelerator-type",
    default="nvidia.com/gpu",
    show_default=True,
    metavar="RESOURCE",
    type=RESOURCE,
    help="What Kubernetes calls one.",
)
@click.option(
    "--retries",
    default=2,
    show_default=True,
    type=click.IntRange(0, 10),
    help="How often a step that fails starts again.",
)
@job_options
def compile_(
    data: Path,
    model: Path | None,
    output: Path,
    target: str,
    bounds: dict[str, float],
    allow_anomalies: bool,
    max_bad_rows: int,
    **options: Any,
) -> None:
    """Compiles the pipeline that `cetnet run` runs into a package that a Kubeflow Pipelines v2 server takes.

    Neither rows nor a cluster are needed here. The same specs, options and release give the same bytes everywhere.
    A server takes the package, but its steps do not run yet: their entrypoint is not in this release.

    \b
    Example:
      cetnet kubeflow compile --data data.yaml --output pipeline.yaml
      cetnet kubeflow compile --data data.yaml --output pipeline.yaml --pvc rows:/data --image registry/cetnet:1
    """
    from cetnet_keras.console import quiet
    from cetnet_keras.spec import check_members, load_data_spec, load_model_source, read_text

    spec = load_data_spec(data)
    data_text, (model_spec, model_text, model_name) = read_text(data), load_model_source(model)
    _refuse_placeholders({str(data): data_text, model_name: model_text})
    given = _options(spec, options)
    output_file(output)
    with quiet() as console:
        from pipeline.summary import ComponentProgress

        check_members(model_spec, model_text, model_name, spec)
        with ComponentProgress(console, "Compiling"):
            from kubeflow.cetnet.compiler import compile_package
            from pipeline.create_pipeline import Job
            from pipeline.gates import Gates

            sources = (spec, data_text, data.parent), (model_spec, model_text)
            job = Job.of(*sources, Gates(**bounds), allow_anomalies, max_bad_rows)
            package = compile_package(job, given)
        write_output(output, package.text())
        console.print(f"package  {output}", markup=False)
        console.print(f"image    {given.image}", markup=False)
        for note in _notes(spec, given):
            console.print(f"note     {note}", markup=False)


def _refuse_placeholders(texts: dict[str, str]) -> None:
    """The launcher replaces `{{$...}}` wherever it stands in an argument, and the specs are arguments."""
    for path, text in texts.items():
        before, found, _ = text.partition("{{$")
        if found:
            line = before.count("\n") + 1
            raise InputError(
                f"{path}:{line}: found '{found}', which Kubeflow replaces by something else; write it differently"
            )


def _options(spec: "DataSpec", given: dict[str, Any]) -> Options:
    """Raises UsageError on volumes that no pod can have, and where what is pushed would go with the pod."""
    options = Options(**given | {"display_name": given["display_name"] or spec.name})
    for kind, names in (
        ("claim", [volume.claim for volume in options.volumes]),
        ("path", [volume.mount for volume in options.volumes]),
    ):
        for name in sorted({name for name in names if names.count(name) > 1}):
            raise click.UsageError(f"found the {kind} {name} in two --pvc, expected each once")
    if options.push_to and not any(volume.holds(options.push_to) for volume in options.volumes):
        found = f"--push-to {options.push_to} is on no volume, where it would be lost with the pod"
        raise click.UsageError(f"{found}; add --pvc CLAIM:{options.push_to}")
    return options


def _notes(spec: "DataSpec", options: Options) -> list[str]:
    """What only the user knows to be right."""
    from pipeline.ingest.files import split_patterns

    paths = [pattern for patterns in split_patterns(spec).values() for pattern in patterns]
    paths += [feature.file for feature in spec.pretrained.values()]
    absolute = dict.fromkeys(path for path in paths if path.startswith("/"))
    notes = [
        "a server takes the package, but its steps do not run yet: their entrypoint is not in this release"
    ]
    notes += [f"{path} in the data spec has to be there in the pods" for path in absolute]
    if not any(volume.holds(options.data_root) for volume in options.volumes):
        notes.append(f"no --pvc holds {options.data_root}: the pods need the rows there all the same")
    if not options.storage_secret:
        notes.append("no --storage-secret: the pods need the right to read and write the pipeline root")
    return notes
