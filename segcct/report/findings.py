"""What an evaluation's numbers say, in sentences: the weakest class, what was missed, which cases to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from segcct.plurals import counted
from segcct.report.html import listed, number
from segcct.report.results import Results

_POOR = 0.7
"""Mean Dice below which a case is named."""


@dataclass(frozen=True)
class Worst:
    """A case to look at, and why."""

    case: str
    dice: float
    reason: str


def findings(results: Results) -> list[str]:
    """Up to six sentences, the most useful first; each is read off the table and nothing is guessed."""
    return [
        *filter(None, (results.summary.seen_sentence(), results.summary.edited_sentence())),
        *_strongest_and_weakest(results),
        *_missed(results),
        *_spurious(results),
        *_poor_cases(results),
        *left_out(results.summary.unmatched, "reference"),
    ]


def worst_cases(results: Results, most: int = 5) -> list[Worst]:
    """The cases of lowest mean Dice, with what pulls each down."""
    return [Worst(case, dice, _reason(results, case)) for dice, case in results.by_dice[:most]]


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
    lacking = {"references": (noun, "prediction"), "predictions": ("prediction", "reference")}
    parts = [
        f"{counted(len(ids), what)} without a {other}" + (f" ({listed(ids)})" if named else "")
        for key, (what, other) in lacking.items()
        if (ids := (unmatched or {}).get(key))
    ]
    return [f"Left out of every number: {listed(parts)}."] if parts else []


def best_and_worst(means: Mapping[str, float | None], verb: str, figure: str) -> list[str]:
    """The sentence on the strongest and the weakest class by a figure; none of fewer than two classes."""
    known = {name: mean for name, mean in means.items() if mean is not None}
    if len(known) < 2:
        return []
    best, worst = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    return [
        f"Of the classes, {best} is {verb} best ({figure} {number(known[best])}), "
        f"{worst} least well ({number(known[worst])})."
    ]


def _strongest_and_weakest(results: Results) -> list[str]:
    dice = {name: results.summary.classes[name].scores.get("dice") for name in results.classes}
    return best_and_worst({name: stats.mean if stats else None for name, stats in dice.items()}, "found", "mean Dice")


def _missed(results: Results) -> list[str]:
    counts = _counts(results)
    parts = [
        f"{name} in {count['missed']} of the {counted(count['missed'] + count.get('ok', 0), 'case')} that hold it"
        for name, count in counts.items()
        if count.get("missed")
    ]
    if parts:
        return [f"Missed entirely: {listed(parts)}."]
    return ["No structure was missed entirely."] if counts else []


def _spurious(results: Results) -> list[str]:
    parts = [
        f"{name} in {counted(count['spurious'], 'case')}"
        for name, count in _counts(results).items()
        if count.get("spurious")
    ]
    return [f"Predicted where the reference has none: {listed(parts)}."] if parts else []


def _counts(results: Results) -> dict[str, dict[str, int]]:
    """Class -> cases by status, where the summary says so."""
    return {name: counts for name in results.classes if (counts := results.summary.classes[name].counts)}


def _poor_cases(results: Results) -> list[str]:
    scored = results.by_dice
    poor = [case for dice, case in scored if dice < _POOR]
    if not scored:
        return ["No case has a score."]
    if not poor:
        return [f"Every case has a mean Dice of at least {_POOR:g}; the lowest is {number(scored[0][0])}."]
    verb = "has" if len(poor) == 1 else "have"
    return [f"{counted(len(poor), 'case')} of {len(scored)} {verb} a mean Dice below {_POOR:g}: {listed(poor)}."]


def _reason(results: Results, case: str) -> str:
    scores = [score for score in results.of_case(case).values() if score.name in results.classes]
    volumes = {score.name: score.values.get("volume_ref_ml") for score in scores}
    sizes = {name: "" if volume is None else f" ({volume:.3g} ml)" for name, volume in volumes.items()}
    lost = [f"{score.name} missed{sizes[score.name]}" for score in scores if score.status == "missed"]
    extra = [f"{score.name} spurious" for score in scores if score.status == "spurious"]
    if lost or extra:
        return ", ".join(lost + extra)
    if len(scores) == 1:
        return ""
    known = [(value, score.name) for score in scores if (value := score.values["dice"]) is not None]
    value, name = min(known)
    return f"lowest in {name} ({number(value)})"
