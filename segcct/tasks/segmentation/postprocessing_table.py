"""What `segcct tune-postprocessing` tried, as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from segcct.tasks.segmentation.postprocessing_choice import Choice, Effect, Tried


def table_of(tried: Sequence[Tried], together: Effect | None) -> str:
    """What was found, as Markdown; `together`: of all chosen steps."""
    lines = ["| class | best choice | Dice without | Dice with | difference [95% interval] | better, worse | |"]
    lines.append("|---|---|---|---|---|---|---|")
    for each in tried:
        decision = "chosen" if each.helps else "left out"
        lines.append(f"| {each.name} | {_words(each.choice)} | {_cells(each.effect)} | {decision} |")
    if together is not None:
        lines.append(f"| mean of classes | what was chosen, together | {_cells(together)} | |")
    return "\n".join(lines)


def _words(choice: Choice) -> str:
    parts = ["fill_holes"] * choice.fill + ["largest_component"] * choice.largest
    parts += [] if choice.ml is None else [f"minimum_volume of {choice.ml:g} ml"]
    return ", ".join(parts) or "none"


def _cells(effect: Effect) -> str:
    found = effect.difference
    low, high = ("not defined" if end is None else f"{end:+.4f}" for end in found["ci95"])
    return (
        f"{effect.before:.4f} | {effect.after:.4f} | {effect.after - effect.before:+.4f} [{low}, {high}] | "
        f"{found['wins']}, {found['losses']}"
    )
