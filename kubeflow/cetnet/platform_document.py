"""The second document of a package, where there is one: what Kubernetes is asked for beyond containers."""

from collections.abc import Iterable
from typing import Any

from kubeflow.cetnet.names import executor_label
from kubeflow.cetnet.options import Options
from kubeflow.cetnet.own_tasks import BASELINE, REGISTER
from kubeflow.cetnet.package import Spec

_WITH_CREDENTIALS = (
    BASELINE,
    REGISTER,
)  # they speak with the storage themselves; for the others the launcher does
_KEYS = {
    "accesskey": "AWS_ACCESS_KEY_ID",
    "secretkey": "AWS_SECRET_ACCESS_KEY",
}  # as Kubeflow's own secret has them


def platform_document(options: Options, mounted_by: Iterable[str]) -> Spec | None:
    """The document for volumes, for the tasks of `mounted_by`, and the storage's secret; None where there are none.

    Only fields of the oldest backends are used: `constant` and `secretName`, not the forms with `...Parameter`.
    """
    executors: dict[str, dict[str, Any]] = {}
    mounts = [{"constant": volume.claim, "mountPath": volume.mount} for volume in options.volumes]
    for task in mounted_by if mounts else ():
        executors[executor_label(task)] = {"pvcMount": mounts}
    if options.storage_secret:
        keys = [{"secretKey": key, "envVar": variable} for key, variable in _KEYS.items()]
        secret = [{"secretName": options.storage_secret, "keyToEnv": keys}]
        for task in _WITH_CREDENTIALS:
            executors[executor_label(task)] = {"secretAsEnv": secret}
    if not executors:
        return None
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
