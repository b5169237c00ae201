"""Reads back what a run left in ML Metadata: the artifacts that each component made or took from the cache."""

from pathlib import Path
from typing import NamedTuple

from ml_metadata import proto
from tfx.orchestration import metadata

from cetnet_keras.errors import WorkFailed


class Outputs(NamedTuple):
    """What one component put out in its latest execution."""

    artifacts: dict[str, list[proto.Artifact]]  # by output key

    def folder(self, key: str) -> Path:
        """The folder of the only artifact of an output."""
        return Path(self.artifacts[key][0].uri)


def latest_outputs(database: Path, pipeline_name: str, node_id: str) -> Outputs | None:
    """Outputs of a component's latest execution that succeeded or was cached; None where there is none."""
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(database))) as handle:
        store = handle.store
        context = store.get_context_by_type_and_name("node", f"{pipeline_name}.{node_id}")
        if context is None:
            return None
        done = (proto.Execution.COMPLETE, proto.Execution.CACHED)
        executions = [e for e in store.get_executions_by_context(context.id) if e.last_known_state in done]
        if not executions:
            return None
        latest = max(executions, key=lambda e: e.id)
        outputs: dict[str, list[proto.Artifact]] = {}
        for event in store.get_events_by_execution_ids([latest.id]):
            if event.type in (proto.Event.OUTPUT, proto.Event.DECLARED_OUTPUT):
                artifact = store.get_artifacts_by_id([event.artifact_id])[0]
                outputs.setdefault(event.path.steps[0].key, []).append(artifact)
        return Outputs(outputs)


def required_outputs(database: Path, pipeline_name: str, node_id: str) -> Outputs:
    """As `latest_outputs`. Raises WorkFailed where there is none."""
    found = latest_outputs(database, pipeline_name, node_id)
    if found is None:
        raise WorkFailed(f"{node_id} left nothing in {database}")
    return found
