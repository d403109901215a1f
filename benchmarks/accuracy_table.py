"""The table and the curves of benchmarks/accuracy.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from case_scores import averaged, difference_text, mean_text

Runs = Sequence[Mapping[str, Any]]
"""The contents of result.json of the runs of one entry."""
Results = Mapping[str, Runs]
"""Entry -> its runs."""


def table(results: Results, reference: str) -> str:
    """A Markdown table with a row per entry, whose last column compares it with the entry `reference`."""
    every = [run for runs in results.values() for run in runs]
    classes = list(every[0]["classes"])
    hd95 = next((name for run in every for name in run["hd95"]), "hd95_mm")
    head = ["entry", "lr", "parameters", "GMAC", "s per step", "peak MB", "epochs", "runs", "Dice [95%]", "sd of seeds"]
    lines = [[*head, *classes, hd95, f"against {reference} [95%]"]]
    for entry, runs in results.items():
        first = runs[0]
        peaks_mb = [run["peak_mb"] for run in runs if run["peak_mb"] is not None]
        of_seeds = [np.mean([case["dice"] for run in runs if run["seed"] == seed for case in run["cases"].values()])
                    for seed in dict.fromkeys(run["seed"] for run in runs)]  # fmt: skip
        lines.append([
            entry,
            f"{first['lr']:g}",
            f"{first['parameters'] / 1e6:.2f} M",
            "n/a" if first["macs"] is None else f"{first['macs'] / 1e9:.2f}",
            f"{first['step_s']:.2f}",
            f"{max(peaks_mb):.0f}" if peaks_mb else "n/a",
            f"{np.mean([run['epochs'] for run in runs]):.0f}",
            str(len(runs)) + (" (busy)" if any(run["busy"] for run in runs) else ""),
            mean_text(*means_of(runs)),
            f"{np.std(of_seeds, ddof=1):.3f}" if len(of_seeds) > 1 else "n/a",
            *(mean([run["classes"].get(name) for run in runs], 3) for name in classes),
            mean([run["hd95"].get(hd95) for run in runs], 2),
            "" if entry == reference else difference(runs, results.get(reference, ())),
        ])  # fmt: skip
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


def mean(values: Sequence[float | None], digits: int) -> str:
    """Mean of the values that are defined; n/a if none is."""
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.{digits}f}" if known else "n/a"


def means_of(runs: Runs) -> tuple[dict[str, float], dict[str, str]]:
    """Case -> mean Dice over the runs that score it, and case -> patient."""
    patients = {case: each["patient"] for run in runs for case, each in run["cases"].items()}
    return averaged([{case: each["dice"] for case, each in run["cases"].items()} for run in runs]), patients


def difference(runs: Runs, reference: Runs) -> str:
    """Difference of two entries over the seeds and folds that both have; empty if there are none."""
    of = {(run["seed"], run["fold"]): run for run in reference}
    shared = [run for run in runs if (run["seed"], run["fold"]) in of]
    if not shared:
        return ""
    first, patients = means_of(shared)
    second, _ = means_of([of[run["seed"], run["fold"]] for run in shared])
    return difference_text(first, second, patients)


def write_curves(results: Results, folder: Path) -> None:
    """Write curves.csv and curves.png: Dice of the validation patients over minutes, a line per run."""
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
