"""What an evaluation's numbers say, in sentences: the weakest class, what was missed, which cases to look at."""

from __future__ import annotations

from dataclasses import dataclass

from segcct.evaluation.summary_record import SegmentationSummary
from segcct.plurals import counted
from segcct.report.html import listed, number
from segcct.report.results import Results, Score

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
    summary = SegmentationSummary.from_json(results.summary, results.folder / "summary.json")
    seen, edited = summary.seen_sentence(), summary.edited_sentence()
    return [
        *([seen] if seen else []),
        *([edited] if edited else []),
        *_strongest_and_weakest(results),
        *_missed(results),
        *_spurious(results),
        *_poor_cases(results),
        *_left_out(results),
    ]


def worst_cases(results: Results, most: int = 5) -> list[Worst]:
    """The cases of lowest mean Dice, with what pulls each down."""
    scored = sorted((dice, case) for case in results.cases if (dice := results.mean_dice(case)) is not None)
    return [Worst(case, dice, _reason(results, case)) for dice, case in scored[:most]]


def _strongest_and_weakest(results: Results) -> list[str]:
    means = {name: (results.summary["classes"][name].get("dice") or {}).get("mean") for name in results.classes}
    known = {name: mean for name, mean in means.items() if mean is not None}
    if len(known) < 2:
        return []
    best, worst = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    return [
        f"Of the classes, {best} is found best (mean Dice {number(known[best])}), "
        f"{worst} least well ({number(known[worst])})."
    ]


def _missed(results: Results) -> list[str]:
    missed = [score for score in results.scores if score.status == "missed" and score.name in results.classes]
    if not missed:
        return ["No structure was missed entirely."]
    parts = []
    for name in results.classes:
        held = [s for s in results.scores if s.name == name and s.status in ("ok", "missed")]
        lost = sum(score.status == "missed" for score in held)
        if lost:
            parts.append(f"{name} in {lost} of the {counted(len(held), 'case')} that hold it")
    return [f"Missed entirely: {listed(parts)}."]


def _spurious(results: Results) -> list[str]:
    counts = {
        name: sum(score.name == name and score.status == "spurious" for score in results.scores)
        for name in results.classes
    }
    parts = [f"{name} in {counted(count, 'case')}" for name, count in counts.items() if count]
    return [f"Predicted where the reference has none: {listed(parts)}."] if parts else []


def _poor_cases(results: Results) -> list[str]:
    scored = sorted((dice, case) for case in results.cases if (dice := results.mean_dice(case)) is not None)
    poor = [case for dice, case in scored if dice < _POOR]
    if not scored:
        return ["No case has a score."]
    if not poor:
        return [f"Every case has a mean Dice of at least {_POOR:g}; the lowest is {number(scored[0][0])}."]
    verb = "has" if len(poor) == 1 else "have"
    return [f"{counted(len(poor), 'case')} of {len(scored)} {verb} a mean Dice below {_POOR:g}: {listed(poor)}."]


def _left_out(results: Results) -> list[str]:
    """Cases that stand on one side only were not scored; a mean must not hide that."""
    unmatched = results.summary.get("unmatched") or {}
    parts = [
        f"{counted(len(unmatched[side]), noun)} {lacking} ({listed([str(case) for case in unmatched[side]], 3)})"
        for side, noun, lacking in (
            ("references", "reference", "without a prediction"),
            ("predictions", "prediction", "without a reference"),
        )
        if unmatched.get(side)
    ]
    return [f"Left out of every number: {listed(parts)}."] if parts else []


def _reason(results: Results, case: str) -> str:
    scores = [score for score in results.of_case(case).values() if score.name in results.classes]
    lost = [f"{score.name} missed{_size(score)}" for score in scores if score.status == "missed"]
    extra = [f"{score.name} spurious" for score in scores if score.status == "spurious"]
    if lost or extra:
        return ", ".join(lost + extra)
    if len(scores) == 1:
        return ""
    known = [(value, score.name) for score in scores if (value := score.values["dice"]) is not None]
    value, name = min(known)
    return f"lowest in {name} ({number(value)})"


def _size(score: Score) -> str:
    volume = score.values.get("volume_ref_ml")
    return "" if volume is None else f" ({volume:.3g} ml)"
