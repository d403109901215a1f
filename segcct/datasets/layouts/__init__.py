"""Layouts: the ways in which datasets name and group their files, one small reader each.

A layout is one file with one `layout.Layout` and one row of the table in config/layout_table.py; other packages add
theirs by the entry points `segcct.layouts` or `register_layout`. What layouts share is done once: the errors for an
empty root and patients in case_search.py, label values in case_reading.py.
"""

from __future__ import annotations

from segcct.config.layout_table import LAYOUTS
from segcct.datasets.layouts.case_reading import read_case, read_label, scheme_of, stored_label
from segcct.datasets.layouts.case_search import NewCases, find_cases, find_new_cases, scan_cases, single_case
from segcct.datasets.layouts.layout import Found, Layout, Naming
from segcct.datasets.layouts.layout_lookup import get_layout, layout_code, register_layout

__all__ = [
    "LAYOUTS",
    "Found",
    "Layout",
    "Naming",
    "NewCases",
    "find_cases",
    "find_new_cases",
    "get_layout",
    "layout_code",
    "read_case",
    "read_label",
    "register_layout",
    "scan_cases",
    "scheme_of",
    "single_case",
    "stored_label",
]
