"""Can the Dice of a mask be told without its reference? 5-fold cross-fitting over the 70 ACDC training patients.

    python benchmarks/quality.py --root ../shared/data/acdc_h5 --budget 5min --m2i-budget 4min

Per fold: a segmenter at its final stage (--budget) and at earlier stages (--stages: shares of the budget, each a
training of its own with a finished schedule), and a generator on the same split. Each predicts the patients that it
was not trained on (they did select the best epoch). Three sets of masks, each reported apart: natural predictions of
the final stage; of all stages; and of synthetic corruptions of the images, segmented by the final stage. Estimates are
cross-fitted: neither network nor regressor was trained on the patient. What is there already (trainings, measurements)
is taken as it is, so a run can be broken off. Prints Markdown and writes it to quality.md. Patients 074 and 076 hold
the same images and count as one (data.patient).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from segcct import settings
from segcct.config import M2IConfig, SegmentationConfig
from segcct.data.case import Examination
from segcct.data.layouts import find_cases, read_case
from segcct.data.splits import Splits
from segcct.inference.cycle import Cycles
from segcct.inference.device import Inference, pick_device
from segcct.inference.predictor import Predictor
from segcct.inference.quality import GROUPS, SIGNALS, Measured, cross_fit
from segcct.inference.quality.calibrate import CHEAP, worth_of_m2i
from segcct.inference.quality.fitting import Calibration
from segcct.inference.quality.observe import measured, observe, signals_of_case
from segcct.inference.quality.performance import Performance, performance
from segcct.inference.reconstructor import Reconstructor
from segcct.progress import Progress
from segcct.runs import RunFolder
from segcct.training.reconstruction import train_reconstruction
from segcct.training.segmentation import train_segmentation

CONFIGS = Path(__file__).parents[1] / "configs"
FINAL = "final"
CLASSES = ("RV", "MYO", "LV")
TARGETS = {"final": {"spearman": 0.6}, "all stages": {"spearman": 0.85, "mae": 0.06, "auroc": 0.95}}
METHODS: dict[str, tuple[str, ...]] = {
    "all signals": SIGNALS,
    "all without M2I": CHEAP,
    "M2I alone": GROUPS["m2i_residual"] + GROUPS["m2i_cycle"],
    "entropy alone": GROUPS["entropy"],
    "flip agreement alone": GROUPS["flips"],
    "rotation agreement alone": GROUPS["rotations"],
    "volume alone": GROUPS["volume"],
    "shape alone": GROUPS["shape"],
}


def main() -> None:
    """Train, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_quality"))
    parser.add_argument("--budget", default="5min", help="of each final segmenter (default %(default)s)")
    parser.add_argument("--m2i-budget", default="4min", help="of each generator (default %(default)s)")
    parser.add_argument("--stages", type=float, nargs="*", default=[0.4, 0.15, 0.06], help="earlier stages")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="of the measurements")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only-folds", type=int, nargs="+", help="a part of the folds, for a trial")
    parser.add_argument("--patients", type=int, help="measure only so many patients per fold, for a trial")
    parser.add_argument("--draws", type=int, default=2, help="corrupted versions of each case (default %(default)s)")
    arguments, arguments.keys = parser.parse_known_args()
    rows: dict[str, list[Measured]] = {FINAL: [], "earlier": [], "corrupted": []}
    for fold in arguments.only_folds or range(arguments.folds):
        for name, found in measure_fold(fold, arguments).items():
            kind = name if name in rows else "earlier"
            rows[kind] += found
    text = report(rows)
    print(text)
    (arguments.output / "quality.md").write_text(text, encoding="utf-8")


# Trainings


def seconds(budget: str) -> float:
    """`5min` -> 300."""
    from segcct.config import parse_duration

    parsed = parse_duration(budget)
    assert isinstance(parsed, float)
    return parsed


def overrides(arguments: argparse.Namespace, fold: int, name: str, budget_s: float) -> dict[str, object]:
    """What the two trainings of a fold share: the 70 patients, fold `fold` of them validates."""
    return {
        "data.root": str(arguments.root),
        "data.split.train_list": str(arguments.root / "train.list"),
        "data.split.test_list": None,
        "data.split.folds": arguments.folds,
        "data.fold": fold,
        "data.image_size": arguments.image_size,
        "data.cache": str(arguments.output / "cache"),
        "run.root": str(arguments.output),
        "run.name": name,
        "run.seed": fold,
        "train.budget": budget_s,
        "train.slices_per_epoch": 512,
        **settings.parse_overrides(arguments.keys),
    }


