"""The key of a prepared case in the cache, and the fingerprint of a dataset: digests of contents, never of places."""

from __future__ import annotations

from collections.abc import Sequence

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import layout_code
from segcct.files.file_memo import FileMemo, key_of
from segcct.files.file_names import composed
from segcct.images.content_digest import content_digest
from segcct.preparation.preparation_settings import Preparation
from segcct.version import VERSION

PREPARATION_VERSION = 8
"""Part of every cache key: incremented when prepared_case.py, the grid, the rules or a reader give other numbers or
facts."""


def fingerprint(cases: Sequence[Case], memo: FileMemo | None = None) -> str:
    """A digest of all files of all cases by content, whatever the cases' order or place on disk."""
    return key_of(sorted([composed(case.id), content_digest(case.files(), memo)] for case in cases))


def cache_key(case: Case, data: DataSection, scheme: Scheme, memo: FileMemo | None = None) -> str:
    """What the prepared arrays depend on: files, how they are read, how they are prepared, the code's version."""
    groups = [*case.channels.values(), case.label or (), case.mask or ()]
    digests = {paths: content_digest(paths, memo) for paths in set(groups)}  # one file may hold channels and label
    code = layout_code(data.layout)
    reading = {
        "layout": data.layout,
        **({"code": code} if code else {}),
        "channels": list(data.channels.items()),  # their order counts; in some layouts a pattern names an array
        "label": data.label,
        **({} if data.structures is None else {"structures": sorted(data.structures.items())}),
        # An empty map replaces the layout's own (synapse), so it differs from none.
        "label_map": None if data.label_map is None else sorted(data.label_map.items()),
    }
    return key_of(
        PREPARATION_VERSION,
        VERSION,
        [case.id, case.patient],
        [digests[paths] for paths in groups],
        reading,
        [scheme.name, list(scheme.classes.items())],
        Preparation.of(data).to_json(),
    )
