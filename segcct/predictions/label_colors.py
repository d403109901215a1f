"""The names and colors of the classes, next to masks, for ITK-SNAP and 3D Slicer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segcct.figures.colors import class_colors, rgb
from segcct.files.atomic_file import write_bytes

ITK_SNAP, SLICER = "labels_itksnap.txt", "labels_slicer.ctbl"


def write_label_colors(folder: Path, classes: Mapping[str, int]) -> None:
    """Write both files.

    Args:
        folder: of the masks.
        classes: class -> its value in them.
    """
    colors = [rgb(color) for color in class_colors(len(classes))]
    named = [(value, name, color) for (name, value), color in zip(classes.items(), colors, strict=True)]
    write_bytes(folder / ITK_SNAP, _itk_snap(named).encode())
    write_bytes(folder / SLICER, _slicer(named).encode())


def _itk_snap(named: list[tuple[int, str, tuple[int, int, int]]]) -> str:
    """Value, red, green, blue, opacity, visibility, mesh visibility and name (Segmentation > Import Label
    Descriptions)."""
    lines = ['0 0 0 0 0 0 0 "Clear Label"']
    for value, name, color in named:
        text = name.replace('"', "'")
        lines.append(f'{value} {" ".join(map(str, color))} 1 1 1 "{text}"')
    return "\n".join(["# ITK-SnAP Label Description File", "# IDX R G B A VIS MSH LABEL", *lines, ""])


def _slicer(named: list[tuple[int, str, tuple[int, int, int]]]) -> str:
    """Value, name without spaces, red, green, blue and opacity (a color node)."""
    lines = ["0 background 0 0 0 0"]
    lines += [f"{value} {'_'.join(name.split())} {' '.join(map(str, color))} 255" for value, name, color in named]
    return "\n".join(["# Color table file", f"# {len(lines)} values", *lines, ""])
