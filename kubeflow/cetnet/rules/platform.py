"""Rules about the platform document."""

from collections.abc import Iterator
from typing import Any

from kubeflow.cetnet.package import Package
from kubeflow.cetnet.steps import executors

# of a KubernetesExecutorConfig, those that every release from 2.4.1 on knows, in their oldest form
_FIELDS = {
    "secretAsEnv", "secretAsVolume", "configMapAsEnv", "configMapAsVolume", "pvcMount", "nodeSelector",
    "tolerations", "nodeAffinity", "podAffinity", "podMetadata", "imagePullSecret", "imagePullPolicy",
    "fieldPathAsEnv", "emptyDirMounts", "enabledSharedMemory", "genericEphemeralVolume", "activeDeadlineSeconds",
}  # fmt: skip


def _configs(package: Package) -> dict[str, dict[str, Any]]:
    kubernetes = (package.platform or {}).get("platforms", {}).get("kubernetes", {})
    found: dict[str, dict[str, Any]] = kubernetes.get("deploymentSpec", {}).get("executors", {})
    return found


def platform_labels(package: Package) -> Iterator[str]:
    """The platform document is for kubernetes and speaks of executors that are there (`v2_template.go`)."""
    if package.platform is not None and set(package.platform.get("platforms", {})) != {"kubernetes"}:
        yield f"found the platforms {sorted(package.platform.get('platforms', {}))}, expected kubernetes"
    for label in sorted(set(_configs(package)) - set(executors(package.spec))):
        yield f"executor {label} is not there"


def platform_fields(package: Package) -> Iterator[str]:
    """Only fields that every release from 2.4.1 on knows, with constants in place of the later `...Parameter` forms."""
    for label, config in _configs(package).items():
        for field in sorted(set(config) - _FIELDS):
            yield f"executor {label}: {field} is not known to every backend"
        claims = [mount.get("constant") for mount in config.get("pvcMount", [])]
        for claim in sorted({str(claim) for claim in claims if claims.count(claim) > 1}):
            yield f"executor {label}: found the claim {claim} twice: the driver names volumes after claims"
        for mount in config.get("pvcMount", []):
            if not {"constant", "mountPath"} <= set(mount) or not mount["mountPath"].startswith("/"):
                yield f"executor {label}: found the mount {mount}, expected a constant and an absolute mountPath"
        for secret in config.get("secretAsEnv", []):
            if not secret.get("secretName") or not secret.get("keyToEnv"):
                yield f"executor {label}: found the secret {secret}, expected secretName and keyToEnv"
