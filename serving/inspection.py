"""GetModelStatus and GetModelMetadata, the same for REST and gRPC."""

from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.status import Code
from serving.versions import VersionManager


def status_response(versions: VersionManager, name: str, number: int | None) -> Any:
    """The GetModelStatusResponse for one version, or for all that were ever seen, newest first.

    Raises:
        StatusError: NOT_FOUND; no such version was ever seen.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in versions.statuses(name, number):
        entry = response.model_version_status.add()
        entry.version = status.version
        entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(status.state)
        entry.status.error_code = Code[status.error_code]
        entry.status.error_message = status.error_message
    return response


def metadata_response(
    versions: VersionManager, name: str, number: int | None, label: str | None
) -> tuple[Any, Any]:
    """The GetModelMetadataResponse for a loaded version, and the SignatureDefMap packed in it.

    Raises:
        StatusError: the version is not loaded, or a label was asked for.
    """
    with versions.use(name, number, label) as model:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, definition in model.signature_defs.items():
            signatures.signature_def[key].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = name
        response.model_spec.version.value = model.version
    response.metadata["signature_def"].Pack(signatures)
    return response, signatures
