"""CETNet beside each member alone, naive ensembles and peers, on the same rows: `python -m benchmarks.quality --help`."""
