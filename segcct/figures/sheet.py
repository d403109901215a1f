"""The dark sheet that pictures are laid on, with title, captions, legends and window, and its PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segcct.escape import in_a_line
from segcct.figures.colors import rgb
from segcct.figures.drawing import BACKGROUND, INK, MUTED, font

_GRAYS = 80
"""Palette entries for plain gray; the others are shared out among the colors."""
_MOST_COLORS = (256 - _GRAYS - 3) // 2
"""For which there are entries, each pure and in shade."""


def draw_sheet(
    pictures: Sequence[tuple[str, Image.Image]],
    title: str,
    note: str,
    legend: Mapping[str, str],
    last_legend: Mapping[str, str],
) -> Image.Image:
    """Captioned pictures side by side; `legend` (name -> color) below, `last_legend` below the last picture.

    All words are on the sheet: a long title or note takes several lines, a long name makes the sheet wider, a caption
    or a name of `last_legend` its column.
    """
    text_px = max(12, max(max(picture.size) for _, picture in pictures) // 30)
    edge, gap = round(text_px * 1.4), round(text_px * 0.8)
    line_px = round(text_px * 1.8)
    widths = [max(picture.width, math.ceil(font(text_px).getlength(caption))) for caption, picture in pictures]
    widths[-1] = max(widths[-1], math.ceil(_longest(last_legend, text_px)))
    lefts = [edge + sum(widths[:index]) + gap * index for index in range(len(pictures))]
    title_font, note_font = font(round(text_px * 1.3), bold=True), font(round(text_px * 0.85))
    longest = _longest(legend, text_px)
    width = max(lefts[-1] + widths[-1], edge + math.ceil(longest)) + edge
    beside = bool(last_legend) and longest <= lefts[-1] - gap - edge
    rows = [(edge, row) for row in _rows(legend, (lefts[-1] - gap if beside else width) - edge, text_px)]
    last_rows = [(lefts[-1], row) for row in _rows(last_legend, widths[-1], text_px)]
    columns = [rows, last_rows] if beside else [rows + last_rows]
    title_lines = _lines(in_a_line(title), title_font, width - 2 * edge) if title else []
    note_lines = _lines(note, note_font, width - 2 * edge)
    top = edge + (round(text_px * (1 + 1.6 * len(title_lines))) if title else 0) + text_px * 2
    foot = top + max(picture.height for _, picture in pictures) + text_px
    note_top = foot + line_px * max(map(len, columns))
    sheet = Image.new("RGB", (width, note_top + line_px * len(note_lines) + edge // 2), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(title_lines):
        draw.text((edge, edge + round(text_px * 1.6) * index), line, font=title_font, fill=INK, anchor="lt")
    for left, (caption, picture) in zip(lefts, pictures, strict=True):
        draw.text((left, top - text_px * 0.6), caption, font=font(text_px), fill=MUTED, anchor="ls")
        sheet.paste(picture, (left, top))
    for group in columns:
        for index, (left, row) in enumerate(group):
            _draw_row(draw, row, left, foot + line_px * (index + 0.5), text_px)
    for index, line in enumerate(note_lines):
        draw.text((edge, note_top + line_px * (index + 0.5)), line, font=note_font, fill=MUTED, anchor="lm")
    return sheet


def encode(sheet: Image.Image, colors: Sequence[str] | None) -> bytes:
    """PNG with a palette of grays and tints of `colors`, a third as large as one in full color; in full color if
    `colors` is None, or more than a palette has room for.

    The palette is laid out, not searched for: a search merges colors that few pixels hold, and those are the masks'.
    """
    if colors is not None and len(set(colors)) <= _MOST_COLORS:
        holder = Image.new("P", (1, 1))
        holder.putpalette(_palette(colors).tobytes())
        sheet = sheet.quantize(palette=holder, dither=Image.Dither.FLOYDSTEINBERG)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _palette(colors: Sequence[str]) -> np.ndarray:
    """(256, 3) uint8: grays, and each color pure, in shade, and over grays as thin as a mask's area."""
    grays = np.linspace(0, 255, _GRAYS)[:, None] * np.ones(3)
    entries = [grays, np.array([BACKGROUND, INK, MUTED], dtype=float)]
    names = list(dict.fromkeys(colors))
    levels = (256 - _GRAYS - 3) // max(1, len(names)) - 2
    for name in names:
        color = np.array([rgb(name)], dtype=float)
        entries += [color, color * 0.5]
        if levels > 0:
            entries.append(np.linspace(0, 165, levels)[:, None] + 0.35 * color)
    palette = np.concatenate(entries)[:256]
    return np.pad(palette, ((0, 256 - len(palette)), (0, 0))).clip(0, 255).round().astype(np.uint8)


def _lines(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Text wrapped to lines of `width`, at spaces; a word that is wider is broken."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if face.getlength(joined) <= width:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            lines += [""] if lines[-1] and face.getlength(lines[-1] + letter) > width else []
            lines[-1] += letter
    return lines


def _rows(legend: Mapping[str, str], width: float, text_px: int) -> list[list[tuple[str, str]]]:
    """Legend entries wrapped to lines of `width`."""
    rows: list[list[tuple[str, str]]] = []
    used = width + 1.0
    for name, color in legend.items():
        entry = in_a_line(name)
        needs = _entry_width(entry, text_px)
        if used + needs > width + text_px:
            rows.append([])
            used = 0.0
        rows[-1].append((entry, color))
        used += needs
    return rows


def _longest(legend: Mapping[str, str], text_px: int) -> float:
    return max((_entry_width(in_a_line(name), text_px) for name in legend), default=0.0)


def _entry_width(name: str, text_px: int) -> float:
    return font(text_px).getlength(name) + text_px * 2.4


def _draw_row(
    draw: ImageDraw.ImageDraw, row: Sequence[tuple[str, str]], left: float, middle: float, text_px: int
) -> None:
    half = text_px * 0.36
    for name, color in row:
        draw.rounded_rectangle((left, middle - half, left + 2 * half, middle + half), 2, fill=rgb(color))
        draw.text((left + text_px * 1.1, middle), name, font=font(text_px), fill=INK, anchor="lm")
        left += _entry_width(name, text_px)
