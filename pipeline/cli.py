"""The commands `cetnet run`, `report`, `evaluate` and `demo`. What is heavy is imported when a command runs."""

from pathlib import Path
from typing import Any

import click

from cetnet_keras.errors import GateRefused, WorkFailed
from cetnet_keras.output import output_file, output_folder, write_output
from pipeline.job_options import job_options
from pipeline.job_options import max_bad_rows as max_bad_rows_option

_PATH = click.Path(path_type=Path)


@click.command(short_help="Train, evaluate, gate and push a model.")
@click.option("--data", required=True, metavar="DATA.YAML", type=_PATH, help="The data spec.")
@click.option(
    "--model",
    metavar="MODEL.YAML",
    type=_PATH,
    help="Members, fusion and training.  [default: a sound model]",
)
@click.option("--output", metavar="DIR", type=_PATH, help="Where everything goes.  [default: runs/NAME]")
@job_options
def run(
    data: Path,
    model: Path | None,
    output: Path | None,
    bounds: dict[str, float],
    allow_anomalies: bool,
    max_bad_rows: int,
) -> None:
    """Runs the whole pipeline: ingest, validate, transform, train, evaluate, gate and push a served model.

    What has not changed since the last run in DIR is taken from there. After a run that was
    stopped, components that finished are not run again; the one that was interrupted, be it training, begins anew.

    \b
    Example:
      cetnet run --data recipes/movielens_100k/data.yaml --model recipes/movielens_100k/model.yaml
      cetnet serve runs/movielens_100k/serving/movielens_100k
    """
    run_and_show(data, model, output, bounds, allow_anomalies, max_bad_rows)


def run_and_show(
    data: Path,
    model: Path | None,
    output: Path | None = None,
    bounds: dict[str, float] | None = None,
    allow_anomalies: bool = False,
    max_bad_rows: int = 0,
) -> tuple[Path, Any]:
    """Runs the pipeline with progress on the terminal; returns DIR and the RunResult.

    Raises:
        InputError: a spec, a file or a row is wrong. WorkFailed: a component or the report failed; a model that was
            pushed stays. GateRefused: not blessed.
    """
    from cetnet_keras.console import quiet
    from cetnet_keras.spec import check_members, load_data_spec, load_model_source, read_text
    from pipeline.ingest import check_files
    from pipeline.pretrained import pretrained_files

    spec = load_data_spec(data)
    data_text, (model_spec, model_text, model_name) = read_text(data), load_model_source(model)
    unused = check_files(spec, data.parent)
    pretrained_files(spec, data.parent)  # before any work: what cannot be read is said at once
    output = output or Path("runs") / spec.name
    with quiet(output_folder(output) / "log.txt") as console:
        from pipeline.summary import ComponentProgress, show_summary, show_unused

        check_members(model_spec, model_text, model_name, spec)
        show_unused(console, unused)
        for said in (output / "metrics.json", output / "report.html"):
            if said.is_file():
                said.unlink()  # of the run before: where this one is refused or stopped, it would be taken for its word
        with ComponentProgress(console, "Loading TFX") as progress:
            from pipeline.gates import Gates
            from pipeline.local_run import run_pipeline

            result = run_pipeline(
                (spec, data_text, data.parent.resolve()),
                (model_spec, model_text),
                output,
                Gates(**(bounds or {})),
                progress,
                allow_anomalies,
                max_bad_rows,
            )
            report, failure = _report(spec, output, result, progress)
        show_summary(console, spec, output, result, report)
    if not result.blessed:
        more = (
            f"; and {len(result.reasons) - 3} more in {output / 'metrics.json'}" if result.reasons[3:] else ""
        )
        more += f"; {failure}" if failure else ""
        raise GateRefused(f"{spec.name} is not blessed and not pushed: {'; '.join(result.reasons[:3])}{more}")
    if failure:
        log = output / "log.txt"
        raise WorkFailed(f"{failure}; the model is blessed and pushed to {result.pushed}; traceback: {log}")
    return output, result


def _report(spec: Any, output: Path, result: Any, progress: Any) -> tuple[Path | None, str]:
    """Writes the report: its path, or None and why not. A run is not lost over its report."""
    import traceback

    from pipeline.report.gather import gather
    from pipeline.report.page import write_page

    progress("Report", "running")
    try:
        data = gather(spec, output, result.record, result.metrics)
        data.write(output)
        path = write_page(data, output)
    except Exception as error:
        traceback.print_exc()  # to the log
        return None, f"the report could not be made: {type(error).__name__}: {error}"
    progress("Report", "done")
    return path, ""


@click.command(short_help="Write the report of a run anew.")
@click.argument("output", metavar="DIR", type=_PATH)
def report(output: Path) -> None:
    """Writes DIR/report.html anew from what `cetnet run --output DIR` left; nothing is computed again.

    \b
    Example:
      cetnet report runs/movielens_100k
    """
    from pipeline.report.data import ReportData
    from pipeline.report.page import write_page

    click.echo(f"report   {write_page(ReportData.read(output), output)}")


@click.command(short_help="Measure a pushed model on a split of a data spec.")
@click.option("--data", required=True, metavar="DATA.YAML", type=_PATH, help="The data spec.")
@click.option(
    "--model", required=True, metavar="DIR", type=_PATH, help="DIR/serving/NAME, or one version in it."
)
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "eval", "test"]))
@click.option("--output", metavar="FILE", type=_PATH, help="Write the metrics as JSON to this file.")
@max_bad_rows_option
def evaluate(data: Path, model: Path, split: str, output: Path | None, max_bad_rows: int) -> None:
    """Measures a pushed model with TFMA, fused and per member, on rows that may be newer than the model.

    \b
    Example:
      cetnet evaluate --data new/data.yaml --model runs/movielens_100k/serving/movielens_100k
    """
    from cetnet_keras.console import quiet
    from cetnet_keras.spec import load_data_spec
    from pipeline.ingest import check_files
    from serving.version_folders import version_folder

    spec = load_data_spec(data)
    check_files(spec, data.parent)
    version = version_folder(model)
    if output is not None:
        output_file(output)
    with quiet() as console:
        from pipeline.summary import ComponentProgress, metrics_table, show_bad_rows

        with ComponentProgress(console, "Evaluating") as progress:
            from pipeline.evaluate_model import evaluate_model

            document = evaluate_model(spec, data.parent.resolve(), version, split, progress, max_bad_rows)
        console.print(metrics_table(document, f"{version}, {split} split of {data}"))
        show_bad_rows(console, document["bad_rows"])
    if output is not None:
        import json

        write_output(output, json.dumps(document, indent=2) + "\n")


@click.command(short_help="The whole way on MovieLens-100K, from download to a served ranking.")
@click.option("--output", default=Path("runs/movielens_100k"), show_default=True, metavar="DIR", type=_PATH)
def demo(output: Path) -> None:
    """Fetches MovieLens-100K, runs the pipeline, serves what it pushed and asks it over REST and gRPC.

    \b
    Example:
      cetnet demo
    """
    from pipeline.demo import run_demo

    run_demo(output)
