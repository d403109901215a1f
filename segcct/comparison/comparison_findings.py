"""What the figures of a comparison say, in sentences; each is read off report.json and nothing is guessed."""

from __future__ import annotations

from segcct.comparison.comparison_record import PREDICTED, Comparison, ComparisonSummary
from segcct.comparison.comparison_summary import Cases
from segcct.plurals import counted
from segcct.report.html import listed, number

_WEAK, _STRONG = 0.3, 0.6
"""Rank correlations below and above which a guide is called weak or good."""
_ENOUGH = 8
"""Masks before a correlation is put into words."""


def findings(comparison: Comparison) -> list[str]:
    """Up to five sentences, the most useful first."""
    cases, summary = comparison.cases, comparison.summary
    return [
        *_doubtful(cases, summary),
        *_empty(cases),
        *_gain(summary),
        *_cycle(summary),
        *_guide(cases, summary),
    ]


def _doubtful(cases: Cases, summary: ComparisonSummary) -> list[str]:
    if summary.doubtful is None:
        return ["No calibrated estimate: the segmenter has no quality.json (segcct calibrate writes one)."]
    below = f"an estimated Dice below {summary.doubtful_below:g}"
    if not summary.doubtful:
        return [f"No mask has {below}, and no structure seems missed."]
    verb = "has" if len(summary.doubtful) == 1 else "have"
    count = counted(len(summary.doubtful), "case")
    return [f"{count} of {len(cases)} {verb} {below} or a structure missed: {listed(summary.doubtful)}."]


def _empty(cases: Cases) -> list[str]:
    nothing = [name for name, case in cases.items() if case.is_empty]
    return [f"Nothing was predicted in {listed(nothing)}: no estimate is possible there."] if nothing else []


def _gain(summary: ComparisonSummary) -> list[str]:
    gain, by_slice = (gains[PREDICTED].mean for gains in (summary.gain, summary.gain_by_slice))
    if gain is None:
        return ["The generator is not evaluated: no predicted mask holds a structure."]
    if gain <= 0:
        return [f"The generator does no better than class means in the foreground ({-100 * gain:.0f}% more RMSE)."]
    said = f"The generator saves {100 * gain:.0f}% of the foreground RMSE that filling each class with its mean leaves"
    if by_slice is None:
        return [f"{said}."]
    if by_slice > 0:
        return [f"{said}; {100 * by_slice:.0f}% where the means are those of each slice, which its style code knows."]
    return [f"{said}, but nothing of what the means of each slice leave, which its style code knows: no structure."]


def _cycle(summary: ComparisonSummary) -> list[str]:
    predicted, fraction = summary.cycle.predicted.mean, summary.cycle_share_of_dice
    if predicted is None:
        return []
    sentence = f"In the generated images the segmenter finds its own masks again with a Dice of {number(predicted, 2)}"
    if fraction is None:
        return [sentence + "."]
    reference = number(summary.cycle.reference.mean, 2)
    return [
        sentence
        + f", and the reference masks with {reference} ({100 * fraction:.0f}% of what it finds in the real images)."
    ]


def _guide(cases: Cases, summary: ComparisonSummary) -> list[str]:
    rank = summary.spearman_with_one_minus_iou.rmse_in_class
    masks = sum(each.iou is not None for case in cases.values() for each in case.classes.values())
    if rank is None or masks < _ENOUGH:
        return []
    kind = (
        "no guide"
        if rank < _WEAK / 2
        else "a weak guide"
        if rank < _WEAK
        else "some guide"
        if rank < _STRONG
        else "a good guide"
    )
    said = f"Spearman {number(rank, 2)} with 1 \N{MINUS SIGN} IoU"
    return [f"Reconstruction distance alone is {kind} to the overlap here: {said}."]
