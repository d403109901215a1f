"""Preparation and its cache: what the network gets, and that nothing stale is ever served."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import h5py
import nibabel as nib
import numpy as np
import pytest

from segcct.config import DataSection, IntensitySection
from segcct.datasets import layouts
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import get_scheme
from segcct.errors import CacheError, DataError, GeometryError, LabelError
from segcct.files import file_memo
from segcct.files.file_memo import FileMemo, key_of
from segcct.images.content_digest import content_digest
from segcct.images.volume import Volume
from segcct.preparation import cached_cases as prepare
from segcct.preparation.cache import Cache
from segcct.preparation.cache_key import PREPARATION_VERSION, cache_key, fingerprint
from segcct.preparation.intensity import unit_scale
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import prepare_case
from segcct.runtime import background_value, other_background, region_of

ACDC = get_scheme("acdc")
BRATS = get_scheme("brats2021")
NONZERO = IntensitySection(rule="zscore_nonzero")
MASKED = IntensitySection(rule="zscore_mask", mask="mask.nii.gz")
CLIP = IntensitySection(rule="clip", low=-125, high=275)
NONE = IntensitySection(rule="none")


def preparation(**changes) -> Preparation:
    settings = {
        "orientation": "canonical",
        "crop": "none",
        "spacing_mm": None,
        "fit": "pad",
        "image_size": 32,
        "intensity": NONZERO,
        **changes,
    }
    return Preparation(**settings)


def loaded_case(image: np.ndarray, label: np.ndarray | None = None, *, mask=None, spacing=(1.0, 2.0, 5.0)):
    """A case in RAS by hand; `image` is (C, X, Y, Z)."""
    affine = np.diag([*(spacing or (1.0, 1.0, 1.0)), 1.0])
    names = [f"c{index}" for index in range(len(image))]
    case = Case("p1_a", "p1", {name: (Path(f"{name}.nii.gz"),) for name in names}, label=(Path("seg.nii.gz"),))
    grid = Volume(array=image[0], affine=affine, spacing_mm=spacing)
    return LoadedCase(case=case, image=image.astype(np.float32), grid=grid, label=label, mask=mask)


def to_unit(voxels, rule, *, mask=None, file=None) -> SimpleNamespace:
    """A whole channel by its scale."""
    scale = unit_scale(voxels, rule, mask=mask, file=file)
    unit, foreground = scale.unit(voxels, mask), scale.foreground(voxels, mask)
    return SimpleNamespace(unit=unit, mean=scale.mean, std=scale.std, foreground=foreground)


def brain(channels=2, shape=(20, 24, 6), seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Channels of a bright block in zeros, and a label in brats2021 values inside it."""
    rng = np.random.default_rng(seed)
    image = np.zeros((channels, *shape), dtype=np.float32)
    inside = (slice(None), slice(5, 15), slice(6, 20), slice(1, 5))
    image[inside] = rng.normal(300, 40, image[inside].shape)
    label = np.zeros(shape, dtype=np.uint8)
    label[8:11, 9:14, 2:4] = 2
    label[9:11, 10:12, 2:4] = 4
    return image, label


