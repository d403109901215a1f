"""What the comparison page shows, in the order it shows it: headline, tiles, ranking, table, pictures, provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from segcct import figures
from segcct.comparison.comparison_findings import findings
from segcct.comparison.comparison_plots import plots_of
from segcct.comparison.comparison_summary import DEFINITIONS, doubts, empty, region_value, trust
from segcct.comparison.comparison_viewer import FULL_ERROR, Row
from segcct.figures.heat import HEAT
from segcct.metrics.image import BAND_PX, BORDER, FOREGROUND, WHOLE
from segcct.plurals import counted
from segcct.quality.quality_model import QualityModel
from segcct.report.html import flat, interval, listed, number


@dataclass(frozen=True)
class Column:
    """One column of the table of cases."""

    name: str
    help: str
    value_of: Callable[[Mapping[str, Any]], float | None]
    digits: int = 3
    share: bool = False


@dataclass(frozen=True)
class Tile:
    """A mean in large letters."""

    name: str
    value: float | None
    lines: tuple[str, ...] = ()
    digits: int = 3


def page_context(content: Mapping[str, Any], rows: Mapping[str, Row], quality: QualityModel | None) -> dict[str, Any]:
    """What `comparison.html` needs.

    Args:
        content: report.json.
        rows: case -> its pictures.
        quality: the segmenter's quality.json.
    """
    cases, summary = content["cases"], content["summary"]
    classes = list(content["scheme"]["classes"])
    with_reference = summary["with_reference"] > 0
    calibrated = quality is not None
    below = quality.doubtful_below if quality else 0.0
    columns = _columns(with_reference, calibrated)
    ranked = {name: {"case": name, "key": rows[name].key, **_ranked(cases[name], below)} for name in content["order"]}
    return {
        "title": f"Image, mask, image: {counted(len(cases), 'case')}",
        "synthetic": content["synthetic"],
        "synthetic_training": content["synthetic_training"],
        "colours": dict(zip(classes, figures.class_colours(len(classes)), strict=True)),
        "heat": HEAT,
        "full_error": FULL_ERROR,
        "band_px": BAND_PX,
        "with_reference": with_reference,
        "calibrated": calibrated,
        "doubtful_below": below,
        "headline": _headline(summary, content["scheme"]["name"]),
        "findings": findings(cases, summary),
        "tiles": _tiles(summary),
        "order_note": _order_note(quality, with_reference),
        "ranking": list(ranked.values()),
        "columns": columns,
        "rows": [
            {"case": name, "key": rows[name].key, "values": [column.value_of(cases[name]) for column in columns]}
            for name in ranked
        ],
        "regions": [{**row, "name": _region_name(row["name"])} for row in summary["regions"]],
        "plots": plots_of(cases, classes),
        "shown": [
            {
                **own,
                "row": rows[name],
                "facts": _facts(cases[name]),
                "classes": [_class_entry(cases[name], each) for each in classes],
            }
            for name, own in ranked.items()
        ],
        "left_out": _left_out(content["failed"]),
        "channels_note": _channels_note(rows, list(content["channels"])),
        "quality": _quality(quality),
        "definitions": list(DEFINITIONS.items()),
        "provenance": _provenance(content),
    }


def _headline(summary: Mapping[str, Any], scheme: str) -> dict[str, Any]:
    """Mean Dice where there are references; else how many masks are doubtful; else M -> I -> M'."""
    cases = counted(summary["cases"], "case")
    if summary["with_reference"]:
        dice = summary["dice"]
        scored = "" if dice["n"] == summary["cases"] else f", {dice['n']} of them scored"
        lines = [f"95% interval {interval(dice['ci95'])}", f"{cases}{scored}, scheme {scheme}"]
        return {"name": "Mean Dice", "value": dice["mean"], "digits": 3, "lines": lines}
    if summary["doubtful"] is not None:
        lines = [
            f"of {counted} without reference, scheme {scheme}",
            f"estimated Dice below {summary['doubtful_below']:g}, or a structure missed",
        ]
        return {"name": "Cases to doubt", "value": float(len(summary["doubtful"])), "digits": 0, "lines": lines}
    lines = [f"{counted} without reference, scheme {scheme}", "not a score: how well mask and generator fit"]
    return {"name": "M → I → M' Dice", "value": summary["cycle"]["predicted"]["mean"], "digits": 3, "lines": lines}


