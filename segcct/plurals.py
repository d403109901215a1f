"""Numbers with their nouns, and lists of names, in sentences for users."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str, *, comma: bool = False) -> str:
    """`1 case`, `2 cases`, `3 classes`; with `comma`, `50,000 images`."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{number:,} {noun}{ending}" if comma else f"{number} {noun}{ending}"


def sized(count: int) -> str:
    """A number of bytes: `512 bytes`, `78 kB`, `1.01 GB`."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= 0.9995 * factor:  # else 999,900 bytes would be 1e+03 kB
            return f"{count / factor:.3g} {unit}"
    return counted(count, "byte")


def listed(names: Sequence[str], most: int = 5, *, separator: str = ", ") -> str:
    """`a, b, c`; beyond `most`, how many more there are."""
    return separator.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def listed_in_prose(names: Sequence[str], most: int = 4) -> str:
    """As `listed`, with `a, b and c` where all are named."""
    if not 1 < len(names) <= most:
        return listed(names, most)
    return f"{', '.join(names[:-1])} and {names[-1]}"
