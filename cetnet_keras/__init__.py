"""CETNet, a collaborative ensemble for CTR prediction, as Keras layers and models.

Names load when they are first used: importing the package imports neither TensorFlow nor anything else that is heavy.
"""

import importlib
import os
import sys
from typing import Any

if os.environ.setdefault("TF_USE_LEGACY_KERAS", "1") != "1":  # TFRS, TFT and TFMA stand on Keras 2
    raise ImportError("cetnet_keras needs Keras 2: set TF_USE_LEGACY_KERAS=1, or leave it unset")
if "tf_keras" not in sys.modules and "keras.src" in sys.modules:
    raise ImportError(
        "cetnet_keras needs Keras 2 and Keras 3 is loaded: import cetnet_keras before tensorflow"
    )

_HOME = {
    "CETNet": "cetnet",
    "Calibration": "calibration",
    "CollaborationSpec": "spec",
    "ConfidenceWeight": "confidence",
    "DataSpec": "spec",
    "EmbeddedFeatures": "embeddings",
    "FeatureEmbedding": "embeddings",
    "Fusion": "fusion",
    "FusionSpec": "spec",
    "LazyAdam": "optimizers",
    "Member": "members",
    "MemberOutput": "members",
    "MemberSpec": "spec",
    "ModelSpec": "spec",
    "RowWiseAdagrad": "optimizers",
    "WeightAverage": "weight_average",
    "group_auc": "metrics",
    "load_data_spec": "spec",
    "load_model_spec": "spec",
    "one_member": "single_member",
    "register_member": "members",
    "replace_by_oov": "oov",
    "symmetric_kl": "collaboration",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
