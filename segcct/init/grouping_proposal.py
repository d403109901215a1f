"""One way of grouping files into cases, and how much speaks for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from segcct.datasets.layouts.file_roles import ambiguity, ambiguous_labels, channel_names, label_score, sort_roles
from segcct.datasets.layouts.layout import Naming
from segcct.files.file_names import stem_of

MOST = 0.8
"""Fraction of the cases a pattern must hold for."""
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_MADE = re.compile(
    r"preds?|predictions?|predicted|outputs?|results?|inference|overlays?|previews?|thumbnails?|visuali[sz]ations?",
    re.IGNORECASE,
)
"""Folders, and words of file names, of what was made of the scans and masks: by a model, or to look at."""


class Evidence(IntEnum):
    """What a grouping rests on, the weakest first."""

    DOUBTED = 0
    """Folders of cases that do not all hold the same files, or hold several labels."""
    FILE_NAMES = 1
    """The names of files, wherever they lie: those of a case begin or end alike."""
    FOLDERS = 2
    """The folders: those of cases, all with the same files, or those of scans and of masks."""


@dataclass(frozen=True)
class Proposal:
    """One way of grouping the files of a dataset into cases."""

    naming: Naming
    evidence: Evidence

    @property
    def score(self) -> tuple[bool, Evidence]:
        """Scans with labels before scans or labels alone; then by what the grouping rests on."""
        return bool(self.naming.channels and self.naming.label), self.evidence


def best_of(proposals: Iterable[Proposal | None]) -> Naming | None:
    """The naming of the proposal with the highest score; of several, the first. None where there is none."""
    best = None
    for proposal in filter(None, proposals):
        if best is None or proposal.score > best.score:
            best = proposal
        if best.score == (True, max(Evidence)):  # no other way needs to be tried
            break
    return None if best is None else best.naming


def naming_of(layout: str, patterns: Sequence[str], why: str, doubts: Sequence[str] = ()) -> Naming:
    """The naming in which each pattern has the role that its words say."""
    channels, labels, masks = sort_roles([pattern for pattern in patterns if not _has_made(stem_of(pattern))])
    if not channels or not labels:
        channels, labels, masks = sort_roles(patterns)
    doubts = [*doubts, *ambiguous_labels(labels), *ambiguity("files may be masks of the body", masks)]
    alike = [name for name, times in Counter(stem_of(name) for name in channels).items() if times > 1]
    if alike:
        doubts.append(f"several channels are called {alike[0]}: if they hold one image in two formats, remove one")
    return Naming(
        layout=layout,
        by_convention=False,
        channels=channel_names(channels) if channels else {},
        label=labels[0] if labels else None,
        why=why,
        mask=masks[0] if masks else None,
        doubts=tuple(doubts),
    )


def is_made(folder: str) -> bool:
    """Whether a folder is called by what was made of scans and masks: predictions/, overlays/."""
    return _MADE.fullmatch(folder) is not None


def without_made(folders: Sequence[str]) -> list[str]:
    """The folders without such a word in their names, as in predicted_masks/; all if each has one."""
    return [folder for folder in folders if not _has_made(folder)] or list(folders)


def _has_made(name: str) -> bool:
    """Whether a word of a name says that a model made it, or somebody to look at it: pred, ct_overlay."""
    return any(map(_MADE.fullmatch, WORD.findall(name)))


def has_label(patterns: Sequence[str]) -> bool:
    """Whether one of the patterns is that of a label."""
    return any(label_score(pattern) > 0 for pattern in patterns)
