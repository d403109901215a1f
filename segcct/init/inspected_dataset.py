"""What `segcct init` found, chose and could not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segcct.config import DataSection


@dataclass(frozen=True)
class Findings:
    """A dataset as it was understood; `data` is ready to be written as a config."""

    data: DataSection
    facts: tuple[str, ...]
    """What was seen, a line each."""
    reasons: Mapping[str, str]
    """Key of the data section -> why it was set so."""
    doubts: tuple[str, ...]
    """What was not clear; to be read by a human before training."""

    def describe(self) -> str:
        """The findings as text for a terminal."""
        lines = [f"looked at {self.data.root}", *(f"  {fact}" for fact in self.facts), "chosen"]
        width = max(len(key) for key in self.reasons)
        for key, reason in self.reasons.items():
            value = _short(getattr(self.data, key))
            lines.append(f"  {key:<{width}}  {value}{f'  ({reason})' if reason else ''}")
        if self.doubts:
            lines += ["in doubt", *(f"  - {doubt}" for doubt in self.doubts)]
        return "\n".join(lines)


def _short(value: object) -> str:
    """A setting in one line: nested sections by what was set in them."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_unset=True, mode="json")
    if isinstance(value, Mapping):
        inner = [f"{key} {one}" for key, one in value.items() if one is not None]
        return ", ".join(inner[:6]) + (f" and {len(inner) - 6} more" if len(inner) > 6 else "")
    return str(value)
