"""Looks at a trained model and at the eval split: embedding tables, agreement of the members, tokens out of vocabulary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import tensorflow as tf

from cetnet_keras.cetnet import CETNet
from cetnet_keras.embedding_health import information_abundance, row_marks, row_norms
from cetnet_keras.embeddings import EmbeddingTable, FeatureEmbedding, missing_key
from cetnet_keras.metrics import EPSILON
from cetnet_keras.spec import DataSpec
from pipeline.training_record import EnsembleSummary, FeatureCoverage, Histogram, PairAgreement, TableHealth

_BINS = 40


class TableWatch:
    """Remembers how the embedding tables of a model began, at four bytes a row, and tells how they have become."""

    def __init__(self, model: CETNet) -> None:
        self._model = model
        self._began = [row_marks(rows) for *_, rows in _tables(model)]

    def health(self) -> list[TableHealth]:
        """One entry a member and vocabulary, in their order. A member has one for each width and each embedding set.

        What members share is listed once; tables beside those of a member's features have their layer's name, and
        pretrained vectors that learn, which have a table of their own, are named so. Vectors that do not are left out.
        """
        return [
            _table_health(member, feature, rows, began)
            for (member, feature, rows), began in zip(_tables(self._model), self._began, strict=True)
        ]


def _tables(model: CETNet) -> Iterator[tuple[str, str, np.ndarray]]:
    """The embedding rows of each vocabulary in each table, with their member and what tells them from its others.

    Embedding sets are apart: collapsed sets side by side would look less so than each is.
    """
    members = list(zip(model.member_names, model.members, strict=True))
    for name, member in members:
        layers = [layer for layer in member.submodules if isinstance(layer, FeatureEmbedding)]
        for layer in sorted(layers, key=lambda layer: layer is not member.features):
            own = layer is member.features
            users = [other for other, model_of in members if own and model_of.features is layer]
            if users and users[0] != name:
                continue
            of, sets = ", ".join(users) or name, member.embedding_sets if own else 1
            for number, table in enumerate(_sets(layer, sets), 1):
                which = f" (set {number})" if sets > 1 else "" if own else f" ({layer.name})"
                for owner in layer.vocabulary_sizes:
                    yield of, f"{owner}{which}", table[layer.rows_of(owner)]
            which = "pretrained" if own else f"pretrained, {layer.name}"
            for owner, vectors in layer.pretrained_tables.items():
                if vectors.trainable:
                    yield of, f"{owner} ({which})", _rows(vectors)[1:]


def _sets(layer: FeatureEmbedding, sets: int) -> list[np.ndarray]:
    return [] if layer.table is None else np.split(_rows(layer.table), sets, axis=1)


def _rows(table: EmbeddingTable) -> np.ndarray:
    return tf.convert_to_tensor(table.embeddings).numpy()


def _table_health(member: str, owner: str, table: np.ndarray, began: np.ndarray) -> TableHealth:
    norms = np.quantile(row_norms(table), [0.05, 0.5, 0.95]) if len(table) else np.zeros(3)
    return TableHealth(
        member=member,
        feature=owner,
        rows=len(table),
        width=table.shape[1],
        abundance=information_abundance(table),
        norm_low=norms[0],
        norm_median=norms[1],
        norm_high=norms[2],
        untrained=float(np.mean(row_marks(table) == began)) if len(table) else 0.0,
    )


def coverage(
    spec: DataSpec, vocabulary_sizes: Mapping[str, int], batches: Iterable[Mapping[str, np.ndarray]]
) -> list[FeatureCoverage]:
    """Counts missing values and tokens out of vocabulary.

    Args:
        spec: the data spec; features that have neither ids nor a missing indicator are left out.
        vocabulary_sizes: ids beside 0 of each owner; the last `oov_buckets` of them are out of vocabulary.
        batches: of FeatureBatch.
    """
    counts: dict[str, np.ndarray] = {}  # by feature: rows, rows without a value, tokens, unseen tokens
    for batch in batches:
        for name in spec.features:
            if spec.has_ids(name):
                owner, ids = spec.owner(name), batch[name].reshape(len(batch[name]), -1)
                unseen = ids > vocabulary_sizes[owner] - spec.oov_buckets(owner)
                found = [len(ids), (ids == 0).all(axis=1).sum(), (ids > 0).sum(), unseen.sum()]
            elif missing_key(name) in batch:
                absent = batch[missing_key(name)] > 0
                found = [len(absent), absent.sum(), 0, 0]
            else:
                continue
            counts[name] = counts.get(name, 0) + np.array(found)
    return [_feature_coverage(spec, name, *map(int, found)) for name, found in counts.items() if found[0]]


def _feature_coverage(
    spec: DataSpec, name: str, rows: int, missing: int, tokens: int, unseen: int
) -> FeatureCoverage:
    has_unseen = spec.has_ids(name) and spec.oov_buckets(spec.owner(name)) and tokens
    return FeatureCoverage(
        feature=name,
        rows=rows,
        missing=missing / rows,
        tokens=tokens if spec.has_ids(name) else None,
        unseen=unseen / tokens if has_unseen else None,
    )


def ensemble_summary(
    members: Sequence[str], member_ctr: np.ndarray, fusion_weight: np.ndarray
) -> EnsembleSummary | None:
    """How the members agree and are weighed, by the formulas of `PairAgreement`.

    Args:
        members: M names.
        member_ctr: [N, M], kept EPSILON from 0 and 1.
        fusion_weight: [N, M].
    Returns:
        None where N is 0 or a prediction is not a number.
    """
    ctr, weight = (np.asarray(values, np.float64) for values in (member_ctr, fusion_weight))
    if not ctr.size or not np.isfinite(ctr).all():
        return None
    ctr = np.clip(ctr, EPSILON, 1 - EPSILON)
    largest = weight == weight.max(axis=1, keepdims=True)
    return EnsembleSummary(
        rows=len(ctr),
        members=list(members),
        mean_weight=weight.mean(axis=0).tolist(),
        leads=(largest / largest.sum(axis=1, keepdims=True)).mean(axis=0).tolist(),
        weights=Histogram.of(weight.T, _BINS),
        pairs=_pairs(members, ctr),
    )


def _pairs(members: Sequence[str], ctr: np.ndarray) -> list[PairAgreement]:
    pairs = list(combinations(range(len(members)), 2))
    if not pairs:
        return []
    logit = np.log(ctr) - np.log1p(-ctr)
    differences = [np.abs(ctr[:, i] - ctr[:, j]) for i, j in pairs]
    histograms = Histogram.of(differences, _BINS)
    return [
        PairAgreement(
            members=(members[i], members[j]),
            difference=difference.mean(),
            difference_high=np.quantile(difference, 0.95),
            # the paper's symmetric KL in its stable form, (p - q)(z_p - z_q) / 2
            kl=float(np.mean((ctr[:, i] - ctr[:, j]) * (logit[:, i] - logit[:, j]) / 2)),
            correlation=_correlation(logit[:, i], logit[:, j]),
            histogram=histogram,
        )
        for (i, j), difference, histogram in zip(pairs, differences, histograms, strict=True)
    ]


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
