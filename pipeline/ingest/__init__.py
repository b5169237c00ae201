"""Ingestion: CSV, Parquet and TFRecord become tf.Examples, typed by the data spec, of train, eval and test."""

from pipeline.ingest.checks import check_files
from pipeline.ingest.recovery import input_error_in

__all__ = ["check_files", "input_error_in"]  # `component.example_gen` stays there: it imports TFX
