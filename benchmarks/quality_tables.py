"""The tables of quality.py: every method on every set of masks, and the method in use compared with simpler ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from case_scores import interval_text
from m2i_features import M2I_FEATURES, M2I_GROUPS

from segcct.errors import DataError
from segcct.metrics import paired, summarize
from segcct.progress import Progress
from segcct.provenance import provenance
from segcct.quality import FEATURES, GROUPS, CalibrationRow, Estimate, cross_fit
from segcct.quality.calibration_run import ALL_FEATURES, figures_of, leave_one_out
from segcct.quality.fitting import Calibration
from segcct.quality.performance import Performance, performance

FINAL, EARLIER, CORRUPTED = "final", "earlier", "corrupted"
CLASSES = ("RV", "MYO", "LV")
WITHOUT_M2I = "without M2I"
TARGETS = {
    "Natural predictions, final stage": {"spearman": 0.6, "coverage": 0.9},
    "Natural predictions, all stages": {"spearman": 0.85, "mae": 0.06, "auroc": 0.95, "coverage": 0.9},
}
_COVERAGE_MARGIN = 0.05
RIVALS = ("entropy alone", "flip agreement alone", "volume alone")
"""Simple methods, which the estimate has to beat."""
EVERY = FEATURES + M2I_FEATURES
METHODS: dict[str, tuple[str, ...]] = {
    ALL_FEATURES: EVERY,
    WITHOUT_M2I: FEATURES,
    "M2I alone": M2I_FEATURES,
    "entropy alone": GROUPS["entropy"],
    "flip agreement alone": GROUPS["flips"],
    "rotation agreement alone": GROUPS["rotations"],
    "volume alone": GROUPS["volume"],
    "shape alone": GROUPS["shape"],
}
Rows = dict[str, list[CalibrationRow]]
Found = list[tuple[CalibrationRow, Estimate]]


def write(rows: Rows, file: Path) -> None:
    """Print every section, and write it to the file, as soon as it is ready."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        for text in sections(rows):
            print(text, flush=True)
            print(text, file=stream, flush=True)


def sections(rows: Rows) -> Iterator[str]:
    """The sections of the page, as Markdown."""
    yield head()
    final, earlier, changed = rows[FINAL], rows[EARLIER], rows[CORRUPTED]
    natural = final + earlier
    yield section("Natural predictions, final stage", final, final)
    yield section("Natural predictions, earlier stages", earlier, earlier)
    yield section("Natural predictions, all stages", natural, natural)
    yield section("Corrupted images; fitted on natural predictions only", natural, changed)
    yield section("Corrupted images; fitted on natural and corrupted ones", natural + changed, changed)
    yield section("All together", natural + changed, natural + changed)
    yield leaving_out(final)


def head() -> str:
    """Title, command, commit and versions."""
    made = provenance()
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    return (
        f"# Dice without a reference\n\n    {made['command']}\n\nsegcct {made['segcct']}, commit {made['commit']}, "
        f"{made['time']}; Python {made['python']}, {packages}; {made['processors']} processors.\n"
    )


def section(title: str, fitted: Sequence[CalibrationRow], asked: Sequence[CalibrationRow]) -> str:
    """Section of one set of masks: all methods, the method in use against its rivals, and the targets."""
    usable = [row for row in asked if row.features is not None and row.dice is not None]
    if not usable:
        return f"## {title}\n\nNo masks.\n"
    try:
        in_use = ALL_FEATURES if pays(worth_of_m2i(Calibration(fitted, CLASSES, EVERY))) else WITHOUT_M2I
        found = {method: crossed(title, method, fitted, asked) for method in METHODS}
    except DataError as error:
        return f"## {title}\n\nNot possible: {error}.\n"
    missed = [row for row in asked if row.features is None and row.dice is not None]
    dice = np.array([row.dice for row in usable])
    lines = [
        f"## {title}",
        "",
        f"{len(usable)} masks of {len({row.patient for row in usable})} patients; Dice {dice.mean():.3f} on average, "
        f"{np.mean(dice < 0.7):.0%} below 0.7. {len(missed)} structures were not predicted at all and have no "
        f"estimate; a separate row counts their Dice and estimate as 0. In use: {in_use}. It is {ALL_FEATURES} if M2I "
        f"lowers the out-of-fold error on the masks of the fit, otherwise {WITHOUT_M2I}.",
        "",
        *performance_table(found, in_use, missed),
        "",
        *verdict_table(found, in_use),
        "",
        *(
            reached(method, found[method], TARGETS.get(title, {}))
            for method in dict.fromkeys((in_use, ALL_FEATURES, WITHOUT_M2I))
        ),
    ]
    return "\n".join(lines)


def crossed(title: str, method: str, fitted: Sequence[CalibrationRow], asked: Sequence[CalibrationRow]) -> Found:
    """Out-of-fold estimates by one method, in the same order of rows for every method."""
    progress = Progress(f"{title}: {method}")
    found = cross_fit(fitted, CLASSES, features=METHODS[method], evaluate=asked)
    progress(1, 1)
    return found


def of_class(found: Found, name: str | None) -> Found:
    """Estimates of one class, or of all classes for None."""
    return [(row, one) for row, one in found if name in (None, row.class_name)]


def evaluated(found: Found) -> Performance:
    """Performance of estimates and of their intervals."""
    intervals = [one for _, one in found]
    return performance([row for row, _ in found], [one.dice for one in intervals], intervals)


