"""Rivals trained on the same rows, in an environment of their own: `make bench-peers DATA=folder`.

`rows` runs in the project's environment and writes the transformed rows as arrays; the rest runs with PyTorch and FuxiCTR
(requirements.txt) and writes the files that `benchmarks.quality` makes its tables from.
"""
