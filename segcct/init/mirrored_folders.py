"""Folders of one name below those of scans and of masks, such as splits, sites and patients: images/train/A.png,
masks/train/A.png."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from segcct.init.grouping_proposal import Proposal, is_made
from segcct.init.parallel_folders import has_role, in_parallel_folders, split_in

_DEEPEST = 2
"""Levels of folders between that of scans or masks and the files."""
_MASKS = re.compile(r"mask|msk|segment|label|truth|annot|(?<![a-z])(d?seg|segm|gt|lbl)(?![a-z])")
"""Words for masks of anything, unlike those such as tumor, which may say what a scan shows."""


def in_mirrored_folders(names: Sequence[str], layout: str) -> Proposal | None:
    """As `in_parallel_folders`, where scans and masks lie in further folders, which are named alike below both."""
    for depth in range(1, _DEEPEST + 1):
        proposal = in_parallel_folders(_without_mirrored(names, depth), layout)
        scans = [] if proposal is None else [pattern.split("/")[0] for pattern in proposal.naming.channels.values()]
        if proposal is not None and not any(_hold_more(folder, names) for folder in scans):
            naming = proposal.naming

            def deeper(pattern: str, depth: int = depth) -> str:
                role, _, file = pattern.partition("/")
                return "/".join([role, *["*"] * depth, file])

            naming = replace(
                naming,
                channels={name: deeper(pattern) for name, pattern in naming.channels.items()},
                label=naming.label and deeper(naming.label),
                mask=naming.mask and deeper(naming.mask),
            )
            return replace(proposal, naming=naming)
    return None


def _without_mirrored(names: Sequence[str], depth: int) -> list[str]:
    """The files below folders that several others hold under one name, each as `images/A.png`: without them."""
    roles: dict[tuple[str, ...], set[str]] = {}
    files = []
    for path in map(PurePosixPath, names):
        *_, role = path.parts[: -depth - 1] or [""]
        between = path.parts[-depth - 1 : -1]
        if role and not any(map(_says_more, between)):
            roles.setdefault(between, set()).add(role)
            files.append((between, f"{role}/{path.name}"))
    return list(dict.fromkeys(name for between, name in files if len(roles[between]) > 1))


def _hold_more(folder: str, names: Sequence[str]) -> bool:
    """Whether folders of one name hold more than scans in further folders: masks too, so that the masks are not those
    in a folder whose name only sounds so (healthy/p1/seg.nii.gz, tumor/p1/seg.nii.gz), or as many files directly."""
    paths = [PurePosixPath(name).parts for name in names]
    below = [parts[parts.index(folder) + 1 :] for parts in paths if folder in parts[:-1]]
    of_masks = {_MASKS.search("/".join(parts).lower()) is not None for parts in below}
    return len(of_masks) > 1 or 2 * sum(len(parts) == 1 for parts in below) >= len(below)


def _says_more(folder: str) -> bool:
    """Whether a folder says more than to which split, site or patient its files belong."""
    return is_made(folder) or (has_role(folder) and not split_in(folder))
