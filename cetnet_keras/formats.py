"""Which format a file of rows has."""

_SUFFIXES = {
    (".parquet", ".pq"): "Parquet",
    (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz"): "TFRecord",
}


def format_of(path: str) -> str:
    """CSV, Parquet or TFRecord, by the name of a file; the first where the name says nothing."""
    return next((known for ends, known in _SUFFIXES.items() if path.lower().endswith(ends)), "CSV")