def _tiles(summary: Mapping[str, Any]) -> list[Tile]:
    regions = {row["name"]: row for row in summary["regions"]}
    tiles = []
    if summary["with_reference"]:
        tiles = [
            Tile("IoU", summary["iou"]["mean"], (interval(summary["iou"]["ci95"]),)),
            Tile("Pixel accuracy", summary["pixel_accuracy"]["mean"], (interval(summary["pixel_accuracy"]["ci95"]),)),
        ]
    return [
        *tiles,
        Tile("Foreground RMSE", regions[FOREGROUND]["rmse"], _baselines(regions[FOREGROUND])),
        Tile("Border RMSE", regions[BORDER]["rmse"], _baselines(regions[BORDER])),
        Tile("SSIM", regions[WHOLE]["ssim"], ("whole image",)),
        Tile("PSNR (dB)", regions[WHOLE]["psnr"], ("whole image",), 1),
        Tile("Euclidean distance", regions[WHOLE]["euclidean"], ("whole image",), 1),
        *_cycle_tiles(summary["cycle"]),
    ]


def _cycle_tiles(cycle: Mapping[str, Any]) -> list[Tile]:
    """How well the segmenter finds its masks again."""
    found = {"Dice": cycle["predicted"], "IoU": cycle["iou"]["predicted"]}
    accuracy = cycle["pixel_accuracy"]["predicted"]["mean"]
    return [
        *(Tile(f"M → I → M' {name}", stats["mean"], ("of the predicted masks",)) for name, stats in found.items()),
        Tile("M → I → M' pixel accuracy", accuracy, ("background included",)),
    ]


def _baselines(region: Mapping[str, Any]) -> tuple[str, ...]:
    return f"class means {number(region['baseline'])}", f"of each slice {number(region['baseline_by_slice'])}"


def _columns(with_reference: bool, calibrated: bool) -> list[Column]:
    """Columns of the table of cases."""
    columns = []
    if calibrated:
        columns.append(
            Column("Estimate", "Estimated Dice, mean over the classes, 0 for a missed one", trust, share=True)
        )
    if with_reference:
        columns += [
            Column("Dice", "Mean over the classes", lambda case: case["mean"]["dice"], share=True),
            Column("IoU", "Mean over the classes", lambda case: case["mean"]["iou"], share=True),
            Column("Pixel acc.", "Pixel accuracy", lambda case: case["pixel_accuracy"], 4),
        ]
    return [
        *columns,
        Column("RMSE fg.", "RMSE in the foreground", lambda case: region_value(case, FOREGROUND, "rmse")),
        Column("Cl. means", "RMSE of the class-mean baseline in the foreground", _foreground_baseline("baseline")),
        Column("Slice means", "The same with the means of each slice", _foreground_baseline("baseline_by_slice")),
        Column("RMSE border", "RMSE in the border band", lambda case: region_value(case, BORDER, "rmse")),
        Column("Euclid.", "Euclidean distance, whole image", lambda case: region_value(case, WHOLE, "euclidean"), 1),
        Column("MAE", "Mean absolute error, whole image", lambda case: region_value(case, WHOLE, "mae")),
        Column("PSNR", "dB, whole image", lambda case: region_value(case, WHOLE, "psnr"), 1),
        Column("SSIM", "Whole image", lambda case: region_value(case, WHOLE, "ssim")),
        Column("M→I→M'", "Dice of the mask found again", lambda case: case["cycle"]["predicted"]["mean"], share=True),
        Column("its IoU", "IoU of the mask found again", lambda case: _cycle(case)["iou"]["mean"], share=True),
        Column(
            "its pixel acc.", "Pixel accuracy of the mask found again", lambda case: _cycle(case)["pixel_accuracy"], 4
        ),
    ]


def _cycle(case: Mapping[str, Any]) -> Mapping[str, Any]:
    """M' against M, from the predicted mask."""
    found: Mapping[str, Any] = case["cycle"]["predicted"]
    return found


