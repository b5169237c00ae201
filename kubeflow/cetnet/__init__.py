"""Compiles the pipeline for Kubeflow Pipelines v2.

A sub-package of a namespace: the official SDK has the `kubeflow/__init__.py`, and where both are installed this folder lies
beside the SDK's own.
"""
