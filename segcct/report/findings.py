"""What an evaluation's numbers say, in sentences: the weakest class, what was missed, which cases to review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from segcct.plurals import counted, listed_in_prose
from segcct.report.html import number
from segcct.report.results import Results

_POOR = 0.7
"""Mean Dice below which a case is named."""


@dataclass(frozen=True)
class Worst:
    """A case to review, and why."""

    case: str
    dice: float
    reason: str


def findings(results: Results) -> list[str]:
    """Up to six sentences, the most useful first; each is read off the table and nothing is guessed."""
    summary = results.summary
    dice = {name: summary.classes[name].scores.get("dice") for name in results.classes}
    means = {name: stats.mean if stats else None for name, stats in dice.items()}
    return [
        *filter(None, (summary.seen_sentence(), summary.edited_sentence())),
        *best_and_worst(means, "segmented", "mean Dice"),
        *_missed_and_spurious(results),
        _poor_cases(results),
        *left_out(summary.unmatched, "reference"),
    ]


def changed_sentence(results: Results) -> str:
    """The sentence on files that have changed since the evaluation; empty where none has."""
    parts = []
    for noun in ("mask", "reference"):
        cases = [case for case, what in results.changed_files.items() if what == noun]
        if cases:
            parts.append(f"the {noun} of {counted(len(cases), 'case')} has changed ({listed_in_prose(cases)})")
    if results.other_model:
        parts.append("the folder of predictions now holds those of another model")
    if not parts:
        return ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}. The scores are those of the earlier files: run segcct evaluate again."


def worst_cases(results: Results) -> list[Worst]:
    """The five cases of lowest mean Dice, with what pulls each down."""
    return [Worst(case, dice, _reason(results, case)) for dice, case in results.by_dice[:5]]


def ranked(results: Results) -> list[tuple[str, str]]:
    """(`Best`, `Median` or `Worst`, case) by mean Dice over the classes; fewer where fewer cases are scored."""
    scored = results.by_dice
    if not scored:
        return []
    (_, worst), (_, best) = scored[0], scored[-1]
    if best == worst:
        return [("Only", best)]
    middle = median(dice for dice, _ in scored)
    between = [entry for entry in scored if entry[1] not in (best, worst)]
    nearest = sorted(between, key=lambda entry: (abs(entry[0] - middle), entry[1]))[:1]
    return [("Best", best), *(("Median", case) for _, case in nearest), ("Worst", worst)]


def left_out(unmatched: Mapping[str, list[str] | None] | None, noun: str, *, named: bool = True) -> list[str]:
    """The sentence on cases that have no reference or no prediction; none where all have both.

    Args:
        unmatched: ids without a counterpart, by `references` and `predictions`.
        noun: what a reference is called.
        named: whether the sentence names them.
    """
    nouns = {"references": (noun, "prediction"), "predictions": ("prediction", "reference")}
    parts = [
        f"{counted(len(ids), one)} without a {other}" + (f" ({listed_in_prose(ids)})" if named else "")
        for key, (one, other) in nouns.items()
        if (ids := (unmatched or {}).get(key))
    ]
    return [f"Not scored: {listed_in_prose(parts)}."] if parts else []


def best_and_worst(means: Mapping[str, float | None], verb: str, metric: str) -> list[str]:
    """The sentence on the classes with the highest and the lowest mean; none where they do not differ."""
    defined = {name: mean for name, mean in means.items() if mean is not None}
    if not defined:
        return []
    best, worst = max(defined, key=lambda name: defined[name]), min(defined, key=lambda name: defined[name])
    highest, lowest = number(defined[best]), number(defined[worst])
    if highest == lowest:
        return []
    return [f"Of the classes, {best} is {verb} best ({metric} {highest}), {worst} worst ({lowest})."]


def _missed_and_spurious(results: Results) -> list[str]:
    counts = {name: results.summary.classes[name].counts for name in results.classes}
    by_missed = sorted(counts.items(), key=lambda entry: -entry[1].get("missed", 0))
    by_spurious = sorted(counts.items(), key=lambda entry: -entry[1].get("spurious", 0))
    missed = [
        f"{name} in {count['missed']} of the {counted(count['missed'] + count.get('ok', 0), 'case')} with it"
        for name, count in by_missed
        if count.get("missed")
    ]
    spurious = [
        f"{name} in {counted(count['spurious'], 'case')}" for name, count in by_spurious if count.get("spurious")
    ]
    sentences = [f"Missed entirely: {listed_in_prose(missed)}." if missed else "No structure was missed entirely."]
    sentences += [f"Predicted where the reference has none: {listed_in_prose(spurious)}."] if spurious else []
    return sentences


def _poor_cases(results: Results) -> str:
    poor = [case for dice, case in results.by_dice if dice < _POOR]
    if not results.by_dice:
        return "No case has a score."
    if not poor:
        lowest = number(results.by_dice[0][0])
        return f"Every case has a mean Dice of at least {_POOR:g}; the lowest is {lowest}."
    verb = "has" if len(poor) == 1 else "have"
    cases = counted(len(results.by_dice), "case")
    return f"{len(poor)} of {cases} {verb} a mean Dice below {_POOR:g}: {listed_in_prose(poor)}."


def _reason(results: Results, case: str) -> str:
    scores = [score for score in results.of_case(case).values() if score.name in results.classes]
    reasons = []
    for score in scores:
        volume = score.values.get("volume_ref_ml")
        if score.status == "missed":
            reasons.append(f"{score.name} missed" + ("" if volume is None else f" ({volume:.3g} ml)"))
    reasons += [f"{score.name} spurious" for score in scores if score.status == "spurious"]
    if reasons:
        return ", ".join(reasons)
    defined = [(value, score.name) for score in scores if (value := score.values["dice"]) is not None]
    lowest, name = min(defined)
    return f"lowest in {name} ({number(lowest)})" if number(lowest) != number(max(defined)[0]) else ""
