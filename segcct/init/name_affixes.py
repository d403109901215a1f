"""What the names of scans and of their masks have in common: the ids between a common start and a common end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from segcct.files.file_names import split_name, stem_of


def pair_up(scans: Sequence[str], labels: Sequence[str]) -> tuple[float, str, str] | None:
    """(fraction of scans with a label, pattern of scans, of labels) for the affixes that pair most of them."""
    pairs = []
    for suffix, prefix in ((False, False), (True, False), (True, True)):
        scan_ids, scan_pattern = ids_in(scans, suffix=suffix, prefix=prefix)
        label_ids, label_pattern = ids_in(labels, suffix=suffix, prefix=prefix)
        pairs.append((len(scan_ids & label_ids) / len(scan_ids), scan_pattern, label_pattern))
    if (of_scans := _first_words(scans)) and (of_labels := _first_words(labels)):
        pairs.append((len(of_scans[0] & of_labels[0]) / len(of_scans[0]), of_scans[1], of_labels[1]))
    best = max(pairs, key=lambda pair: pair[0])
    return best if best[0] > 0 else None


def ids_in(names: Sequence[str], *, suffix: bool, prefix: bool) -> tuple[set[str], str]:
    """The ids in file names, and their pattern: what is left between a common end, a common start."""
    stems = {name: stem_of(name) for name in names}
    end = _common_end(list(stems.values())) if suffix else ""
    start = _common_start([one.removesuffix(end) for one in stems.values()]) if prefix else ""
    endings = Counter(name[len(one) :] for name, one in stems.items())
    ending = endings.most_common(1)[0][0] if len(endings) == 1 else ".*"
    ids = {one[len(start) : len(one) - len(end)] for one in stems.values()}
    return ids, f"{start}{{id}}{end}{ending}"


def _first_words(names: Sequence[str]) -> tuple[set[str], str] | None:
    """As `ids_in`, where no two names begin with the same word: 21_training, 01_test -> {id}_*. None elsewhere."""
    words = [words_with_separators(name) for name in names]
    ids = {each[0] for each in words if each}
    separators = {rest[0][0] if rest else "" for _, *rest in filter(None, words)}
    if not 1 < len(names) == len(ids) or len(separators) > 1:
        return None
    rests = {name.removeprefix(each[0]) for name, each in zip(names, words, strict=True)}
    if len(rests) == 1:
        return ids, f"{{id}}{rests.pop()}"
    endings = {split_name(name)[1] for name in names}
    separator = separators.pop()
    any_rest = f"{separator}*" if separator else ""
    return ids, f"{{id}}{any_rest}{endings.pop() if len(endings) == 1 else '.*'}"


def _common_end(stems: Sequence[str]) -> str:
    """The common end, from its first separator on: 21_training, 22_training -> _training."""
    common = _shared_start([one[::-1] for one in stems])[::-1]
    start = re.search(r"[^0-9A-Za-z]", common)
    return common[start.start() :] if start and len(stems) > 1 else ""


def _common_start(stems: Sequence[str]) -> str:
    """img0001, img0002 -> img; digits belong to the case."""
    return _shared_start(stems).rstrip("0123456789") if len(stems) > 1 else ""


def _shared_start(words: Sequence[str]) -> str:
    """What all words begin with."""
    pairs = zip(min(words), max(words), strict=False)
    return "".join(letter for letter, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def words_with_separators(base: str) -> list[str]:
    """Words of a file name with the separator before each: a_b-c.png -> a, _b, -c."""
    return re.findall(r"[_\-. ]*[^_\-. ]+", stem_of(base))