class TestIntensity:
    def test_zscore_nonzero_by_hand(self):
        voxels = np.zeros((10, 10, 20))
        voxels[2:8, 2:8, 5:15] = np.linspace(100, 200, 360).reshape(6, 6, 10)
        channel = to_unit(voxels, NONZERO)
        low, high = np.percentile(np.linspace(100, 200, 360), [0.05, 99.95])
        inside = np.clip((np.linspace(100, 200, 360) - low) / (high - low), 0, 1)
        np.testing.assert_allclose(channel.unit[2:8, 2:8, 5:15].ravel(), inside, atol=1e-6)
        assert channel.unit[0, 0, 0] == 0
        assert channel.mean == pytest.approx(inside.mean(), abs=1e-6)
        assert channel.std == pytest.approx(inside.std(), abs=1e-6)
        assert channel.foreground.sum() == 360

    @pytest.mark.parametrize("rule", [NONZERO, MASKED])
    def test_zscore_ignores_scale_and_offset_of_the_scanner(self, rule):
        image, _ = brain(1)
        mask = image[0] > 0
        one = to_unit(image[0], rule, mask=mask)
        other = to_unit(np.where(mask, image[0] * 7.5 + 1000, 0), rule, mask=mask)
        np.testing.assert_allclose(one.unit, other.unit, atol=1e-4)
        assert one.mean == pytest.approx(other.mean, abs=1e-4)

    def test_negative_values_keep_background_at_zero(self):
        image, _ = brain(1)
        inside = image[0] > 0
        centred = np.where(inside, image[0] - 300, 0)
        channel = to_unit(centred, NONZERO)
        assert not channel.unit[~inside].any()
        assert channel.unit[inside].mean() == pytest.approx(0.5, abs=0.1)

    def test_mask_decides_and_outside_becomes_zero(self):
        image, _ = brain(1)
        shifted = image[0] - 1000  # another constant around the brain
        mask = image[0] > 0
        channel = to_unit(shifted, MASKED, mask=mask)
        reference = to_unit(image[0], NONZERO)
        np.testing.assert_allclose(channel.unit, reference.unit, atol=1e-4)
        assert np.array_equal(channel.foreground, mask)

    def test_another_background_is_refused_with_the_remedy(self):
        image, _ = brain(1)
        with pytest.raises(DataError, match=r"flair.nii.gz: the background is not 0 \(found 81% .* -0.5.*zscore_mask"):
            to_unit(image[0] - 0.5, NONZERO, file=Path("flair.nii.gz"))

    def test_noise_around_the_body_is_not_taken_for_another_background(self):
        noise = np.random.default_rng(0).integers(1, 12, (20, 20, 10)).astype(np.float32)
        assert to_unit(noise, NONZERO).foreground.all()

    @pytest.mark.parametrize(
        ("slices", "ones", "expected"), [(20, 9, 0.0), (20, 10, None), (20, 11, 1.0), (21, 9, None)]
    )
    def test_the_background_is_what_most_voxels_of_the_faces_are(self, slices, ones, expected):
        """Of 0 and 1 on the four sides; end slices of other values count from 21 slices on."""
        voxels = np.zeros((30, 30, slices))
        voxels[..., :ones] = 1
        voxels[1:-1, 1:-1, [0, -1]] = np.arange(2, 1570).reshape(28, 28, 2)
        assert background_value(voxels) == expected

    @pytest.mark.parametrize(("side", "share"), [(50, 1 - 0.96**3), (60, None)])
    def test_a_background_of_less_than_a_tenth_is_none(self, side, share):
        voxels = np.pad(np.ones((side - 2,) * 3), 1, constant_values=-3)
        assert other_background(voxels) == (None if share is None else (-3, pytest.approx(share)))

    def test_a_mask_begins_above_one_half(self):
        assert region_of(np.array([0.0, 0.5, 0.51, 1.0])).tolist() == [False, False, True, True]

    def test_clip_is_the_same_for_every_case(self):
        channel = to_unit(np.array([-3000.0, -125, 75, 275, 3000]).reshape(1, 1, 5), CLIP)
        np.testing.assert_allclose(channel.unit.ravel(), [0, 0, 0.5, 1, 1])
        assert (channel.mean, channel.std) == (0.5, 0.25)
        assert channel.foreground.ravel().tolist() == [False, False, True, True, True]

    def test_none_keeps_the_values(self):
        voxels = np.random.default_rng(0).random((4, 5, 6)).astype(np.float16)
        channel = to_unit(voxels, NONE)
        assert np.array_equal(channel.unit, voxels.astype(np.float32))
        assert channel.mean == pytest.approx(voxels.astype(float).mean(), abs=1e-6)
        assert channel.std == pytest.approx(voxels.astype(float).std(), abs=1e-6)

    @pytest.mark.parametrize("rule", [NONZERO, MASKED, CLIP, NONE])
    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_constant_channel_divides_by_nothing(self, rule, value):
        voxels = np.full((3, 4, 5), value)
        channel = to_unit(voxels, rule, mask=np.ones(voxels.shape, bool))
        assert np.isfinite(channel.unit).all()
        assert 0 <= channel.unit.min() <= channel.unit.max() <= 1
        assert channel.std > 0
        if rule is not CLIP:
            assert np.unique((channel.unit - channel.mean) / channel.std).tolist() == [0]

    @pytest.mark.parametrize(
        ("voxels", "rule", "mask", "message"),
        [
            (np.array([0, 255.0]), NONE, None, "outside.*0 to 255.*rule clip"),
            (np.array([0, np.nan]), NONZERO, None, "not finite"),
            (np.array([0, np.inf]), CLIP, None, "not finite"),
            (np.float32([-3e38, 3e38]), NONZERO, None, "too far apart.*-3e.38 to 3e.38"),
            (np.array([0, 1.0]), MASKED, None, "no mask.*data.intensity.mask"),
            (np.array([0, 1.0]), MASKED, np.zeros((2, 1, 1), bool), "mask .* is empty"),
            (np.array([0, 1.0]), MASKED, np.ones((1, 1, 1), bool), "another shape"),
        ],
    )
    def test_what_cannot_be_normalised_is_named(self, voxels, rule, mask, message):
        with pytest.raises(DataError, match=rf"t1\.nii: .*{message}"):
            to_unit(voxels.reshape(2, 1, 1), rule, mask=mask, file=Path("t1.nii"))


