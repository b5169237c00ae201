"""Ingestion: CSV files become tf.Examples, typed by the data spec and divided into train, eval and test."""

from pipeline.ingest.files import check_files
from pipeline.ingest.recovery import input_error_in

__all__ = ["check_files", "input_error_in"]  # `component.example_gen` stays there: it imports TFX
