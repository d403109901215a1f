"""What the figures of a comparison say, in sentences; each is read off report.json and nothing is guessed."""

from __future__ import annotations

from segcct.comparison.comparison_record import PREDICTED, Comparison, ComparisonSummary
from segcct.comparison.comparison_summary import ENOUGH_MASKS, Cases
from segcct.plurals import counted, listed_in_prose
from segcct.report.html import number

_BOUNDS = (0.15, 0.3, 0.6)
"""Rank correlations from which on it is called weak, moderate or strong."""


def findings(comparison: Comparison) -> list[str]:
    """Up to five sentences, the most useful first."""
    cases, summary = comparison.cases, comparison.summary
    empty = [name for name, case in cases.items() if case.is_empty]
    return [
        _flagged(len(cases), summary),
        *([f"Nothing was predicted in {listed_in_prose(empty)}: no estimate is possible there."] if empty else []),
        _error_reduction(summary),
        *_cycle(summary),
        *_guide(cases, summary),
    ]


def _flagged(cases: int, summary: ComparisonSummary) -> str:
    if summary.flagged is None:
        return "No calibrated estimate: the segmenter has no quality.json (segcct calibrate writes one)."
    below = f"an estimated Dice below {summary.flag_below:g}"
    if not summary.flagged:
        return f"No mask has {below}, and no structure seems missed."
    verb = "has" if len(summary.flagged) == 1 else "have"
    count = counted(len(summary.flagged), "case")
    return f"{count} of {cases} {verb} {below} or a structure missed: {listed_in_prose(summary.flagged)}."


def _error_reduction(summary: ComparisonSummary) -> str:
    reduction, by_slice = (stats[PREDICTED].mean for stats in (summary.gain, summary.gain_by_slice))
    if reduction is None:
        return "The generator is not evaluated: no predicted mask holds a structure."
    if reduction <= 0:
        return f"The generator does no better than class means in the foreground ({-100 * reduction:z.0f}% more RMSE)."
    sentence = f"The foreground RMSE of the generator is {100 * reduction:.0f}% below that of class means"
    if by_slice is None:
        return f"{sentence}."
    if by_slice > 0:
        return f"{sentence}; {100 * by_slice:.0f}% below that of the means of each slice, which its style code knows."
    return f"{sentence}, but not below that of each slice's means, which its style code knows: it adds no structure."


def _cycle(summary: ComparisonSummary) -> list[str]:
    predicted, fraction = summary.cycle.predicted.mean, summary.cycle_share_of_dice
    if predicted is None:
        return []
    sentence = f"In the generated images the segmenter finds its own masks again with a Dice of {number(predicted, 2)}"
    if fraction is None:
        return [f"{sentence}."]
    reference = number(summary.cycle.reference.mean, 2)
    real = f"{100 * fraction:.0f}% of what it finds in the real images"
    return [f"{sentence}, and the reference masks with {reference} ({real})."]


def _guide(cases: Cases, summary: ComparisonSummary) -> list[str]:
    rank = summary.spearman_with_one_minus_iou.rmse_in_class
    masks = sum(each.iou is not None for case in cases.values() for each in case.classes.values())
    if rank is None or masks < ENOUGH_MASKS:
        return []
    kind = ("not", "weakly", "moderately", "strongly")[sum(rank >= bound for bound in _BOUNDS)]
    correlation = f"Spearman {number(rank, 2)} with 1 \N{MINUS SIGN} IoU"
    return [f"Reconstruction distance alone is {kind} correlated with the overlap here: {correlation}."]
