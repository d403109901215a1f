"""Numbers with their nouns, in sentences for users."""

from __future__ import annotations


def counted(number: int, noun: str, *, comma: bool = False) -> str:
    """`1 case`, `2 cases`, `3 classes`; with `comma`, `50,000 images`."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{number:,} {noun}{ending}" if comma else f"{number} {noun}{ending}"
