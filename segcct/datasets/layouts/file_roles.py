"""What the words in a file name say: label, mask of the body, or channel, and what the channel is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from segcct.files.file_names import stem_of
from segcct.plurals import listed

_LABEL_WORD = re.compile(
    r"segment|label|truth|multiclass|annot|lesion|consensus|manual|gold|contour|delineat"
    r"|(?<![a-z])(d?seg|segm|gt|roi|lbl|tumou?r|vessels?|wmh)(?![a-z])"
)
_BODY_WORD = re.compile(r"brain|skull|head|body|fov|(?<![a-z])bet(?![a-z])")
_MASK_WORD = re.compile(r"mask|(?<![a-z])msk(?![a-z])")
_MODALITY = re.compile(r"flair|t1\w*|t2\w*|adc|dwi|pd\w*|swi|ct|cta|pet|mr|mri|us|cine|xray|fundus")


def label_score(pattern: str) -> int:
    """3: a label by its words; 1: a mask of something; 0: no label; -1: a mask of the brain or body."""
    words = pattern.lower()
    if _MASK_WORD.search(words) and _BODY_WORD.search(words):
        return -1
    if _LABEL_WORD.search(words):
        return 3
    return 1 if _MASK_WORD.search(words) else 0


def sort_roles(patterns: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """(channels, labels best first, masks of the body) among the patterns of one case."""
    scores = {pattern: label_score(pattern) for pattern in patterns}
    best = max(scores.values(), default=0)
    labels = [pattern for pattern, score in scores.items() if score == best and score > 0]
    masks = [pattern for pattern, score in scores.items() if score == -1 or 0 < score < best]
    channels = [pattern for pattern, score in scores.items() if score == 0]
    return channels, labels, masks


def ambiguity(kind: str, candidates: Sequence[str]) -> tuple[str, ...]:
    """A remark that the first of several candidates is taken, as in `ambiguity("files may be labels", [...])`."""
    return (f"several {kind}: {listed(candidates)}; {candidates[0]} is taken",) if len(candidates) > 1 else ()


def ambiguous_labels(candidates: Sequence[str], kind: str = "files may be labels") -> tuple[str, ...]:
    """As `ambiguity`, for labels: of several of a case one is read."""
    return tuple(
        f"{doubt}: a case has one label file. To train on structures that are files of their own, write them into one "
        "file, each with its own value"
        for doubt in ambiguity(kind, candidates)
    )


def names_modality(channel: str) -> bool:
    """Whether a channel has the name of a sequence or modality, such as `t1c` or `flair`."""
    return any(map(_MODALITY.fullmatch, channel.split("_")))


def channel_names(patterns: Sequence[str]) -> Mapping[str, str]:
    """Channel name -> pattern: the words in which the patterns differ, in lower case."""
    names = [stem_of(pattern.replace("{id}", " ").lower()) for pattern in patterns]
    words = [re.findall(r"[0-9a-z]+", name) or ["image"] for name in names]
    if len(patterns) == 1:
        return {next(filter(_MODALITY.fullmatch, words[0]), "image"): patterns[0]}
    start = 0
    while all(len(w) > start + 1 for w in words) and len({w[start] for w in words}) == 1:
        start += 1
    end = 0
    while all(len(w) > start + end + 1 for w in words) and len({w[-1 - end] for w in words}) == 1:
        end += 1
    names = ["_".join(w[start : len(w) - end]) for w in words]
    if len(set(names)) < len(names) or "" in names:
        names = [f"channel_{index}" for index in range(len(patterns))]
    return dict(zip(names, patterns, strict=True))