def performance_table(found: dict[str, Found], in_use: str, missed: Sequence[CalibrationRow]) -> list[str]:
    """Rows of every method, and of the method in use with unpredicted structures counted as 0."""
    lines = [
        "| method | class | Pearson | Spearman | MAE | AUROC | AURC | coverage | width |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, every in found.items():
        for name in (None, *CLASSES):
            if kept := of_class(every, name):
                mark = " (in use)" if method == in_use else ""
                lines.append(f"| {method}{mark} | {name or 'pooled'} | {cells(evaluated(kept))} |")
    for name in (None, *CLASSES):
        kept = of_class(found[in_use], name)
        empty = [replace(row, dice=0.0) for row in missed if name in (None, row.class_name)]
        if kept or empty:
            estimates = [*(one.dice for _, one in kept), *(0.0 for _ in empty)]
            own = performance([*(row for row, _ in kept), *empty], estimates)
            lines.append(f"| in use, unpredicted structures taken as 0 | {name or 'pooled'} | {cells(own)} |")
    return lines


def verdict_table(found: dict[str, Found], in_use: str) -> list[str]:
    """Rows of the method in use against each rival: paired difference in absolute error, AUROC, AURC."""
    lines = [
        "| in use against | class | difference of absolute errors [95%] | better | AUROC | AURC |",
        "|---|---|---|---|---|---|",
    ]
    for rival in RIVALS:
        for name in (None, *CLASSES):
            ours, theirs = (of_class(found[method], name) for method in (in_use, rival))
            if not ours:
                continue
            patients = [row.patient for row, _ in ours]
            errors = [[abs(one.dice - row.dice) for row, one in each] for each in (ours, theirs)]
            compared = paired(*errors, patients, higher_is_better=False)
            both = [evaluated(each) for each in (ours, theirs)]
            lines.append(
                f"| {rival} | {name or 'pooled'} | {difference(compared)} | {verdict(compared['ci95'])} "
                f"| {cell(both[0].auroc)} against {cell(both[1].auroc)} "
                f"| {cell(both[0].aurc)} against {cell(both[1].aurc)} |"
            )
    return lines


def difference(compared: Any) -> str:
    """`-0.012 [-0.020, -0.004]`."""
    return f"{compared['difference']:+.4f} {interval_text(compared['ci95'], '+.4f')}"


def verdict(ci95: Sequence[float | None]) -> str:
    """Whether an interval of the difference in error shows that the method in use is better."""
    low, high = ci95
    if low is None or high is None:
        return "n/a"
    return "yes" if high < 0 else "no, worse" if low > 0 else "not shown"


def cell(value: float | None) -> str:
    """A number, or n/a if it is not defined."""
    return "n/a" if value is None else f"{value:.3f}"


def cells(own: Performance) -> str:
    """Cells of a row."""
    values = (own.pearson, own.spearman, own.mae, own.auroc, own.aurc, own.coverage, own.width)
    return " | ".join(cell(value) for value in values)


def reached(method: str, found: Found, targets: dict[str, float]) -> str:
    """Which targets a method meets, classes pooled."""
    own, parts = evaluated(found), []
    for name, target in targets.items():
        value = getattr(own, name)
        met = value is not None and hits(name, value, target)
        wanted = f"{target:g} ± {_COVERAGE_MARGIN:g}" if name == "coverage" else f"{target:g}"
        parts.append(f"{name} {cell(value)} (target {wanted}: {'met' if met else 'missed'})")
    return f"Targets, {method}, pooled: {', '.join(parts)}.\n" if parts else ""


def hits(name: str, value: float, target: float) -> bool:
    """Whether a figure meets its target."""
    if name == "coverage":
        return abs(value - target) <= _COVERAGE_MARGIN
    return value <= target if name == "mae" else value >= target


def worth_of_m2i(calibration: Calibration) -> dict[str, Any] | None:
    """By how much the generator's features lower the mean out-of-fold error, with its 95% interval over patients.

    None if they were not measured.
    """
    cheap = tuple(name for name in calibration.features if name in FEATURES)
    if len(cheap) == len(calibration.features):
        return None
    errors = [np.abs(calibration.out_of_fold(names)[0] - calibration.target) for names in (cheap, calibration.features)]
    stats = summarize((errors[0] - errors[1]).tolist(), [row.patient for row in calibration.rows])
    return {"mean": stats["mean"], "ci95": stats["ci95"]}


def pays(worth: dict[str, Any] | None) -> bool:
    """Whether the whole interval is above zero: with few patients, even noise lowers the error by chance."""
    return worth is not None and worth["ci95"][0] is not None and bool(worth["ci95"][0] > 0)


def leaving_out(rows: Sequence[CalibrationRow]) -> str:
    """Section on what each group of features adds on the final stage, and what M2I adds, with its interval."""
    title = "## Leave one group of features out, final stage\n\n"
    try:
        calibration = Calibration(rows, CLASSES, EVERY)
    except DataError as error:
        return f"{title}Not possible: {error}.\n"
    worth = worth_of_m2i(calibration)
    lines = ["| features | Spearman | MAE | AUROC | AURC |", "|---|---|---|---|---|"]
    rows_of_table = leave_one_out(calibration, GROUPS | M2I_GROUPS)
    if worth is not None:
        rows_of_table.append({"name": WITHOUT_M2I, **figures_of(calibration, FEATURES)})
    in_use = ALL_FEATURES if worth is None or pays(worth) else WITHOUT_M2I
    for row in rows_of_table:
        mark = " (in use)" if row["name"] == in_use else ""
        figures = (row["spearman"], row["mae"], row["auroc"], row["aurc"])
        lines.append(f"| {row['name']}{mark} | {' | '.join(map(cell, figures))} |")
    if worth is not None and worth["ci95"][0] is not None:
        low, high = worth["ci95"]
        said = f"M2I lowers the mean error by {worth['mean']:.4f} (95% interval over patients {low:+.4f}, {high:+.4f})."
        lines += ["", said]
    return title + "\n".join([*lines, ""])