class TestLoadedCase:
    def test_arrays_and_their_places(self):
        image, label = brain()
        case = prepare_case(loaded_case(image, label), preparation(), BRATS)
        assert case.image.shape == (6, 2, 24, 20)
        assert case.image.dtype == np.float16
        assert case.label.dtype == case.full_label.dtype == np.uint8
        # RAS stored, shown as S, P, L: rows and columns reversed
        for index in range(2):
            unit = to_unit(image[index], NONZERO).unit.astype(np.float16)
            assert np.array_equal(case.image[:, index], unit.transpose(2, 1, 0)[:, ::-1, ::-1])
        indices = np.select([label == 2, label == 4], [2, 3])
        assert np.array_equal(case.full_label, indices)
        assert np.array_equal(case.label, indices.transpose(2, 1, 0)[:, ::-1, ::-1])
        assert np.array_equal(case.grid.to_volume(np.ascontiguousarray(case.label)), case.full_label)
        assert case.present.tolist() == [[True, False, held, held] for held in (0, 0, 1, 1, 0, 0)]
        assert case.spacing_mm == (1.0, 2.0, 5.0)
        assert (case.case_id, case.patient) == ("p1_a", "p1")

    def test_standardised_foreground_has_mean_0_and_sd_1(self):
        image, label = brain()
        case = prepare_case(loaded_case(image, label), preparation(), BRATS)
        standard = case.standardize(case.image)
        assert standard.dtype == np.float32
        for index in range(2):
            inside = standard[:, index][case.image[:, index] > 0]
            assert abs(inside.mean()) < 0.02
            assert abs(inside.std() - 1) < 0.02
        np.testing.assert_array_equal(case.standardize(case.image[3]), standard[3])

    def test_prediction_sees_what_training_saw(self):
        """The label plays no part in the image, so a scan without one is prepared alike."""
        image, label = brain()
        for settings in (preparation(crop="foreground", fit="resize"), preparation(spacing_mm=1.5)):
            trained = prepare_case(loaded_case(image, label), settings, BRATS)
            predicted = prepare_case(loaded_case(image), settings, BRATS)
            assert np.array_equal(trained.image, predicted.image)
            assert trained.grid == predicted.grid
            assert predicted.label is predicted.full_label is predicted.present is None

    def test_crop_keeps_the_full_reference(self):
        image, label = brain()
        case = prepare_case(loaded_case(image, label), preparation(crop="foreground"), BRATS)
        assert case.image.shape == (6, 2, 22, 18)  # 14 x 10 pixels and margins of 4, 4 slices and margins of 1
        assert case.full_label.shape == label.shape

    def test_resampled_to_spacing(self):
        image, label = brain()
        case = prepare_case(loaded_case(image, label), preparation(spacing_mm=2.0), BRATS)
        assert case.image.shape == (6, 2, 24, 10)
        assert case.label.shape == (6, 24, 10)

    def test_errors_name_the_file(self):
        image, label = brain()
        with pytest.raises(LabelError, match=r"seg.nii.gz: label values outside scheme acdc.*4 \(8 voxels\)"):
            prepare_case(loaded_case(image, label), preparation(), ACDC)
        with pytest.raises(GeometryError, match=r"c0.nii.gz: no pixel spacing"):
            prepare_case(loaded_case(image, spacing=None), preparation(spacing_mm=1.0), BRATS)
        image[1] -= 7
        with pytest.raises(DataError, match=r"c1.nii.gz: the background"):
            prepare_case(loaded_case(image), preparation(), BRATS)

    def test_pickles_in_memory(self):
        case = prepare_case(loaded_case(*brain()), preparation(), BRATS)
        again = pickle.loads(pickle.dumps(case))
        assert np.array_equal(again.image, case.image)
        assert again.grid == case.grid


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Two cases as .npy files, a reader for them, and a count of how often it reads."""
    reads: list[str] = []
    cases = []
    for name in ("a", "b"):
        image, label = brain(seed=ord(name))
        files = []
        for index, array in enumerate([image[0], image[1], label]):
            files.append(tmp_path / f"{name}_{index}.npy")
            np.save(files[-1], array)
        cases.append(Case(name, name, {"t1": (files[0],), "t2": (files[1],)}, label=(files[2],)))

    def read_case(case, data, scheme, *, with_label=True):
        reads.append(case.id)
        image = np.stack([np.load(paths[0]) for paths in case.channels.values()])
        made = loaded_case(image, np.load(case.label[0]))
        return dataclasses.replace(made, case=case)

    monkeypatch.setattr("segcct.datasets.layouts.read_case", read_case)
    data = DataSection(
        layout="folder",
        root=tmp_path,
        channels={"t1": "*_0.npy", "t2": "*_1.npy"},
        scheme="brats2021",
        cache=tmp_path / "cache",
    )
    return cases, data, reads


def with_(data: DataSection, **changes) -> DataSection:
    return data.model_copy(update=changes)


class TestCache:
    def test_second_time_is_read_from_the_cache(self, dataset):
        cases, data, reads = dataset
        steps = []
        first = prepare.prepare_cases(cases, data, BRATS, progress=lambda done, total: steps.append((done, total)))
        second = prepare.prepare_cases(cases, data, BRATS, progress=lambda done, total: steps.append((done, total)))
        assert reads == ["a", "b"]
        assert steps == [(1, 2), (2, 2)] * 2
        in_memory = prepare_case(loaded_case(*brain(seed=ord("a"))), Preparation.of(data), BRATS)
        for case in (first[0], second[0]):
            assert isinstance(case.image, np.memmap)
            assert not case.image.flags.writeable
            for name in ("image", "label", "full_label", "present", "mean", "std"):
                assert np.array_equal(getattr(case, name), getattr(in_memory, name)), name
            assert case.grid == in_memory.grid
            assert case.spacing_mm == (1.0, 2.0, 5.0)
        assert [case.case_id for case in second] == ["a", "b"]

    def test_digests_are_remembered_where_a_case_fails(self, dataset, tmp_path, monkeypatch):
        monkeypatch.setattr(file_memo, "SETTLED_NS", 0)
        cases, data, _ = dataset
        np.save(cases[1].label[0], np.full((20, 24, 6), 9, dtype=np.uint8))
        memo = FileMemo(tmp_path / "remembered" / "memo")
        with pytest.raises(LabelError, match="outside scheme"):
            prepare.prepare_cases(cases, data, BRATS, memo=memo)
        remembered = json.loads(memo.path.read_text(encoding="utf-8"))["files"]
        assert remembered.keys() == {str(file) for case in cases for file in case.files()}

    def test_a_file_that_cannot_be_read_costs_its_case_alone(self, dataset):
        cases, data, reads = dataset
        cases[0].label[0].unlink()
        with pytest.raises(DataError, match=r"a_2\.npy: cannot be read"):
            prepare.prepare_cases(cases, data, BRATS)
        assert reads == ["b"]

    def test_what_was_prepared_long_ago_is_used_before_it_is_swept(self, dataset):
        cases, data, reads = dataset
        prepare.prepare_cases(cases, data, BRATS)
        for entry in data.cache.iterdir():
            os.utime(entry, (time.time() - 31 * 86400,) * 2)
        prepare.prepare_cases(cases[:1], data, BRATS)
        assert reads == ["a", "b"]
        assert len(list(data.cache.iterdir())) == 1
        prepare.prepare_cases(cases, data, BRATS)
        assert reads == ["a", "b", "b"]

    def test_changed_bytes_under_the_same_size_and_date_are_seen(self, dataset):
        cases, data, reads = dataset
        before = prepare.prepare_cases(cases, data, BRATS)
        file = cases[0].channels["t2"][0]
        dates = file.stat()
        content = bytearray(file.read_bytes())
        array = np.load(file)
        array[7, 8, 3] += 50
        np.save(file, array)
        os.utime(file, ns=(dates.st_atime_ns, dates.st_mtime_ns))
        assert file.stat().st_size == len(content)
        assert file.stat().st_mtime_ns == dates.st_mtime_ns
        after = prepare.prepare_cases(cases, data, BRATS)
        assert reads == ["a", "b", "a"]
        assert not np.array_equal(before[0].image, after[0].image)

    @pytest.mark.parametrize(
        "change",
        [
            {"orientation": "native"},
            {"crop": "foreground"},
            {"spacing_mm": 1.5},
            {"fit": "resize"},
            {"image_size": 64},
            {"intensity": IntensitySection(rule="clip", low=0, high=500)},
            {"label_map": {3: 4}},
            {"channels": {"t1": "another", "t2": "*_1.npy"}},
            {"label": "another"},
            {"layout": "nnunet"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_changed_setting_has_another_key(self, dataset, change):
        cases, data, _ = dataset
        assert cache_key(cases[0], data, BRATS) != cache_key(cases[0], with_(data, **change), BRATS)

    def test_key_follows_scheme_channels_label_and_version(self, dataset, monkeypatch):
        cases, data, _ = dataset
        case = cases[0]
        key = cache_key(case, data, BRATS)
        assert key == cache_key(case, with_(data, workers=3, fold=1, foreground_fraction=0.1), BRATS)
        swapped = dataclasses.replace(case, channels=dict(reversed(case.channels.items())))
        monkeypatch.setattr("segcct.preparation.cache_key.PREPARATION_VERSION", PREPARATION_VERSION + 1)
        newer = cache_key(case, data, BRATS)
        monkeypatch.undo()
        others = [
            cache_key(swapped, data, BRATS),
            cache_key(dataclasses.replace(case, label=None), data, BRATS),
            cache_key(dataclasses.replace(case, label=None, mask=case.label), data, BRATS),
            cache_key(case, data, get_scheme("brats2023")),
            newer,
        ]
        assert len({key, *others}) == 6

    @pytest.mark.parametrize("damage", ["truncated", "missing", "another shape", "not json", "half json"])
    def test_damaged_entry_is_rebuilt(self, dataset, damage, capsys):
        cases, data, reads = dataset
        whole = prepare.prepare_cases(cases[:1], data, BRATS)[0]
        image = np.array(whole.image)
        folder = data.cache / cache_key(cases[0], data, BRATS)
        if damage == "truncated":
            os.truncate(folder / "image.npy", 1000)
        elif damage == "missing":
            (folder / "label.npy").unlink()
        elif damage == "another shape":
            np.save(folder / "image.npy", image[:2])
        else:
            text = (folder / "entry.json").read_text(encoding="utf-8")
            (folder / "entry.json").write_text("[]" if damage == "not json" else text[:40])
        again = prepare.prepare_cases(cases[:1], data, BRATS)[0]
        assert reads == ["a", "a"]
        assert capsys.readouterr().err.count("is damaged and is made again") == 1
        assert np.array_equal(again.image, image)
        prepare.prepare_cases(cases[:1], data, BRATS)
        assert reads == ["a", "a"]
        assert sorted(path.name for path in data.cache.iterdir()) == [folder.name], "something was left behind"

    def test_travels_to_workers_as_a_path(self, dataset):
        cases, data, _ = dataset
        case = prepare.prepare_cases(cases, data, BRATS)[0]
        sent = pickle.dumps(case)
        assert len(sent) < 4000 < case.image.nbytes
        assert isinstance(pickle.loads(sent).image, np.memmap)
        assert np.array_equal(pickle.loads(sent).image, case.image)

    def test_arrays_are_opened_once(self, dataset, monkeypatch):
        cases, data, _ = dataset
        prepared = prepare.prepare_cases(cases, data, BRATS)
        opened, usual = [], np.load
        monkeypatch.setattr(np, "load", lambda file, **how: opened.append(file) or usual(file, **how))
        for _ in range(20):
            [case.image[0].sum() + case.label[0].sum() for case in prepared]
        assert len(opened) == 2 * len(prepared)

    def test_open_files_do_not_pile_up(self, tmp_path):
        """The maps of thousands of cases."""
        names = [f"array{number}" for number in range(300)]
        arrays = Cache(tmp_path).put("key", dict.fromkeys(names, np.zeros(3)), {})
        handles = Path("/proc/self/fd")
        if not handles.is_dir():
            pytest.skip("open files are counted through /proc")
        before = len(list(handles.iterdir()))
        for _ in range(3):
            assert not any(arrays[name].any() for name in names)
        assert len(list(handles.iterdir())) <= before + 128

    @pytest.mark.slow
    def test_several_processes_give_the_same(self, tmp_path):
        rng = np.random.default_rng(0)
        for name in "abc":
            label = np.zeros((6, 5, 4), dtype=np.uint8)
            label[1:3, 2:4, 1:3] = 1
            for file, array in (("image", rng.random((6, 5, 4), dtype=np.float32)), ("label", label)):
                (tmp_path / "root" / name).mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "root" / name / f"{file}.nii.gz")
        data = DataSection(
            layout="folder",
            root=tmp_path / "root",
            channels={"t1": "image.nii.gz"},
            label="label.nii.gz",
            scheme="acdc",
            intensity=NONE,
            cache=tmp_path / "alone",
        )
        cases = layouts.find_cases(data)
        alone = prepare.prepare_cases(cases, data, ACDC)
        several = with_(data, workers=2, cache=tmp_path / "several")
        shared = prepare.prepare_cases(cases, several, ACDC)
        assert [case.case_id for case in shared] == ["a", "b", "c"]
        for one, other in zip(alone, shared, strict=True):
            assert np.array_equal(one.image, other.image)
            assert np.array_equal(one.full_label, other.full_label)
        error = LabelError("what", file="seg.nii", found="9", expected="1", remedy="Map it")
        assert str(pickle.loads(pickle.dumps(error))) == str(error), "errors lose their words between processes"

    def test_a_process_that_dies_while_cases_are_handed_out_is_an_error_that_says_so(self, dataset, monkeypatch):
        cases, data, _ = dataset
        pool = Mock(**{"submit.side_effect": BrokenProcessPool})
        monkeypatch.setattr(prepare, "_pool", lambda *_: nullcontext(pool))
        with pytest.raises(DataError, match=r"was ended from outside .*Use fewer processes than --data\.workers 2"):
            prepare.prepare_cases(cases, with_(data, workers=2), BRATS)
        pool.shutdown.assert_called_once()

    def test_writers_at_the_same_time_leave_one_whole_entry(self, tmp_path):
        cache = Cache(tmp_path / "cache")
        array = np.arange(20000).reshape(100, 200)

        def write(_):
            stored = cache.put("key", {"image": array}, {"fact": 1})
            return bool(np.array_equal(stored["image"], array))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(write, range(24)))
        arrays, facts = cache.get("key")
        assert np.array_equal(arrays["image"], array)
        assert facts == {"fact": 1}
        assert [path.name for path in cache.folder.iterdir()] == ["key"]

    def test_leftovers_of_killed_writers_are_swept(self, tmp_path):
        for name, age in ((".a.1.tmp", 0), (".b.2.tmp", 2e5), (".c.3.damaged", 2e5), ("entry", 2e5)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "image.npy").write_bytes(b"half")
            os.utime(tmp_path / name, (time.time() - age,) * 2)
        Cache(tmp_path).sweep()
        assert sorted(path.name for path in tmp_path.iterdir()) == [".a.1.tmp", "entry"]

    def test_leftovers_of_another_user_are_left_to_them(self, tmp_path, monkeypatch):
        def refused(self, missing_ok=False):
            raise PermissionError(13, "Permission denied", str(self))

        (tmp_path / ".a.lock").touch()
        os.utime(tmp_path / ".a.lock", (time.time() - 2e5,) * 2)
        monkeypatch.setattr(Path, "unlink", refused)
        Cache(tmp_path).sweep()
        assert (tmp_path / ".a.lock").exists()

    def test_entries_unused_for_a_month_are_swept(self, tmp_path):
        cache = Cache(tmp_path)
        for key in ("asked_for", "forgotten"):
            cache.put(key, {"image": np.zeros(3)}, {})
            os.utime(tmp_path / key, (time.time() - 31 * 86400,) * 2)
        assert cache.get("asked_for") is not None
        cache.sweep()
        assert [path.name for path in tmp_path.iterdir()] == ["asked_for"]

    def test_failed_write_leaves_nothing(self, tmp_path, monkeypatch):
        cache = Cache(tmp_path / "cache")

        def full_disk(*_args, **_kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", full_disk)
        with pytest.raises(DataError, match=r"No space left.*B free; expected room for 24 bytes.*data.cache"):
            cache.put("key", {"image": np.zeros(3)}, {})
        assert list(cache.folder.iterdir()) == []
        assert cache.get("key") is None

    def test_a_cache_that_cannot_be_written_to_ends_with_the_first_case(self, dataset, monkeypatch):
        cases, data, reads = dataset

        def full_disk(*_args, **_kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", full_disk)
        with pytest.raises(CacheError, match="the cache of prepared cases cannot be written"):
            prepare.prepare_cases(cases, data, BRATS)
        assert reads == ["a"]

    def test_entry_that_vanished_is_named(self, dataset):
        cases, data, _ = dataset
        case = prepare.prepare_cases(cases, data, BRATS)[0]
        (data.cache / cache_key(cases[0], data, BRATS) / "image.npy").unlink()
        with pytest.raises(DataError, match="missing from the cache"):
            _ = case.image


class TestDigest:
    def test_fingerprint_is_of_contents(self, dataset):
        cases, _, _ = dataset
        before = fingerprint(cases)
        assert fingerprint(list(reversed(cases))) == before
        assert fingerprint(cases[:1]) != before
        file = cases[1].label[0]
        label = np.load(file)
        label[0, 0, 0] = 1
        np.save(file, label)
        assert fingerprint(cases) != before

    def test_folder_and_header_with_separate_voxels_count_whole(self, tmp_path):
        (tmp_path / "dicom").mkdir()
        (tmp_path / "dicom" / "1.dcm").write_bytes(b"1")
        (tmp_path / "scan.mhd").write_text("NDims = 3\nElementDataFile = scan.raw\n")
        (tmp_path / "scan.raw").write_bytes(b"1")
        (tmp_path / "other.nhdr").write_text("NRRD0004\ndata file: scan.raw\n\n")
        (tmp_path / "pair.hdr").write_bytes(b"h")
        (tmp_path / "pair.img").write_bytes(b"1")
        sources = [tmp_path / name for name in ("dicom", "scan.mhd", "other.nhdr", "pair.hdr")]
        before = [content_digest([source]) for source in sources]
        (tmp_path / "dicom" / "1.dcm").write_bytes(b"2")
        (tmp_path / "scan.raw").write_bytes(b"2")
        (tmp_path / "pair.img").write_bytes(b"2")
        after = [content_digest([source]) for source in sources]
        assert all(one != other for one, other in zip(before, after, strict=True))

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(DataError, match=r"gone\.nii: cannot be read"):
            content_digest([tmp_path / "gone.nii"])

    def test_key_is_stable_and_ordered(self):
        assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
        assert key_of(["a", "b"]) != key_of(["b", "a"])
        assert len(key_of()) == 40

    def test_one_file_in_two_roles_is_read_once(self, dataset, monkeypatch):
        cases, data, _ = dataset
        read = []
        monkeypatch.setattr(
            "segcct.preparation.cache_key.content_digest", lambda paths, memo: read.append(paths) or "digest"
        )
        file = cases[0].label
        cache_key(dataclasses.replace(cases[0], channels={"red": file, "green": file}), data, BRATS)
        assert sorted(read) == [(), file]

    def test_preparation_is_plain(self):
        assert json.loads(json.dumps(preparation().to_json()))["intensity"]["rule"] == "zscore_nonzero"


class TestRealScans:
    def test_acdc_slices(self, shared_data, tmp_path):
        """A patient restacked from slices and one in a volume file, through layout and cache."""
        source = shared_data / "acdc_h5"
        restacked = min(path.name.split("_slice_")[0] for path in source.rglob("patient*_slice_*.h5"))
        slices = sorted(source.rglob(f"{restacked}_slice_*.h5"))
        volume = min(source.rglob("patient*_frame??.h5"))
        for file in [*slices, volume]:
            (tmp_path / file.name).symlink_to(file)
        data = DataSection(
            layout="slices",
            root=tmp_path,
            channels={"cine": "image"},
            label="label",
            scheme="acdc",
            intensity=NONE,
            fit="resize",
            image_size=128,
            cache=tmp_path / "cache",
        )
        cases = prepare.prepare_cases(layouts.find_cases(data), data, ACDC)
        assert [case.case_id for case in cases] == sorted([restacked, volume.stem])
        for case in cases:
            assert case.image.shape == (case.full_label.shape[2], 1, 128, 128)
            assert case.spacing_mm is None
            assert 0 <= case.image.min() < case.image.max() <= 1
            standard = case.standardize(case.image)
            assert abs(standard.mean()) < 0.02
            assert abs(standard.std() - 1) < 0.05  # resampling smooths
            one_hot = np.stack([case.label == index for index in range(4)], axis=1).astype(np.float32)
            back = case.grid.to_volume(case.grid.restore_labels(one_hot))
            for index in range(1, 4):
                overlap = ((back == index) & (case.full_label == index)).sum()
                assert 2 * overlap / ((back == index).sum() + (case.full_label == index).sum()) > 0.88
        with h5py.File(slices[0]) as stored:  # shown as stored: rows y, columns x
            number = int(slices[0].stem.rsplit("_", 1)[1])
            position = sorted(int(file.stem.rsplit("_", 1)[1]) for file in slices).index(number)
            assert np.array_equal(
                case_slice(next(case for case in cases if case.case_id == restacked), position), stored["label"][()]
            )

    def test_brats2015_needs_its_mask(self, shared_data, tmp_path):
        (tmp_path / "root").mkdir()
        folder = shared_data / "brats2015_flair_t1c" / "brats_2013_pat0003_1"
        if not folder.is_dir():
            pytest.skip(f"no {folder}")
        (tmp_path / "root" / folder.name).symlink_to(folder)
        data = DataSection(
            layout="folder",
            root=tmp_path / "root",
            channels={"flair": "Flair_*.nii.gz", "t1c": "T1c_*.nii.gz"},
            label="OTMultiClass.nii.gz",
            scheme="brats2015",
            crop="foreground",
            intensity=IntensitySection(rule="zscore_mask", mask="brainmask.nii.gz"),
        )
        scheme = get_scheme("brats2015")
        read = layouts.read_case(layouts.find_cases(data)[0], data, scheme)
        with pytest.raises(DataError, match=r"Flair.*the background is not 0.*zscore_mask"):
            prepare_case(read, preparation(), scheme)
        case = prepare_case(read, Preparation.of(data), scheme)
        depth, channels, rows, columns = case.image.shape
        assert channels == 2
        assert depth < 155
        assert rows < 240
        assert columns < 240
        outside = ~case.grid.to_slices(read.mask)
        assert not case.image[:, 0][outside].any()
        standard = case.standardize(case.image)[:, 1][~outside]
        assert abs(standard.mean()) < 0.01
        assert abs(standard.std() - 1) < 0.01
        values = scheme.to_values(case.grid.to_volume(np.ascontiguousarray(case.label)))
        kept = case.grid.to_volume(np.ones(case.grid.slice_shape, bool))
        assert np.array_equal(values[kept], read.label[kept])


def case_slice(case, position: int) -> np.ndarray:
    """Slice of the full reference as it is shown, (H, W)."""
    return case.grid.to_slices(np.asarray(case.full_label))[position]


def test_those_who_want_one_entry_at_the_same_time_get_it_from_whoever_came_first(dataset):
    """Trainings that start together on one cache: every case is prepared once, and all get the same arrays."""
    cases, data, reads = dataset
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: prepare.prepare_cases(cases, data, BRATS), range(4)))
    assert sorted(reads) == ["a", "b"]
    for result in results[1:]:
        np.testing.assert_array_equal(result[0].image, results[0][0].image)
    assert not list(data.cache.glob(".*"))


def test_a_cache_is_its_owners_alone(dataset):
    cases, data, _ = dataset
    prepare.prepare_cases(cases, data, BRATS)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (data.cache, *data.cache.iterdir())} == {0o700}
