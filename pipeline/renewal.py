"""What the cache must not answer with: refusals that may pass, and pushes that have been undone."""

from pathlib import Path

from ml_metadata import proto
from tfx.orchestration import metadata

from pipeline.artifacts import Push, artifacts_of, pushes


def renew(database: Path, pipeline_name: str) -> None:
    """Has the next run of a pipeline ask again where the parity gate refused, and push again what is not served by now.

    A server that did not start, or a slow answer, may be the machine's fault. A pushed version may have been deleted
    or moved, or a later one, of another model, stands in front of it. TFX takes from its cache what is live alone.

    Args:
        database: of ML Metadata; nothing is done where there is none yet.
        pipeline_name: of the pipeline.
    """
    if not database.exists():
        return
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(database))) as handle:
        blessings = artifacts_of(handle.store, pipeline_name, "ParityGate", "InfraBlessing")
        refused = [b for b in blessings if not b.custom_properties["blessed"].int_value]
        pushed = pushes(handle.store, pipeline_name)
        there = [push for push in pushed if _is_there(push)]
        undone = [push.artifact for push in pushed if push not in there or push.model != there[0].model]
        stale = [artifact for artifact in refused + undone if artifact.state == proto.Artifact.LIVE]
        for artifact in stale:
            artifact.state = proto.Artifact.ABANDONED
        if stale:
            handle.store.put_artifacts(stale)


def _is_there(push: Push) -> bool:
    destination = Path(push.artifact.custom_properties["pushed_destination"].string_value)
    return (destination / "saved_model.pb").exists()
