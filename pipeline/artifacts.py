"""Reads back what a run left in ML Metadata: the artifacts that each component made or took from the cache."""

from pathlib import Path
from typing import NamedTuple

from ml_metadata import proto
from ml_metadata.metadata_store.metadata_store import MetadataStore
from tfx.orchestration import metadata

from cetnet_keras.errors import WorkFailed

_OUTPUT = (proto.Event.OUTPUT, proto.Event.DECLARED_OUTPUT)


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
        context = _node(store, pipeline_name, node_id)
        if context is None:
            return None
        done = (proto.Execution.COMPLETE, proto.Execution.CACHED)
        executions = [e for e in store.get_executions_by_context(context.id) if e.last_known_state in done]
        if not executions:
            return None
        latest = max(executions, key=lambda e: e.id)
        outputs: dict[str, list[proto.Artifact]] = {}
        for event in store.get_events_by_execution_ids([latest.id]):
            if event.type in _OUTPUT:
                artifact = store.get_artifacts_by_id([event.artifact_id])[0]
                outputs.setdefault(event.path.steps[0].key, []).append(artifact)
        return Outputs(outputs)


def required_outputs(database: Path, pipeline_name: str, node_id: str) -> Outputs:
    """As `latest_outputs`. Raises WorkFailed where there is none."""
    found = latest_outputs(database, pipeline_name, node_id)
    if found is None:
        raise WorkFailed(f"{node_id} left nothing in {database}")
    return found


def artifacts_of(store: MetadataStore, pipeline_name: str, node_id: str, kind: str) -> list[proto.Artifact]:
    """What a component has ever put out or taken in of a type of artifact, such as PushedModel; the oldest first."""
    context = _node(store, pipeline_name, node_id)
    found = store.get_artifacts_by_context(context.id) if context is not None else []
    return sorted((artifact for artifact in found if artifact.type == kind), key=lambda artifact: artifact.id)


class Push(NamedTuple):
    """A model that was pushed."""

    artifact: proto.Artifact  # a PushedModel
    model: int  # id of the Model


def pushes(store: MetadataStore, pipeline_name: str) -> list[Push]:
    """All that a pipeline has pushed, the last one first."""
    found = artifacts_of(store, pipeline_name, "Pusher", "PushedModel")
    done = [artifact for artifact in reversed(found) if artifact.custom_properties["pushed"].int_value]
    if not done:
        return []
    events = store.get_events_by_artifact_ids([artifact.id for artifact in done])
    made = {event.artifact_id: event.execution_id for event in events if event.type in _OUTPUT}
    taken = {
        event.execution_id: event.artifact_id
        for event in store.get_events_by_execution_ids(sorted(set(made.values())))
        if event.type == proto.Event.INPUT and event.path.steps[0].key == "model"
    }
    return [Push(artifact, taken[made[artifact.id]]) for artifact in done]


def _node(store: MetadataStore, pipeline_name: str, node_id: str) -> proto.Context | None:
    return store.get_context_by_type_and_name("node", f"{pipeline_name}.{node_id}")
