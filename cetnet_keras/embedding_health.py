"""How much of its width an embedding table uses, in NumPy alone."""

import numpy as np

_CHUNK = 65_536  # rows at once: float64 copies of a large table would not fit beside it


def information_abundance(table: np.ndarray) -> float:
    """Sum of a table's singular values over the largest one: 1 where all rows lie on a line, d at the most.

    A table whose information abundance is small against its width has collapsed: more width adds little.
    Source: Guo et al., "On the Embedding Collapse" (arXiv 2310.04400), definition 1. The singular values are the roots
    of the eigenvalues of E^T E, which is as small as d by d however many rows there are.

    Args:
        table: [V, d] float.
    Returns:
        0 for a table of zeros, NaN for one with a number that is not finite, else 1 to min(V, d).
    Raises:
        ValueError: no table of two axes.
    """
    if table.ndim != 2:
        raise ValueError(f"`table` must be [V, d]. Received: {table.shape}")
    gram = np.zeros((table.shape[1], table.shape[1]))
    for start in range(0, len(table), _CHUNK):
        rows = np.asarray(table[start : start + _CHUNK], np.float64)
        gram += rows.T @ rows
    if not np.isfinite(gram).all():
        return float("nan")
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0))
    return float(values.sum() / values[-1]) if values[-1] > 0 else 0.0


def row_norms(table: np.ndarray) -> np.ndarray:
    """Euclidean norm of each row of a table [V, d], in float64, [V]."""
    return np.sqrt(np.einsum("vd,vd->v", table, table, dtype=np.float64))


def row_marks(table: np.ndarray) -> np.ndarray:
    """A mark of each row of a table [V, d], [V] uint32: it tells a changed row at the cost of one number a row.

    The bits of the row's numbers, all XORed: equal rows have equal marks, and a changed row keeps its mark with a
    chance of one in 4e9. Source: our choice; a copy of the table would cost d numbers a row.
    """
    bits = np.ascontiguousarray(table).view(np.uint32)
    # each place is rotated by its own number of bits, else two numbers that change places would cancel out
    shift = np.arange(bits.shape[1], dtype=np.uint32) % 32
    return np.bitwise_xor.reduce((bits << shift) | (bits >> (-shift % 32)), axis=1)
