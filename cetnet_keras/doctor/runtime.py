"""Whether TensorFlow can be loaded, with which Keras, and which accelerators it sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

from cetnet_keras.doctor.finding import Finding

_LOAD = """
import json, cetnet_keras, tensorflow as tf, tf_keras
gpus = [tf.config.experimental.get_device_details(device).get("device_name", device.name)
        for device in tf.config.list_physical_devices("GPU")]
print(json.dumps({"keras": tf_keras.__version__, "gpus": gpus, "cuda": tf.test.is_built_with_cuda()}))
"""


def tensorflow(timeout: float = 120) -> Iterator[Finding]:
    """Loads TensorFlow in a process of its own, which may crash or hang without harm to this one.

    Args:
        timeout: seconds that it may take.
    """
    item, expected = "TensorFlow", "an import that succeeds"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOAD], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        cure = "the disk or the GPU driver may hang: try `python -c 'import tensorflow'`, `nvidia-smi`"
        yield Finding(item, f"not loaded after {timeout:g} s", "wrong", expected, cure)
        return
    if done.returncode:
        cure = f"mend what is wrong above; all of it: {sys.executable} -c 'import cetnet_keras, tensorflow'"
        yield Finding(item, _why(done), "wrong", expected, cure)
        return
    found = json.loads(done.stdout.splitlines()[-1])
    legacy = f"TF_USE_LEGACY_KERAS={os.environ['TF_USE_LEGACY_KERAS']}"
    yield Finding(item, f"loads, with Keras {found['keras']} ({legacy})")
    yield _accelerators(found["gpus"], found["cuda"])


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"ended by {signal.Signals(-done.returncode).name}"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]


def _accelerators(gpus: list[str], cuda: bool) -> Finding:
    item = "Accelerators"
    if gpus:
        return Finding(item, f"{len(gpus)} GPU: {', '.join(sorted(set(gpus)))}")
    if not any(map(os.path.exists, ("/proc/driver/nvidia/version", "/dev/nvidia0"))):
        return Finding(item, "no NVIDIA driver, training uses the CPU cores")
    expected = "GPUs that TensorFlow can use, as there is an NVIDIA driver"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding(item, "hidden by CUDA_VISIBLE_DEVICES", "note", expected, "unset it to use them")
    if not cuda:
        cure = "install the tensorflow of PyPI, which has CUDA"
        return Finding(item, "a TensorFlow without CUDA", "note", expected, cure)
    cure = f"pip install 'tensorflow[and-cuda]=={version('tensorflow')}' brings the CUDA libraries"
    return Finding(item, "none", "note", expected, cure)
