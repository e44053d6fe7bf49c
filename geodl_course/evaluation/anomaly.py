"""How good are scores at telling strange chips from known ones: over all thresholds, and at one that somebody chose.

A chip is flagged where its score is at or above the threshold. Scores need not lie in 0..1. Lecture 09 uses these.
"""

import numpy as np
from scipy.stats import rankdata


def two_groups(scores, strange):
    """scores (N,), strange (N,) bool → both as arrays.

    Raises ValueError for other shapes, for NaN, and where either group is empty: nothing can be told apart then.
    """
    scores, strange = np.asarray(scores, dtype=np.float64), np.asarray(strange)
    if scores.ndim != 1 or scores.shape != strange.shape or strange.dtype != bool:
        raise ValueError(f"scores are {scores.shape}, strange is {strange.dtype} {strange.shape}: pass (N,), (N,) bool")
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN: leave out chips that hold NaN")
    if strange.all() or not strange.any():
        raise ValueError(f"{strange.sum()} of {len(strange)} chips are strange: both groups need at least one chip")
    return scores, strange


def auroc(scores, strange):
    """scores (N,), strange (N,) bool → the chance that a strange chip scores above a known one, ties counting half.

    0.5 is a coin, 1 is perfect, below 0.5 the score points the other way. Equals the area under the ROC curve (Mann
    and Whitney 1947).
    """
    scores, strange = two_groups(scores, strange)
    n = int(strange.sum())
    above = rankdata(scores)[strange].sum() - n * (n + 1) / 2
    return float(above / (n * (len(scores) - n)))


def counts_at_each(scores, strange):
    """Each distinct score as a threshold, falling → thresholds, strange flagged, known flagged, (T,) each."""
    scores, strange = two_groups(scores, strange)
    order = np.argsort(-scores, kind="stable")
    scores, strange = scores[order], strange[order]
    last = np.append(scores[1:] != scores[:-1], True)  # equal scores are flagged together
    return scores[last], strange.cumsum()[last], (~strange).cumsum()[last]


def average_precision_of_scores(scores, strange):
    """scores (N,), strange (N,) bool → area under the precision-recall curve as a sum of steps, 0..1.

    A coin reaches the share of strange chips, so it is read beside that share.
    """
    _, found, false = counts_at_each(scores, strange)
    return float((np.diff(found, prepend=0) / found[-1] * found / (found + false)).sum())


def false_alarms_at_recall(scores, strange, recall=0.9):
    """scores (N,), strange (N,) bool → the share of known chips flagged at the highest threshold that finds `recall`.

    Returns (share, threshold). Raises ValueError for a recall that is not in 0..1, 0 excluded.
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall is {recall}: choose a share of the strange chips, above 0 and at most 1")
    thresholds, found, false = counts_at_each(scores, strange)
    first = int(np.searchsorted(found, recall * found[-1] - 1e-9))
    return float(false[first] / false[-1]), float(thresholds[first])


def confusion_at(scores, strange, threshold, cost_missed=1.0, cost_false=1.0):
    """scores (N,), strange (N,) bool and a threshold → {"found", "missed", "false", "passed", "cost"}.

    A threshold above all scores flags nothing, one below all flags everything: both are legal, the counts say it. The
    cost is cost_missed for each strange chip not flagged and cost_false for each known one flagged. Raises ValueError
    for a NaN threshold and for costs below 0.
    """
    scores, strange = two_groups(scores, strange)
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN: choose a number, for example one of the scores")
    if not (cost_missed >= 0 and cost_false >= 0):
        raise ValueError(f"costs are {cost_missed} and {cost_false}: both must be at least 0")
    flagged = scores >= threshold
    found, false = int((flagged & strange).sum()), int((flagged & ~strange).sum())
    missed, passed = int(strange.sum()) - found, int((~strange).sum()) - false
    cost = cost_missed * missed + cost_false * false
    return {"found": found, "missed": missed, "false": false, "passed": passed, "cost": float(cost)}


def cheapest_threshold(scores, strange, cost_missed=1.0, cost_false=1.0):
    """scores (N,), strange (N,) bool, two costs → the score that costs least as a threshold; of several the highest.

    math.inf where flagging nothing is cheapest.
    """
    thresholds, found, false = counts_at_each(scores, strange)
    cost = cost_missed * (found[-1] - found) + cost_false * false
    return float(thresholds[cost.argmin()]) if cost.min() < cost_missed * found[-1] else np.inf
