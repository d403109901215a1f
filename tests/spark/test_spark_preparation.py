"""Cases prepared in tasks of Spark are those of one process, in the same cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from segcct.config import SegmentationConfig, settings
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.errors import DataError
from segcct.preparation.cached_cases import prepare_cases
from tests.conftest import training_command


@pytest.fixture
def data(phantom, tmp_path):
    _, _, config, *keys = training_command(phantom, tmp_path, data__cache=str(tmp_path / "here"))
    return settings.load(SegmentationConfig, Path(config), settings.parse_overrides(keys)).data


def content(folder: Path) -> dict[str, bytes]:
    """Every file of every entry."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("*/*")}


def test_the_cache_is_identical(spark, data, tmp_path):
    cases, scheme = find_cases(data)[:3], scheme_of(data)
    there = data.model_copy(update={"spark": "local[2]", "cache": tmp_path / "there"})
    prepared = prepare_cases(cases, there, scheme)
    assert [case.case_id for case in prepared] == [case.id for case in cases]
    assert not list((tmp_path / "there").glob(".*.lock"))
    prepare_cases(cases, data, scheme)
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert len(content(tmp_path / "here")) > 3


def test_a_case_that_cannot_be_read_is_named_once_the_others_are_there(spark, data, tmp_path):
    cases, scheme = find_cases(data)[:3], scheme_of(data)
    there = data.model_copy(update={"spark": "local[2]"})
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    channels = {**cases[1].channels, "t1": (broken,)}
    with pytest.raises(DataError, match=r"broken\.nii\.gz"):
        prepare_cases([cases[0], dataclasses.replace(cases[1], channels=channels), cases[2]], there, scheme)
    assert len(list((tmp_path / "here").glob("*/entry.json"))) == 2
