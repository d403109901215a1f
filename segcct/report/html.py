"""Pages: the template environment, how numbers are written, and the page as a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segcct import figures
from segcct.errors import EvaluationError
from segcct.evaluation.summary_record import MetricStats
from segcct.files.atomic_file import OTHER_OUTPUT, atomic_path
from segcct.metrics.metric_table import Quantity
from segcct.version import VERSION

NOT_DEFINED = "not defined"
PAGE = "report.html"
COMPARISON = "report.json"
"""The numbers that `segcct compare` writes next to its page."""
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Tile:
    """A figure in large letters; None is "not defined"."""

    name: str
    value: float | None
    lines: Sequence[str] = ()
    digits: int = 3
    stats: MetricStats | None = None
    """Drawn as a bar with the interval of its mean."""

    @classmethod
    def of(cls, quantity: Quantity, stats: MetricStats | None, *lines: str) -> Tile:
        """A mean with its interval, and its median where there is one."""
        if stats is None or stats.mean is None:
            return cls(quantity.title, None)
        middle = () if stats.median is None else (f"median {number(stats.median, quantity.digits)}",)
        text = interval(stats.ci95, quantity.digits)
        return cls(quantity.title, stats.mean, (text, *middle, *lines), quantity.digits, stats)


def number(value: object, digits: int = 3) -> str:
    """A number with this many decimals and a true minus, which zero never has; "not defined" unless it is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return NOT_DEFINED
    return f"{value:z.{digits}f}".replace("-", _MINUS)


def interval(value: object, digits: int = 3, *, with_sign: bool = False) -> str:
    """`[low, high]` -> `0.81 to 0.88`; "not defined" where either end is."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return NOT_DEFINED
    low, high = (signed(end, digits) if with_sign else number(end, digits) for end in value)
    return NOT_DEFINED if NOT_DEFINED in (low, high) else f"{low} to {high}"


def signed(value: object, digits: int = 3) -> str:
    """A difference: as `number`, with a plus where it is above zero."""
    text = number(value, digits)
    return f"+{text}" if text[0].isdigit() and float(text) > 0 else text


def pvalue(value: object) -> str:
    """`p = 0.031`, `p < 0.001`, or "p not defined"."""
    text = number(value)
    return f"p {NOT_DEFINED}" if text == NOT_DEFINED else "p < 0.001" if text == "0.000" else f"p = {text}"


def fraction(value: object) -> float | None:
    """The value when it lies within 0..1, for widths and tints; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return round(float(value), 4)


def class_colors(classes: Sequence[str]) -> dict[str, str]:
    """CSS class of the first, second, ... class -> its color."""
    return {f"k{number}": color for number, color in enumerate(figures.class_colors(len(classes)), start=1)}


def provenance(groups: Mapping[str, Mapping[str, object] | None]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Name of a group -> its details as rows, for the list at a page's end; empty groups are left out."""
    return [(name, rows) for name, details in groups.items() if (rows := flat(details or {}))]


def flat(details: Mapping[str, object]) -> list[tuple[str, str]]:
    """Details as (name, text) rows in their own order, for lists of provenance. What is None or empty is left out."""
    rows = ((str(key).replace("_", " "), _in_a_line(value)) for key, value in details.items())
    return [(name, text) for name, text in rows if text]


def _in_a_line(value: object) -> str:
    """`torch 2.6, numpy 2.1` of a mapping, `a, b` of a list."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in flat(value))
    if isinstance(value, list | tuple):
        return ", ".join(_in_a_line(item) for item in value)
    return "" if value is None else str(value)


def render(template: Path, **context: object) -> str:
    """A page from a template, which finds `base.html` and the kit in the folder of this file.

    A name that the context lacks is an error, never an empty space.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, interval=interval, fraction=fraction, signed=signed, pvalue=pvalue)
    return environment.get_template(template.name).render(version=VERSION, **context)


def make_way_for_page(folder: Path) -> Path:
    """Remove the earlier page of an evaluation from a folder, so that it cannot pass for the new one if writing that
    fails, and return where the new one goes. Raises `EvaluationError` if the page there is that of a comparison."""
    file = folder / PAGE
    if file.exists() and (folder / COMPARISON).is_file():
        raise EvaluationError(
            "is the page of a comparison, which would be replaced",
            file=file,
            found=f"{COMPARISON} next to it",
            remedy=OTHER_OUTPUT,
        )
    file.unlink(missing_ok=True)
    return file


def write_page(path: Path, page: str, *, private: bool) -> Path:
    """Write a page as UTF-8, atomically; `private`: readable by its owner alone, as it names patients."""
    with atomic_path(path, private=private) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path
