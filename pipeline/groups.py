"""Group AUC of rows some of which have no group: the same in training, in the Evaluator and in the benchmarks."""

import numpy as np

from cetnet_keras.metrics import GroupAuc, group_auc

NO_GROUP = -1  # of a row whose group is missing or empty; that of any other row is a hash, 0 or more


def auc_within_groups(
    label: np.ndarray, score: np.ndarray, group: np.ndarray, weight: np.ndarray | None = None
) -> GroupAuc:
    """`group_auc` of the rows that have a group: rows of nobody, such as those of all who are not logged in, are no group.

    Args:
        label, score, weight: [N], as `group_auc` has them.
        group: [N] int64, NO_GROUP where there is none.
    """
    known = group != NO_GROUP
    return group_auc(label[known], score[known], group[known], None if weight is None else weight[known])
