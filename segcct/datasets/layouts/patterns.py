"""File patterns of a config: `*` matches anything within a name, `?` one character, `{id}` the case id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.folder_tree import FolderTree
from segcct.errors import ConfigError, DataError
from segcct.files.file_names import composed, spellings, split_name
from segcct.plurals import listed

ID = "{id}"
_ANY_ENDING = r"\.(?i:nii\.gz|npy\.h5|seg\.nrrd|[^./]+)"
_SPECIAL = re.compile(r"(\*+|\?|\{id\})")
_LONGEST = 1000
_MOST_WILD = 3
"""Pieces of any length up to the id; each raises the power by which the time to match a name grows."""
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Name of a folder, in lower case -> the split that it holds."""
_SPLIT_OF_FOLDER = SPLIT_FOLDERS | {
    "imagestr": "train",
    "train_npz": "train",
    "imagests": "test",
    "test_vol_h5": "test",
}


def with_id(pattern: str) -> str:
    """The pattern with `{id}` in it: where it has none, the last `*` before the ending stands for the case id.

    Raises:
        ConfigError: the pattern has neither, so its files could not be assigned to cases.
    """
    if ID in pattern:
        return pattern
    body, ending = (pattern[:-2], ".*") if pattern.endswith(".*") and "*" in pattern[:-2] else (pattern, "")
    head, star, tail = body.rpartition("*")
    if not star:
        raise ConfigError(
            "a file pattern of this layout must show where the case id is",
            found=pattern,
            expected="{id} or * in it, such as images/{id}.png",
        )
    return f"{head}{ID}{tail}{ending}"


@cache
def compiled(pattern: str, *, id_first: bool = False, anywhere: bool = False) -> re.Pattern[str]:
    """A regular expression for relative paths with forward slashes.

    A format's ending may be in capitals. In a pattern that captures the case id and ends in `.*`, that stands for
    the whole ending: with `{id}.*`, the case of `1.2.840.nii.gz` is `1.2.840`.

    Args:
        pattern: the pattern.
        id_first: the text to match begins with the case id and a slash, so that one expression serves all cases;
            otherwise `{id}` captures it as group `id`.
        anywhere: the pattern may match below any folder.

    Raises:
        ConfigError: the pattern is absolute or holds a placeholder other than `{id}`.
    """
    if pattern.startswith("/") or re.search(r"\{(?!id\})", pattern):
        raise ConfigError(
            "not a file pattern", found=pattern, expected="a relative path in which only *, ? and {id} are special"
        )
    if len(pattern) > _LONGEST:
        raise ConfigError("the file pattern is too long", found=f"{pattern[:40]}... of {len(pattern)} characters")
    parts = []
    captured = id_first
    body, ending = _ending_of(pattern, id_first=id_first)
    for part in body.split("/"):
        expression, wild, captured = _capturing(part, captured=captured)
        if wild > _MOST_WILD:
            raise ConfigError(
                "the file pattern has too many wildcards in one name",
                found=pattern,
                expected=f"at most {_MOST_WILD - 1} of * before {ID}",
                remedy="Write more of the name out",
            )
        parts.append(expression)
    before = "(?P<id>[^/]*)/" if id_first else "(?:.*/)?" if anywhere else ""
    return re.compile(before + "/".join(parts) + ending + r"\Z")


def _ending_of(pattern: str, *, id_first: bool) -> tuple[str, str]:
    """A pattern without its ending, and the expression of that."""
    if not id_first and ID in pattern and pattern.endswith(".*"):
        return pattern[:-2], _ANY_ENDING
    body, ending = split_name(pattern)
    return body, f"(?i:{re.escape(ending)})"


def _capturing(part: str, *, captured: bool) -> tuple[str, int, bool]:
    """The expression of one name that captures the id, how many of its pieces have any length, and whether the id is
    captured now."""
    before, here, behind = part.partition(ID)
    if captured or not here:  # nothing but the id depends on what a wildcard takes
        return _glob(part), 0, captured
    pieces = [_piece(piece) for piece in _SPECIAL.split(before)]
    wild = 1 + sum(piece.startswith("*") for piece in _SPECIAL.split(before))
    return "".join(pieces) + r"(?P<id>[^/]+?)" + _glob(behind), wild, True


def _piece(piece: str) -> str:
    """The expression of one piece of a pattern, once the id is captured."""
    if piece.startswith("*"):
        return "[^/]*"
    if piece == ID:
        return "(?P=id)"
    if piece == "?":
        return "[^/]"
    expressions = [re.escape(spelling) for spelling in spellings(piece)]
    return expressions[0] if len(expressions) == 1 else f"(?:{'|'.join(expressions)})"


def _glob(part: str) -> str:
    """The expression of one name, once the id is captured. A wildcard takes the first place where what follows it fits,
    and no other is tried, so that any number of them takes time in proportion to the name."""
    chunks = [""]
    for piece in _SPECIAL.split(part):
        if piece.startswith("*"):
            chunks.append("")
        else:
            chunks[-1] += _piece(piece)
    head, *rest = chunks
    between = "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1])
    return head + between + (f"[^/]*{rest[-1]}" if rest else "")


def filled(pattern: str, case_id: str) -> str:
    """A file name as the pattern asks for it, for messages: `{id}` replaced."""
    return pattern.replace(ID, case_id)


def matching(tree: FolderTree, folder: Path, pattern: str, case_id: str) -> list[Path]:
    """Files and folders at the pattern's depth below `folder` that match, sorted; hidden names never do."""
    candidates = [folder]
    for part in pattern.split("/"):
        one = compiled(part, id_first=True)
        names = ((parent, name) for parent in candidates for name in tree.names(parent))
        candidates = [parent / name for parent, name in names if one.match(composed(f"{case_id}/{name}"))]
    return candidates


def split_of(relative: str | Path) -> str | None:
    """`train`, `val` or `test` where a folder on the way is named so (Training, imagesTs, ...)."""
    folders = Path(relative).parts[:-1]
    return next((_SPLIT_OF_FOLDER[part.lower()] for part in folders if part.lower() in _SPLIT_OF_FOLDER), None)


def only(matches: Sequence[Path], what: str, pattern: str, where: Path) -> Path:
    """The one match. Raises `DataError` naming the others when there are several, or what is there when none."""
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise DataError(
            f"{what} is not one file",
            file=where,
            found=", ".join(match.name for match in matches[:6]),
            expected=f"one match of {pattern}",
            remedy="Make the pattern more specific, with {id}",
        )
    names = sorted(entry.name for entry in where.iterdir() if not entry.name.startswith(".")) if where.is_dir() else []
    raise DataError(
        f"{what} is missing",
        file=where,
        found=listed(names, 8) or "an empty folder",
        expected=pattern,
        remedy="Add the file, correct the pattern in the config, or remove the case from the dataset",
    )


def data_patterns(data: DataSection) -> list[str]:
    """The config's patterns of channels and label, in order."""
    return [*data.channels.values(), *([data.label] if data.label else [])]


def drawn(root: Path, folders: Mapping[str, Sequence[str]]) -> str:
    """A small drawing of folders and the files in them, for messages."""
    lines = [f"{root}/"]
    for folder, names in folders.items():
        lines += [f"    {folder}/", *(f"        {name}" for name in names)] if folder else [f"    {n}" for n in names]
    return "\n".join(lines)


def drawn_files(data: DataSection, ids: Sequence[str]) -> str:
    """The files of the first cases below the root, as the patterns ask for them."""
    patterns = dict.fromkeys(data_patterns(data))
    return drawn(data.root, {"": [*(filled(with_id(pattern), one) for pattern in patterns for one in ids), "..."]})