def segmenter(fold: int, share: float, arguments: argparse.Namespace) -> RunFolder:
    """The segmenter of a fold at a stage; a run that is there is taken as it is."""
    run = RunFolder(arguments.output / f"fold{fold}_stage{share:g}")
    if run.summary.is_file():
        return run
    changes = overrides(arguments, fold, run.path.name, seconds(arguments.budget) * share)
    changes |= {"train.pictures": 0}
    return train_segmentation(settings.load(SegmentationConfig, CONFIGS / "acdc_slices_cct_unet.yaml", changes))


def generator(fold: int, arguments: argparse.Namespace) -> RunFolder:
    """The generator of a fold, on the same split."""
    run = RunFolder(arguments.output / f"fold{fold}_m2i")
    if run.summary.is_file():
        return run
    changes = overrides(arguments, fold, run.path.name, seconds(arguments.m2i_budget))
    return train_reconstruction(settings.load(M2IConfig, CONFIGS / "acdc_slices_m2i.yaml", changes))


# Measurements


def measure_fold(fold: int, arguments: argparse.Namespace) -> dict[str, list[Measured]]:
    """Rows of the held-out patients of a fold: `final`, one entry per earlier stage, `corrupted`."""
    how = Inference(16, arguments.precision, pick_device())
    shares = {FINAL: 1.0} | {f"stage {share:g}": share for share in arguments.stages}
    made = Reconstructor.load(generator(fold, arguments).best, how)
    rows: dict[str, list[Measured]] = {}
    for name, share in shares.items():
        run = segmenter(fold, share, arguments)
        cycles = Cycles(Predictor.load(run.best, how), made)
        rows[name] = measure(run, cycles, arguments, corrupt=False)
        if name == FINAL:
            rows["corrupted"] = measure(run, cycles, arguments, corrupt=True)
    return rows


