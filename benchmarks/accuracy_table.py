"""The table and the curves of benchmarks/accuracy.py, of the results that its trainings left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcct.metrics import paired
from segcct.metrics.confidence_intervals import interval

Runs = Sequence[Mapping[str, Any]]
"""The result.json of some trainings of one entry."""
Results = Mapping[str, Runs]
"""Entry -> its trainings."""


def table(results: Results, reference: str) -> str:
    """A Markdown table, a row per entry; the last column compares it with the entry `reference`."""
    classes = list(next(iter(results.values()))[0]["classes"])
    hd95 = next(iter(next(iter(results.values()))[0]["hd95"]))
    head = ["entry", "lr", "parameters", "GMAC", "s per step", "peak MB", "epochs", "runs", "Dice [95%]", "sd of seeds"]
    lines = [[*head, *classes, hd95, f"against {reference} [95%]"]]
    for entry, runs in results.items():
        first, dice, patients = runs[0], *means_of(runs)
        low, high = interval(np.array(list(dice.values())), [patients[case] for case in dice])
        of_seeds = [np.mean([case["dice"] for run in runs if run["seed"] == seed for case in run["cases"].values()])
                    for seed in dict.fromkeys(run["seed"] for run in runs)]  # fmt: skip
        lines.append([
            entry,
            f"{first['lr']:g}",
            f"{first['parameters'] / 1e6:.2f} M",
            "n/a" if first["macs"] is None else f"{first['macs'] / 1e9:.2f}",
            f"{first['step_s']:.2f}",
            "n/a" if first["peak_mb"] is None else f"{max(run['peak_mb'] for run in runs):.0f}",
            f"{np.mean([run['epochs'] for run in runs]):.0f}",
            str(len(runs)) + (" (busy)" if any(run["busy"] for run in runs) else ""),
            f"{np.mean(list(dice.values())):.3f} [{low:.3f}, {high:.3f}]",
            f"{np.std(of_seeds, ddof=1):.3f}" if len(of_seeds) > 1 else "n/a",
            *(f"{np.mean([run['classes'][name] for run in runs]):.3f}" for name in classes),
            f"{np.mean([run['hd95'][hd95] for run in runs]):.2f}",
            "" if entry == reference else difference(runs, results.get(reference, ())),
        ])  # fmt: skip
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


def means_of(runs: Runs) -> tuple[dict[str, float], dict[str, str]]:
    """Case -> mean Dice over the runs that score it, and case -> patient."""
    scores: dict[str, list[float]] = {}
    for run in runs:
        for case, each in run["cases"].items():
            scores.setdefault(case, []).append(each["dice"])
    patients = {case: each["patient"] for run in runs for case, each in run["cases"].items()}
    return {case: float(np.mean(dice)) for case, dice in scores.items()}, patients


def difference(runs: Runs, reference: Runs) -> str:
    """`+0.012 [+0.004, +0.020]`, over the seeds and folds that both have."""
    of = {(run["seed"], run["fold"]): run for run in reference}
    shared = [run for run in runs if (run["seed"], run["fold"]) in of]
    if not shared:
        return ""
    first, patients = means_of(shared)
    second, _ = means_of([of[run["seed"], run["fold"]] for run in shared])
    names = sorted(first.keys() & second.keys())
    found = paired(
        [first[name] for name in names], [second[name] for name in names], [patients[name] for name in names]
    )
    low, high = found["ci95"]
    ends = "n/a" if low is None or high is None else f"{low:+.3f}, {high:+.3f}"
    return f"{found['difference']:+.3f} [{ends}]"


def write_curves(results: Results, folder: Path) -> None:
    """curves.csv and curves.png: validation Dice against minutes, a line per training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    lines = ["entry,seed,fold,minutes,dice"]
    for number, (entry, runs) in enumerate(results.items()):
        for place, run in enumerate(runs):
            minutes, dice = [seconds / 60 for seconds, _ in run["curve"]], [value for _, value in run["curve"]]
            axes.plot(minutes, dice, color=f"C{number % 10}", lw=1, label=entry if place == 0 else None)
            lines += [
                f"{entry},{run['seed']},{run['fold']},{m:.3f},{d:.5f}" for m, d in zip(minutes, dice, strict=True)
            ]
    axes.set(xlabel="minutes", ylabel="Dice of the validation patients")
    axes.legend()
    figure.savefig(folder / "curves.png", dpi=120)
    (folder / "curves.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
