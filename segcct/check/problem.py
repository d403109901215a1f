"""One finding of `segcct check`, and how a list of them reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from segcct.errors import SegcctError


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file. An error makes `segcct check` fail; a notice is worth knowing and may be meant."""

    file: str | None
    what: str
    found: str | None = None
    expected: str | None = None
    remedy: str | None = None
    severity: Literal["error", "notice"] = "error"

    @classmethod
    def of(cls, error: SegcctError, *, file: object = None) -> Problem:
        """The problem an exception tells of; `file` where it names none."""
        fallback = None if file is None else str(file)
        return cls(error.file or fallback, error.what, error.found, error.expected, error.remedy)

    @classmethod
    def notice(
        cls,
        file: object,
        what: str,
        *,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> Problem:
        return cls(str(file), what, found, expected, remedy, "notice")


def format_problems(problems: Iterable[Problem], *, lines: int = 10) -> str:
    """Problems as text: errors before notices, one block per kind, at most `lines` files each with a count of the rest.

    What all files of a kind share (expected, remedy) is said once.
    """
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for problem in sorted(problems, key=lambda p: (p.severity != "error", p.what, p.file or "")):
        kinds.setdefault((problem.severity, problem.what), []).append(problem)
    counts = [
        f"{number} {severity}{'' if number == 1 else 's'}"
        for severity in ("error", "notice")
        if (number := sum(len(group) for (kind, _), group in kinds.items() if kind == severity))
    ]
    blocks = ["; ".join(counts) or "no problems"]
    blocks += [_block(severity, what, group, lines) for (severity, what), group in kinds.items()]
    return "\n\n".join(blocks)


def _block(severity: str, what: str, group: Sequence[Problem], lines: int) -> str:
    text = [f"{severity}: {what}" + (f" ({len(group)} times)" if len(group) > 1 else "")]
    fields = ("found", "expected", "remedy")
    values = {field: {getattr(problem, field) for problem in group} for field in fields}
    shared = {field: each.pop() for field, each in values.items() if len(each) == 1}
    rows = []
    for problem in group[:lines]:
        details = {field: value for field in fields if field not in shared and (value := getattr(problem, field))}
        rows.append((problem.file or "", "; ".join(f"{field} {value}" for field, value in details.items())))
    width = max((len(file) for file, _ in rows), default=0)
    text += [f"  {file:<{width}}  {details}".rstrip() for file, details in rows if file or details]
    if len(group) > lines:
        text.append(f"  ... and {len(group) - lines} more")
    text += [f"  {field + ':':<9} {value}" for field, value in shared.items() if value]
    return "\n".join(text)
