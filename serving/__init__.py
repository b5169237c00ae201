"""Serves a pushed SavedModel as TensorFlow Serving does: local server, clients, warm-up."""

import cetnet_keras  # noqa: F401  # sets TF_USE_LEGACY_KERAS before a module of this floor imports TensorFlow
