"""Splits: by patient, deterministic, refused when they leak."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcct.config import CaseSplitSection, DataSection
from segcct.datasets.case import Case
from segcct.datasets.split_drawing import make_splits
from segcct.datasets.split_record import Splits
from segcct.errors import SplitError


def case(case_id: str, patient: str | None = None, *, split: str | None = None, label: bool = True) -> Case:
    image = (Path(f"{case_id}.nii.gz"),)
    return Case(case_id, patient or case_id, {"mr": image}, image if label else None, split=split)


def acdc(patients: int, split: str | None = None, first: int = 1) -> list[Case]:
    """Two frames per patient, as ACDC has them."""
    return [
        case(f"patient{number:03d}_frame{frame:02d}", f"patient{number:03d}", split=split)
        for number in range(first, first + patients)
        for frame in (1, 2)
    ]


def section(fold: int = 0, **split: object) -> DataSection:
    return DataSection(
        layout="folder", root=Path(), channels={"mr": "*"}, label="*", scheme="acdc", fold=fold,
        split=CaseSplitSection.model_validate(split),
    )  # fmt: skip


def listed(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def patients_of(ids: tuple[str, ...]) -> set[str]:
    return {case_id.split("_")[0] for case_id in ids}


def test_fractions_by_hand() -> None:
    splits = make_splits(acdc(20), section(kind="fractions", val=0.15, test=0.25))
    assert [len(patients_of(split)) for split in (splits.train, splits.val, splits.test)] == [12, 3, 5]
    assert [len(split) for split in (splits.train, splits.val, splits.test)] == [24, 6, 10]


@pytest.mark.parametrize(("patients", "fraction", "tested"), [(25, 0.1, 3), (14, 0.1, 1), (16, 0.1, 2), (9, 0.01, 1)])
def test_a_fraction_is_rounded_half_up_to_at_least_one_patient(patients: int, fraction: float, tested: int) -> None:
    splits = make_splits(acdc(patients), section(test=fraction))
    assert len(patients_of(splits.test)) == tested


@settings(max_examples=40)
@given(
    frames=st.lists(st.integers(1, 4), min_size=10, max_size=30),
    kind=st.sampled_from(["fractions", "kfold"]),
    seed=st.integers(0, 1000),
    test=st.sampled_from([0.0, 0.1, 0.3]),
    shuffle=st.randoms(use_true_random=False),
)
def test_draw_parts_patients_whatever_the_order(
    frames: list[int], kind: str, seed: int, test: float, shuffle: random.Random
) -> None:
    cases = [case(f"p{i:02d}_{frame}", f"p{i:02d}") for i, count in enumerate(frames) for frame in range(count)]
    data = section(kind=kind, seed=seed, test=test, fold=int(kind == "kfold"))
    splits = make_splits(cases, data)
    patients = [patients_of(ids) for ids in (splits.train, splits.val, splits.test)]
    assert sum(map(len, patients)) == len(set().union(*patients)) == len(frames)
    assert sorted(splits.train + splits.val + splits.test) == sorted(c.id for c in cases)
    assert patients[0]
    assert patients[1]
    assert bool(patients[2]) == (test > 0)
    shuffle.shuffle(cases)
    assert make_splits(cases, data) == splits


def test_seed_changes_the_draw_and_a_new_patient_hardly_does() -> None:
    data = section(kind="fractions", val=0.2, test=0.2)
    first = make_splits(acdc(30), data)
    assert make_splits(acdc(30), section(kind="fractions", val=0.2, test=0.2, seed=1)).test != first.test
    grown = make_splits(acdc(31), data)
    assert len(patients_of(first.test) - patients_of(grown.test)) <= 1


def test_the_draw_does_not_depend_on_the_unicode_spelling_of_names() -> None:
    drawn = []
    for form in ("NFC", "NFD"):
        names = [unicodedata.normalize(form, f"Müller{number}") for number in range(9)]
        splits = make_splits([case(name, name) for name in names], section(test=0.2))
        drawn.append([sorted(unicodedata.normalize("NFC", name) for name in ids) for _, ids in splits.items()])
    assert drawn[0] == drawn[1]


def test_folds_cover_everyone_once_and_share_the_test_split() -> None:
    all_folds = [make_splits(acdc(22), section(fold=k, kind="kfold", folds=4, test=0.1)) for k in range(4)]
    assert len({splits.test for splits in all_folds}) == 1
    validated = [case_id for splits in all_folds for case_id in splits.val]
    everyone = {c.id for c in acdc(22)}
    assert sorted(validated) == sorted(everyone - set(all_folds[0].test))
    assert all_folds[2].fold == 2


def test_the_datasets_own_test_split_is_kept() -> None:
    cases = acdc(10, split="train") + acdc(5, split="test", first=101)
    for kind in ("fractions", "kfold"):
        splits = make_splits(cases, section(kind=kind, test=0.3))
        assert patients_of(splits.test) == {f"patient{n}" for n in range(101, 106)}
        assert len(patients_of(splits.train) | patients_of(splits.val)) == 10


def test_the_datasets_own_validation_split_is_kept_by_fractions() -> None:
    cases = acdc(10, split="train") + acdc(2, split="val", first=51)
    splits = make_splits(cases, section(kind="fractions", test=0.2))
    assert patients_of(splits.val) == {"patient051", "patient052"}


def test_the_datasets_own_validation_patients_are_in_one_fold_each_under_kfold() -> None:
    cases = acdc(10, split="train") + acdc(2, split="val", first=51)
    folds = [make_splits(cases, section(fold=k, kind="kfold", folds=4, test=0)) for k in range(4)]
    assert [len(patients_of(splits.val)) for splits in folds] == [3] * 4
    assert len(set().union(*(patients_of(splits.val) for splits in folds))) == 12


@pytest.mark.parametrize("kind", ["fractions", "crossval"])
def test_a_fraction_is_of_the_patients_that_are_drawn_from(kind: str) -> None:
    cases = acdc(20) + acdc(30, split="test", first=101)
    splits = make_splits(cases, section(kind=kind, val=0.1, test=0.2))
    assert len(patients_of(splits.val)) == 2
    cases = acdc(20) + acdc(30, split="val", first=101)
    assert len(patients_of(make_splits(cases, section(kind="fractions", test=0.1)).test)) == 2


def test_a_patient_in_both_of_the_datasets_splits_is_refused() -> None:
    cases = [*acdc(10, split="train"), case("patient003_again", "patient003", split="test")]
    with pytest.raises(SplitError, match="patient patient003 is in two splits, train and test"):
        make_splits(cases, section(kind="kfold", folds=9))


def test_cases_without_label_take_no_part() -> None:
    cases = [*acdc(10), case("patient099_frame01", "patient099", label=False)]
    splits = make_splits(cases, section(kind="fractions"))
    assert splits.split_of("patient099_frame01") is None
    with pytest.raises(SplitError, match="no case has a label"):
        make_splits(cases[-1:], section(kind="fractions"))


@pytest.mark.parametrize(
    ("patients", "split", "message"),
    [
        (2, {"kind": "fractions"}, "train split is empty"),
        (1, {"kind": "fractions", "test": 0.0}, "train split is empty"),
        (8, {"kind": "fractions", "val": 0.0}, "val split is empty"),
        (5, {"kind": "kfold", "folds": 5, "test": 0.2}, "too few patients for 5 folds .found 4 patients"),
    ],
)
def test_too_few_patients(patients: int, split: dict, message: str) -> None:
    with pytest.raises(SplitError, match=message) as caught:
        make_splits(acdc(patients), section(**split))
    assert caught.value.remedy


def test_an_empty_split_of_cases_that_need_no_label_speaks_of_none() -> None:
    with pytest.raises(SplitError, match=r"train split is empty \(found 1 patient, 0 cases in train"):
        make_splits([case("a", label=False)], section(test=0.0), needs_labels=False)


def test_three_patients_and_one() -> None:
    splits = make_splits([case(f"pat{n}") for n in range(4)], section(kind="fractions", val=0.25, test=0.0))
    assert [len(splits.train), len(splits.val), len(splits.test)] == [3, 1, 0]


def test_lists_of_ids_paths_and_file_names(tmp_path: Path) -> None:
    train = listed(
        tmp_path / "train.list",
        ["# training", "patient001_frame01", "", "patient001_frame02.h5", "training/patient002/patient002_frame01.nii",
         "C:\\scans\\patient002_frame02.nii", "patient003  # both frames"],
    )  # fmt: skip
    val = listed(tmp_path / "val.list", ["patient004"])
    test = listed(tmp_path / "test.list", ["patient005_frame02"])
    splits = make_splits(acdc(6), section(kind="lists", train_list=train, val_list=val, test_list=test))
    assert patients_of(splits.train) == {"patient001", "patient002", "patient003"}
    assert len(splits.train) == 6
    assert splits.val == ("patient004_frame01", "patient004_frame02")
    assert splits.test == ("patient005_frame02",)
    assert splits.seed is None


@pytest.mark.parametrize(("on_disk", "in_lists"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_is_listed_in_any_spelling_of_unicode(
    tmp_path: Path, on_disk: Literal["NFC", "NFD"], in_lists: Literal["NFC", "NFD"]
) -> None:
    names = [unicodedata.normalize(on_disk, name) for name in ("Müller_1", "Müller_2", "Ångström", "Núñez", "Zoë")]
    cases = [case(name, name.partition("_")[0]) for name in names]
    lines = [unicodedata.normalize(in_lists, line) for line in ("Müller", "a/Ångström/t1.nii.gz", "x/Núñez.nii.gz")]
    train, val = listed(tmp_path / "train.list", lines), listed(tmp_path / "val.list", [names[4]])
    splits = make_splits(cases, section(kind="lists", train_list=train, val_list=val))
    assert (splits.train, splits.val) == (tuple(sorted(names[:4])), (names[4],))


def test_an_image_that_is_called_a_slice_is_listed_by_its_file_name(tmp_path: Path) -> None:
    cases = [case(f"p{patient}_slice_{number}", f"p{patient}") for patient in (1, 2, 3) for number in (0, 1)]
    train = listed(tmp_path / "train.list", ["images/p1_slice_0.nii.gz", "p1_slice_1.nii.gz", "p2"])
    val = listed(tmp_path / "val.list", ["p3_slice_1"])
    splits = make_splits(cases, section(kind="lists", train_list=train, val_list=val))
    assert splits.train == ("p1_slice_0", "p1_slice_1", "p2_slice_0", "p2_slice_1")
    assert splits.val == ("p3_slice_1",)


def test_a_folder_on_the_way_names_its_case(tmp_path: Path) -> None:
    train = listed(tmp_path / "train.list", ["data/pat1/flair.nii.gz", "data/pat2/flair.nii.gz"])
    val = listed(tmp_path / "val.list", ["pat3"])
    splits = make_splits([case(f"pat{n}") for n in (1, 2, 3)], section(kind="lists", train_list=train, val_list=val))
    assert splits.train == ("pat1", "pat2")


def test_an_unknown_file_in_a_patients_folder_is_not_the_patient(tmp_path: Path) -> None:
    train = listed(tmp_path / "train.list", ["patient001/patient001_frame99.nii.gz"])
    with pytest.raises(SplitError, match="without a case"):
        make_splits(acdc(6), section(kind="lists", train_list=train))


def test_without_a_validation_list_a_fold_of_the_training_list_validates(tmp_path: Path) -> None:
    train = listed(tmp_path / "train.list", [c.id for c in acdc(10)])
    test = listed(tmp_path / "test.list", [c.id for c in acdc(2, first=11)])
    folds = [
        make_splits(acdc(14), section(fold=k, kind="lists", folds=5, train_list=train, test_list=test))
        for k in range(5)
    ]
    assert sorted(case_id for splits in folds for case_id in splits.val) == [c.id for c in acdc(10)]
    assert {splits.test for splits in folds} == {tuple(c.id for c in acdc(2, first=11))}
    assert all(splits.split_of("patient013_frame01") is None for splits in folds)
    assert folds[1].fold == 1
    assert folds[1].seed == 0


def _slice_case(case_id: str) -> Case:
    files = tuple(Path(f"{case_id}_slice_{k}.h5") for k in range(3))
    return Case(case_id, case_id.split("_")[0], {"mr": files}, files)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["patient001_frame01_slice_0", "patient001_frame01_slice_1"], r"list of slices.*2 lines.*list of cases"),
        (["patient001_frame01", "case0005_slice012.npz"], r"list of slices, not of cases"),
        (["patient001_frame09"], r"1 of 1 line without a case.*found patient001_frame09.*such as patient001_frame0"),
        (["patient001_frame01", "patient001_frame01.h5"], "listed more than once"),
        (["patient001", "patient001_frame02"], "listed more than once .found patient001_frame02"),
        (["# nothing"], "the list is empty"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, lines: list[str], message: str) -> None:
    cases = [_slice_case(c.id) for c in acdc(6)]
    train = listed(tmp_path / "train.list", lines)
    with pytest.raises(SplitError, match=message) as caught:
        make_splits(cases, section(kind="lists", train_list=train))
    assert str(train) in str(caught.value)


def test_a_missing_or_binary_list(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"none\.list: the list file does not exist.*data\.split\.train_list"):
        make_splits(acdc(6), section(kind="lists", train_list=tmp_path / "none.list"))
    (tmp_path / "bad.list").write_bytes(b"\x1f\x8b\xff\xfe")
    (tmp_path / "endless.list").symlink_to("/dev/zero")
    for name, found in (("bad.list", "byte 1 is not UTF-8"), ("endless.list", "a folder or a device")):
        with pytest.raises(SplitError, match=f"cannot be read as text .found .*{found}"):
            make_splits(acdc(6), section(kind="lists", train_list=tmp_path / name))


def test_a_patient_in_two_lists_is_refused(tmp_path: Path) -> None:
    train = listed(tmp_path / "train.list", ["patient001", "patient002_frame01"])
    val = listed(tmp_path / "val.list", ["patient002_frame02"])
    with pytest.raises(SplitError) as caught:
        make_splits(acdc(6), section(kind="lists", train_list=train, val_list=val))
    assert caught.value.what == "patient patient002 is in two splits, train and val"
    assert caught.value.found == "case patient002_frame01 in train, case patient002_frame02 in val"


def test_crossval_tests_every_patient_once_and_never_selects_on_it() -> None:
    cases = acdc(20) + acdc(2, split="test", first=31)
    folds = [make_splits(cases, section(fold=fold, kind="crossval", folds=4, val=3)) for fold in range(4)]
    tested = [case for each in folds for case in each.test]
    assert sorted(tested) == sorted(case.id for case in cases if case.split != "test")
    for each in folds:
        assert len({each.patients[case] for case in each.val}) == 3
        assert len({each.patients[case] for case in each.test}) == 5
        assert not {case.id for case in cases if case.split == "test"} & {*each.train, *each.val, *each.test}


def test_a_number_of_patients_may_stand_in_place_of_a_fraction() -> None:
    splits = make_splits(acdc(20), section(val=2, test=4))
    assert [len({splits.patients[case] for case in split}) for split in (splits.val, splits.test)] == [2, 4]


def test_lists_may_not_contradict_the_dataset(tmp_path: Path) -> None:
    cases = acdc(6, split="train") + acdc(2, split="test", first=11)
    train = listed(tmp_path / "train.list", ["patient001", "patient002", "patient003", "patient004", "patient011"])
    with pytest.raises(
        SplitError,
        match=r"2 cases listed for train, but the dataset itself keeps them for test \(found patient011_frame01",
    ):
        make_splits(cases, section(kind="lists", train_list=train))
    listed(train, [f"patient{n:03d}" for n in range(1, 7)])
    splits = make_splits(cases, section(kind="lists", train_list=train, folds=3))
    assert patients_of(splits.test) == {"patient011", "patient012"}
    listed(train, [f"patient{n:03d}" for n in range(1, 6)])
    held_back = listed(tmp_path / "test.list", ["patient006"])  # Synapse's twelve test cases come from Training/
    splits = make_splits(cases, section(kind="lists", train_list=train, test_list=held_back, folds=3))
    assert patients_of(splits.test) == {"patient006"}


def test_saved_and_loaded(tmp_path: Path) -> None:
    splits = make_splits(acdc(12), section(kind="kfold", fold=1, seed=5))
    path = tmp_path / "splits.json"
    splits.save(path)
    assert Splits.load(path) == splits
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert (stored["kind"], stored["seed"], stored["fold"], stored["folds"]) == ("kfold", 5, 1, 5)
    patient, ids = next(iter(stored["train"].items()))
    assert ids == [f"{patient}_frame01", f"{patient}_frame02"]
    assert [file.name for file in tmp_path.iterdir()] == ["splits.json"]


def test_a_damaged_or_leaking_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    with pytest.raises(SplitError, match="no such split file"):
        Splits.load(path)
    for text in ("", "[]", "{}", '{"train": 3, "val": {}, "test": {}}'):
        path.write_text(text)
        with pytest.raises(SplitError, match=r"splits\.json: not a split file"):
            Splits.load(path)
    head = {"kind": "given", "seed": None, "fold": None, "folds": None}
    path.write_text(json.dumps(head | {"train": {"p1": ["a"]}, "val": {"p2": ["b"]}, "test": {"p1": ["c"]}}))
    with pytest.raises(SplitError, match=r"splits\.json: patient p1 is in two splits, train and test"):
        Splits.load(path)


def test_select_returns_the_cases_and_names_what_is_gone() -> None:
    cases = acdc(4)
    splits = Splits(("patient001_frame01",), ("patient002_frame01",), ("patient003_frame01",))
    assert [c.id for c in splits.select(cases, "val")] == ["patient002_frame01"]
    with pytest.raises(SplitError, match="1 of the 1 test cases are not in the dataset"):
        splits.select(cases[:4], "test")
    with pytest.raises(SplitError, match=r"unknown split 'dev' .expected train, val, test"):
        splits.select(cases, "dev")


def test_splits_hold_for_a_dataset_whose_names_are_spelled_differently_in_unicode() -> None:
    decomposed, composed = (unicodedata.normalize(form, "Müller") for form in ("NFD", "NFC"))
    splits = Splits((f"{decomposed}_1",), ("b",), patients={f"{decomposed}_1": decomposed})
    found = case(f"{composed}_1", composed)
    assert splits.select([found], "train") == [found]
    assert (splits.split_of(found.id), splits.patient_of(found.id)) == ("train", decomposed)
    assert splits.trained_on({found.id: composed, f"{composed}_2": composed, "b": "b"}) == [found.id, f"{composed}_2"]
    with pytest.raises(SplitError, match="is in two splits, train and val"):
        Splits((found.id,), (f"{decomposed}_2",), patients={found.id: composed, f"{decomposed}_2": decomposed})


def test_a_case_twice_in_one_split() -> None:
    with pytest.raises(SplitError, match=r"a case is listed twice in train .found a"):
        Splits(("a", "a"), ("b",))


def test_real_acdc_lists(shared_data: Path) -> None:
    folder = shared_data / "acdc_h5"
    if not folder.is_dir():
        pytest.skip("no acdc_h5 among the real images")
    names = [
        *(folder / "train.list").read_text(encoding="utf-8").split(),
        *(folder / "val.list").read_text(encoding="utf-8").split(),
    ]
    cases = [case(name, name.split("_")[0]) for name in names]
    lists = {"train_list": folder / "train.list", "test_list": folder / "val.list"}
    splits = make_splits(cases, section(kind="lists", **lists))
    assert [len(patients_of(ids)) for ids in (splits.train, splits.val, splits.test)] == [56, 14, 10]
    assert [len(ids) for ids in (splits.train, splits.val, splits.test)] == [112, 28, 20]
    lists["train_list"] = folder / "train_slices.list"
    with pytest.raises(SplitError, match=r"list of slices, not of cases .found 1312 lines"):
        make_splits(cases, section(kind="lists", **lists))


def test_unlabeled_cases_are_kept_and_count_as_trained_on(tmp_path):
    splits = Splits(("a1",), ("b1",), patients={"a1": "a", "b1": "b", "c1": "c"}, unlabeled=("c1",))
    splits.save(tmp_path / "splits.json")
    assert Splits.load(tmp_path / "splits.json") == splits
    assert splits.split_of("c1") is None
    assert splits.trained_on({"c2": "c", "b1": "b", "a1": "a"}) == ["c2", "a1"]