def _foreground_baseline(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda case: region_value(case, FOREGROUND, "rmse", name)


def _ranked(case: Mapping[str, Any], below: float) -> dict[str, Any]:
    """How a case stands in the order of trust, and why."""
    doubted = doubts(case, below)
    missing = case["missing"] or []
    low = [name for name in doubted if name not in missing]
    if empty(case):
        reason = "nothing predicted"
    elif doubted:
        parts = {"not predicted": missing, "doubtful": low}
        reason = "; ".join(f"{what}: {listed(names)}" for what, names in parts.items() if names)
    elif case["mean"]["dice"] is not None:
        reason = f"Dice {number(case['mean']['dice'], 2)}"
    else:
        reason = ""
    return {
        "estimates": case["estimate"],
        "value": trust(case),
        "missing": missing,
        "doubtful": bool(doubted) or (case["estimate"] is None and empty(case)),
        "reason": reason,
    }


def _order_note(quality: QualityModel | None, with_reference: bool) -> str:
    if quality is not None:
        return (
            f"Estimated Dice per class with its {100 * quality.level:.0f}% interval, lowest mean first. "
            f"Doubtful: an estimate below {quality.doubtful_below:g}. A structure that was not predicted "
            "counts as 0 where most such cases of the calibration held it."
        )
    if with_reference:
        return "By the Dice against the reference, lowest first: the segmenter has no calibrated estimate."
    return "By M → I → M', lowest first. This is not a calibrated estimate of quality: run segcct calibrate for one."


def _facts(case: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The line of numbers above the pictures; what is not defined is left out."""
    pairs = [
        ("Dice", case["mean"]["dice"], 3),
        ("IoU", case["mean"]["iou"], 3),
        ("Pixel accuracy", case["pixel_accuracy"], 4),
        ("RMSE, foreground", region_value(case, FOREGROUND, "rmse"), 3),
        ("RMSE, border", region_value(case, BORDER, "rmse"), 3),
        ("Euclidean distance", region_value(case, WHOLE, "euclidean"), 1),
        ("MAE", region_value(case, WHOLE, "mae"), 3),
        ("PSNR (dB)", region_value(case, WHOLE, "psnr"), 1),
        ("SSIM", region_value(case, WHOLE, "ssim"), 3),
        ("M → I → M'", _cycle(case)["mean"], 3),
        ("its IoU", _cycle(case)["iou"]["mean"], 3),
        ("its pixel accuracy", _cycle(case)["pixel_accuracy"], 4),
    ]
    return [(name, number(value, digits)) for name, value, digits in pairs if value is not None]


def _class_entry(case: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        "name": name,
        **case["classes"][name],
        "estimate": (case["estimate"] or {}).get(name),
        "missing": name in (case["missing"] or ()),
        "rmse": region_value(case, name, "rmse"),
        "baseline": region_value(case, name, "rmse", "baseline"),
        "cycle": _cycle(case)["classes"][name],
        "cycle_iou": _cycle(case)["iou"]["classes"][name],
        "euclidean": region_value(case, name, "euclidean"),
    }


def _region_name(name: str) -> str:
    return {WHOLE: "Whole image", FOREGROUND: "Foreground", BORDER: "Border band"}.get(name, name)


def _left_out(failures: Mapping[str, str]) -> str:
    if not failures:
        return ""
    return f"Left out, for they failed: {'; '.join(f'{name}: {reason}' for name, reason in failures.items())}."


def _channels_note(rows: Mapping[str, Row], channels: list[str]) -> str:
    """Where the page would get too large with all of them."""
    shown = max((row.channels for row in rows.values()), key=len, default=())
    if len(shown) == len(channels):
        return ""
    return f"Pictures show {listed(list(shown))} of {len(channels)} channels, so that the page stays small."


def _quality(quality: QualityModel | None) -> dict[str, Any] | None:
    """How the estimate was calibrated and what each part adds, as quality.json says."""
    if quality is None:
        return None
    facts = quality.facts
    table = [{**row, "in_use": row.get("in_use", False)} for row in facts.get("leave_one_out", ())]
    return {"text": str(facts.get("summary", "")), "table": table}


def _provenance(content: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    groups = [(name, details) for name, details in content["models"].items()]
    return [(name, rows) for name, details in [*groups, ("Report", content["provenance"])] if (rows := flat(details))]