def measure(run: RunFolder, cycles: Cycles, arguments: argparse.Namespace, *, corrupt: bool) -> list[Measured]:
    """Rows of the run's validation side, kept in its folder."""
    file = run.path / f"quality_rows{'_corrupted' if corrupt else ''}{arguments.patients or ''}.json"
    if file.is_file():
        return [Measured(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
    data = cycles.predictor.card.data_section(arguments.root)
    cases = Splits.load(run.splits).select(find_cases(data), "val")
    if arguments.patients:
        kept = sorted({case.patient for case in cases})[: arguments.patients]
        cases = [case for case in cases if case.patient in kept]
    rows: list[Measured] = []
    progress = Progress(f"{run.path.name}{', corrupted' if corrupt else ''}")
    for done, case in enumerate(cases):
        progress(done, len(cases))
        examination = read_case(case, data, cycles.predictor.scheme)
        versions = [corrupted(examination, draw) for draw in range(arguments.draws)] if corrupt else [examination]
        for version in versions:
            seen = observe(cycles.predictor, version, cycles)
            rows += measured(seen, signals_of_case(cycles.predictor, seen))
    progress(len(cases), len(cases))
    file.write_text(json.dumps([asdict(row) for row in rows], allow_nan=False), encoding="utf-8")
    return rows


# Corruptions: images in [0, 1] in, images in [0, 1] out; the mask stays what it was


def noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Rician noise, as in magnitude images."""
    real, imaginary = rng.normal(0, 0.25 * strength, (2, *image.shape))
    return np.hypot(image + real, imaginary)


def blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian, within slices."""
    return ndimage.gaussian_filter(image, (0, 6 * strength, 6 * strength, 0))


def gamma(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A curve of contrast, up or down."""
    return image ** np.exp(rng.choice([-1, 1]) * 1.4 * strength)


def bias(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A slope of brightness across the picture, as of a surface coil."""
    x, y = np.meshgrid(np.linspace(-1, 1, image.shape[1]), np.linspace(-1, 1, image.shape[2]), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    field = np.exp(2.5 * strength * (np.cos(angle) * x + np.sin(angle) * y))
    return image * field[None, :, :, None]


def ghosts(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Shifted copies, as of breathing."""
    return image + sum(0.7 * strength * np.roll(image, sign * image.shape[2] // 6, axis=2) for sign in (-1, 1))


def coarse(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels, enlarged again."""
    step = 1 + round(7 * strength)
    small = image[:, ::step, ::step]
    return small.repeat(step, axis=1).repeat(step, axis=2)[:, : image.shape[1], : image.shape[2]]


CORRUPTIONS: tuple[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], ...] = (
    noise,
    blur,
    gamma,
    bias,
    ghosts,
    coarse,
)


def corrupted(examination: Examination, draw: int) -> Examination:
    """One corruption of random kind and strength, a function of case and draw."""
    digest = hashlib.sha256(f"{examination.case.id} {draw}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    kind = CORRUPTIONS[rng.integers(len(CORRUPTIONS))]
    image = kind(np.clip(examination.image, 0, 1).astype(np.float64), float(rng.uniform(0.2, 1.0)), rng)
    case = replace(examination.case, id=f"{examination.case.id}+{kind.__name__}{draw}")
    return replace(examination, image=np.clip(image, 0, 1).astype(np.float32), case=case)


# Tables


def report(rows: dict[str, list[Measured]]) -> str:
    """Every table, as Markdown."""
    natural = rows[FINAL] + rows["earlier"]
    sections = [
        section("final", "Natural predictions, final stage", rows[FINAL], rows[FINAL]),
        section("all stages", "Natural predictions, all stages", natural, natural),
        section("corrupted", "Corrupted images; fitted on natural predictions only", natural, rows["corrupted"]),
        section(
            "corrupted, known", "Corrupted images; fitted on natural and corrupted ones",
            natural + rows["corrupted"], rows["corrupted"],
        ),
        leave_one_out(rows[FINAL]),
    ]  # fmt: skip
    return "\n".join(sections)


def section(key: str, title: str, fitted: Sequence[Measured], asked: Sequence[Measured]) -> str:
    """One set of masks: every method, classes pooled and one by one."""
    usable = [row for row in asked if row.signals is not None and row.dice is not None]
    missed = sum(row.signals is None and row.dice is not None for row in asked)
    dice = np.array([row.dice for row in usable])
    lines = [
        f"## {title}",
        "",
        f"{len(usable)} masks of {len({row.patient for row in usable})} patients; Dice {dice.mean():.3f} on average, "
        f"{np.mean(dice < 0.7):.0%} below 0.7. {missed} structures were not predicted at all and have no estimate.",
        "",
        "| method | class | Pearson | Spearman | MAE | AUROC | AURC | coverage | width |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, signals in METHODS.items():
        began = Progress(f"{title}: {method}")
        found = cross_fit(fitted, CLASSES, signals=signals, asked=asked)
        began(1, 1)
        for name in (None, *CLASSES):
            kept = [(row, one) for row, one in found if name in (None, row.name)]
            if not kept:
                continue
            own = performance([row for row, _ in kept], [one.dice for _, one in kept], [one for _, one in kept])
            lines.append(f"| {method} | {name or 'pooled'} | {cells(own)} |")
            if method == "all signals" and name is None:
                reached = verdict(own, TARGETS.get(key, {}))
    return "\n".join([*lines, "", reached, ""]) if reached else "\n".join([*lines, ""])


def cells(own: Performance) -> str:
    """Numbers of a row; a dash where one is not defined."""
    values = (own.pearson, own.spearman, own.mae, own.auroc, own.aurc, own.coverage, own.width)
    return " | ".join("n/a" if value is None else f"{value:.3f}" for value in values)


def verdict(own: Performance, targets: dict[str, float]) -> str:
    """Which targets are met."""
    parts = []
    for name, target in targets.items():
        value = getattr(own, name)
        met = value is not None and (value <= target if name == "mae" else value >= target)
        parts.append(
            f"{name} {'n/a' if value is None else f'{value:.3f}'} (target {target:g}: {'met' if met else 'missed'})"
        )
    return f"Targets, all signals, pooled: {', '.join(parts)}." if parts else ""


def leave_one_out(rows: Sequence[Measured]) -> str:
    """What each group of signals adds on the final stage, and what M2I adds, with its interval."""
    calibration = Calibration(rows, CLASSES)
    lines = [
        "## Leave one group of signals out, final stage",
        "",
        "| signals | Spearman | MAE | AUROC |",
        "|---|---|---|---|",
    ]
    for name in ("none", *GROUPS):
        kept = tuple(one for one in calibration.signals if one not in GROUPS.get(name, ()))
        own = performance(calibration.rows, calibration.out_of_fold(kept)[0])
        lines.append(f"| without {name} | {' | '.join(cells(own).split(' | ')[1:4])} |")
    worth = worth_of_m2i(calibration)
    if worth is not None and worth["ci95"][0] is not None:
        low, high = worth["ci95"]
        lines += [
            "",
            f"M2I takes {worth['mean']:+.4f} of the mean error away (95% over patients {low:+.4f} to {high:+.4f}).",
        ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
