"""Label schemes: values, regions, lookup tables, and what is said about values that do not belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcct.datasets.label_schemes import (
    BTCV_TO_SYNAPSE,
    SCHEMES,
    Scheme,
    custom_scheme,
    get_scheme,
    remap,
    suggest,
    whole_values,
)
from segcct.errors import LabelError


def test_brats_regions_are_those_of_the_challenges() -> None:
    assert get_scheme("brats2021").regions == {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}
    assert get_scheme("brats2023").regions == {"ET": (3,), "TC": (1, 3), "WT": (1, 2, 3)}
    assert get_scheme("brats2015").regions == {"ET": (4,), "TC": (1, 3, 4), "WT": (1, 2, 3, 4)}
    # From 2024 on 4 is the resection cavity, which is in no region.
    assert get_scheme("brats2024_gli").regions == {"ET": (3,), "TC": (1, 3), "WT": (1, 2, 3)}


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES.values() if "ET" in scheme.regions])
def test_regions_are_nested(scheme: Scheme) -> None:
    et, tc, wt = (set(scheme.regions[name]) for name in ("ET", "TC", "WT"))
    assert et < tc < wt


def test_the_btcv_table_is_transunets() -> None:
    btcv, synapse = get_scheme("btcv"), get_scheme("synapse")
    for name, value in synapse.classes.items():
        assert BTCV_TO_SYNAPSE[btcv.classes[name]] == value
    assert set(BTCV_TO_SYNAPSE) == set(btcv.values) - {0}
    assert sorted(BTCV_TO_SYNAPSE.values()) == [0] * 5 + list(range(1, 9))
    # The collision of in-place remapping: 8 -> 1 -> 7.
    assert remap(np.array([8, 1, 7, 6, 5, 0]), BTCV_TO_SYNAPSE).tolist() == [1, 7, 8, 5, 0, 0]


@settings(max_examples=50)
@given(
    values=st.lists(st.integers(-3, 300), min_size=1, max_size=30),
    table=st.dictionaries(st.integers(-3, 300), st.integers(0, 300), max_size=6),
    dtype=st.sampled_from([np.int16, np.int32, np.float32]),
)
def test_remap_maps_each_value_once(values: list[int], table: dict[int, int], dtype: type) -> None:
    label = np.array(values, dtype=dtype)
    before = label.copy()
    assert remap(label, table).tolist() == [table.get(value, value) for value in values]
    assert np.array_equal(label, before)


def test_remap_takes_no_more_memory_than_the_values_need() -> None:
    label = np.array([0, 255], dtype=np.uint8)
    assert remap(label, {255: 1}).dtype == np.uint8
    assert remap(label, {255: 300, -3: 7}).tolist() == [0, 300]
    assert remap(label, {1: 1}) is label


def test_remap_keeps_shape_and_fractions() -> None:
    label = np.array([[255.0, 0.0], [0.5, 255.0]])
    assert remap(label, {255: 1}).tolist() == [[1.0, 0.0], [0.5, 1.0]]


@settings(max_examples=25)
@given(name=st.sampled_from(list(SCHEMES)), seed=st.integers(0, 1000))
def test_indices_and_values_are_inverse(name: str, seed: int) -> None:
    scheme = get_scheme(name)
    index = np.random.default_rng(seed).integers(0, scheme.num_classes, (4, 3, 2)).astype(np.uint8)
    values = scheme.to_values(index)
    assert values.dtype == np.uint8
    for dtype in (np.uint8, np.int16, np.float32):
        back = scheme.to_index(values.astype(dtype))
        assert back.dtype == np.uint8
        assert np.array_equal(back, index)


def test_values_beyond_255_are_kept() -> None:
    scheme = custom_scheme({"low": 3, "high": 40000})
    assert scheme.dtype == np.uint16
    assert scheme.to_values(np.array([0, 1, 2])).tolist() == [0, 3, 40000]
    assert scheme.to_index(np.array([40000, 3, 0], dtype=np.uint16)).tolist() == [2, 1, 0]


def test_masks_of_classes_and_regions() -> None:
    masks = get_scheme("brats2021").masks(np.array([0, 1, 2, 4]))
    assert list(masks) == ["NCR", "ED", "ET", "TC", "WT"]  # the class ET and the region ET are one
    assert masks["ET"].tolist() == [False, False, False, True]
    assert masks["TC"].tolist() == [False, True, False, True]
    assert masks["WT"].tolist() == [False, True, True, True]


def test_stray_values_are_counted_and_refused() -> None:
    scheme = get_scheme("brats2021")
    label = np.array([0, 1, 3, 3, 7], dtype=np.uint8)
    assert scheme.stray_values(label) == {3: 2, 7: 1}
    with pytest.raises(LabelError, match=r"outside scheme brats2021.*3 \(2 voxels\), 7 \(1 voxel\).*4 ET"):
        scheme.to_index(label)
    with pytest.raises(LabelError, match="outside scheme"):
        scheme.to_index(np.array([-1, 0]))


@pytest.mark.parametrize(
    ("name", "stray", "words"),
    [
        ("binary", {255: 9}, "Set data.label_map: {255: 1}"),
        ("brats2021", {3: 9}, "If the files follow brats2015 or brats2023 or brats2024_gli, set data.scheme"),
        ("brats2023", {4: 9}, "brats2015 or brats2021 or brats2024_gli"),
        ("synapse", {13: 9}, "follow btcv"),
        ("acdc", {85: 5, 170: 5}, "Map them by data.label_map, such as {85: 0, 170: 0}"),
        ("acdc", {0.5: 5}, "nearest neighbor"),
    ],
)
def test_suggestions(name: str, stray: dict[float, int], words: str) -> None:
    assert words in suggest(get_scheme(name), stray, {0})


def test_a_further_value_of_a_binary_label_may_be_background_or_the_class() -> None:
    words = r"Set data\.label_map: \{255: 0\} if these voxels are background, \{255: 1\} if foreground"
    with pytest.raises(LabelError, match=words):
        get_scheme("binary").check_values(np.array([0, 1, 255]))
    with pytest.raises(LabelError, match=r"Set data\.label_map: \{255: 1\}$"):
        get_scheme("binary").check_values(np.array([0, 255]))


def test_unknown_scheme_lists_the_known() -> None:
    with pytest.raises(LabelError, match=r"unknown label scheme 'brats'.*brats2021.*synapse.*Did you mean brats20"):
        get_scheme("brats")


@pytest.mark.parametrize(
    ("classes", "regions"),
    [
        ({}, {}),
        ({"a": 0}, {}),
        ({"a": 1, "b": 1}, {}),
        ({"a": 65536}, {}),
        ({"a": 1}, {"r": [2]}),
        ({"a": 1}, {"r": []}),
        ({"a": 1, "b": 2}, {"a": [1, 2]}),
        ({f"c{value}": value for value in range(1, 257)}, {}),
    ],
)
def test_unusable_schemes_are_refused(classes: dict[str, int], regions: dict[str, list[int]]) -> None:
    with pytest.raises(LabelError):
        custom_scheme(classes, regions)


@pytest.mark.parametrize("factor", [1.0, 0.99997, 1.0000004])
def test_nearly_whole_values_are_whole(factor):
    stored = np.array([0, 1, 2, 3], np.float32) * np.float32(factor)
    whole = whole_values(stored)
    assert whole.dtype == np.int32
    assert whole.tolist() == [0, 1, 2, 3]
    assert SCHEMES["acdc"].to_index(stored).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("value", [0.5, 0.998, np.nan, np.inf])
def test_values_between_whole_numbers_are_refused(value):
    with pytest.raises(LabelError, match=r"label values are not whole numbers \(found 1 voxel with.*probability map"):
        whole_values(np.array([0, 1, value], np.float32), Path("a.nii"))


def test_a_label_of_huge_values_is_stray_and_not_another_number():
    values = whole_values(np.array([0, 2.0**32 + 1]))
    assert SCHEMES["binary"].stray_values(values) == {2.0**32 + 1: 1}


@pytest.mark.parametrize("count", [10, 4000])
def test_the_message_of_many_stray_values_is_short(count):
    label = np.arange(count, dtype=np.int16)
    with pytest.raises(LabelError) as caught:
        SCHEMES["binary"].check_values(label, "a.nii")
    message = str(caught.value)
    assert f"and {count - 8} more values" in message
    assert len(message) < 500
    assert ("is it the scan itself?" in message) == (count > 100)
