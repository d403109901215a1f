"""Labeled images: every layout, copies kept together, splits, the cache, and messages that name the file."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import shutil
import struct
import tarfile
import unicodedata
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from segcct.case_runner import Done
from segcct.config import ClassificationConfig, ImageAugmentSection, ImagesSection, settings
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, DataError, EvaluationError, SplitError
from segcct.files import file_memo
from segcct.files.json_file import write_json
from segcct.model_card import Architecture
from segcct.predictions.predictions_index import INDEX
from segcct.tasks.classification import decoding as decoding_module
from segcct.tasks.classification import image_files as files
from segcct.tasks.classification.batches import TrainingImages, image_loader
from segcct.tasks.classification.class_evaluation import evaluate_classes
from segcct.tasks.classification.class_split import describe_class_splits, left_out, make_class_splits
from segcct.tasks.classification.decoding import decode, fitted
from segcct.tasks.classification.image_augmentation import ImageAugmenter
from segcct.tasks.classification.image_layout import ClassLabels, card_section, get_image_layout, section_of
from segcct.tasks.classification.image_prediction import find_images, predict_images
from segcct.tasks.classification.image_source import ImageSource, find_source
from segcct.tasks.classification.labeled_images import LabeledImages, groups_of, load_labeled_images
from segcct.tasks.classification.normalization import Normalization
from segcct.tasks.classification.probability_table import TABLE, write_table
from tests.support.drawn_images import CLASSES, drawn, write_cifar, write_folder, write_idx, write_tar


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def section(root: Path, **more: object) -> ImagesSection:
    return ImagesSection.model_validate({"root": root, "image_size": 16, "cache": root.parent / "cache", **more})


def load(root: Path, **more: object) -> LabeledImages:
    return load_labeled_images(section(root, **more))


def labels_of(root: Path) -> ClassLabels:
    return get_image_layout("classes").find(section(root))


# prediction


def test_a_folder_that_cannot_be_read_costs_only_the_images_in_it(tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / "data")
    scandir, shut = os.scandir, tmp_path / "data" / CLASSES[0]

    def refused(path: str | Path) -> object:
        if Path(path) == shut:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    built = Architecture(name="", in_channels=3, num_classes=2, image_size=16)
    facts = {"task": "classification", "weights_sha256": "", "selected_on": {}, "data_fingerprint": ""}
    card = SimpleNamespace(data=card_section(section(tmp_path), [0, 0, 0], [1, 1, 1]), architecture=built, **facts)
    classifier = SimpleNamespace(card=card, classes=("a", "b"), probabilities=lambda images: np.eye(len(images), 2))
    request = find_images(classifier, tmp_path / "data")
    assert "1 file or folder could not be read" in capsys.readouterr().err
    with pytest.raises(DataError, match=rf"is left out:\n  - {shut}: the folder cannot be read"):
        predict_images(classifier, request, tmp_path / "out", model=None)
    assert len((tmp_path / "out" / TABLE).read_text().splitlines()) == 1 + len(request.ids) > 1
    with pytest.raises(DataError, match="the folder cannot be read"):
        labels_of(tmp_path / "data")


# layouts


def test_a_folder_per_class(tmp_path):
    found = load(write_folder(tmp_path / "data", 3))
    assert found.classes == CLASSES
    assert found.ids[:2] == ("circle/00.png", "circle/01.png")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.pixels.shape == (9, 16, 16, 3)
    np.testing.assert_array_equal(found.pixels[4], drawn("plain", 1))


@pytest.mark.parametrize("prefix", ["", "train", "pictures"])
def test_other_files_in_class_folders_are_counted(tmp_path, prefix):
    root = write_folder(tmp_path / "data", 4, prefix=prefix)
    (root / prefix / "readme.txt").touch()
    for name in ("plain/1.jfif", "more/2.dcm"):
        (root / prefix / name).parent.mkdir(exist_ok=True)
        (root / prefix / name).touch()
    found = load(root)
    assert found.classes == CLASSES
    described = describe_class_splits(found, make_class_splits(found, section(root)))
    first = Path(prefix, "more", "2.dcm").as_posix()
    assert described.endswith(f"(2 other files not read, such as {first})")


@pytest.mark.parametrize("name", ["data.tar", "data.tar.gz", "data.tgz"])
def test_an_archive_reads_as_its_folder(tmp_path, name):
    folder = write_folder(tmp_path / "data", 3)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "circle" / "._00.png").write_bytes(b"x")
    (folder / "readme.txt").write_text("x")
    plain, packed = load(folder), load(write_tar(tmp_path / name, folder))
    assert packed.classes == plain.classes
    assert packed.ids == tuple(f"pictures/{each}" for each in plain.ids)
    np.testing.assert_array_equal(packed.pixels, plain.pixels)
    np.testing.assert_array_equal(packed.labels, plain.labels)


def test_split_folders_by_any_usual_spelling(tmp_path):
    root = tmp_path / "data"
    for prefix in ("Training", "valid", "test"):
        write_folder(root, 2, prefix=prefix)
    assert set(load(root).splits) == {"train", "val", "test"}
    assert load(root).classes == CLASSES


def test_linked_class_folders_are_read(tmp_path):
    root, elsewhere = write_folder(tmp_path / "data", 2), tmp_path / "elsewhere"
    shutil.move(root / "plain", elsewhere)
    (root / "plain").symlink_to(elsewhere)
    found = load(root)
    assert found.classes == CLASSES
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert find_source(section(root)).ids == found.ids


def test_broken_links_are_named(tmp_path):
    root = write_folder(tmp_path / "data", 2)
    for name in ("circle/01.png", "plain/00.png"):
        (root / name).unlink()
        (root / name).symlink_to(tmp_path / "not fetched")
    with pytest.raises(DataError, match=r"(?s)2 images .*circle/01\.png: no such .*plain/00\.png: no such file"):
        load(root)
    assert labels_of(root).labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_lone_train_folder_defines_no_splits(tmp_path):
    assert set(load(write_folder(tmp_path / "data", 2, prefix="train")).splits) == {None}


@pytest.mark.parametrize("odd", ["test/1.png", "extra/foo/1.png", "loose.png"])
@pytest.mark.parametrize("shell", ["", "shell"])
def test_split_folders_with_an_image_outside_them_are_refused(tmp_path, odd, shell):
    """Test images without a class, as competitions hand them out; a folder next to the splits."""
    root = tmp_path / "data" / shell
    for split in ("train", "valid"):
        write_folder(root, 2, prefix=split)
    (root / odd).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn("plain", 9)).save(root / odd)
    if shell and odd == "loose.png":  # nothing says that the folder around it is none of a class
        (root / odd).rename(root / "train" / odd)
        odd = f"train/{odd}"
    with pytest.raises(DataError, match=rf"{odd}: 1 image .* of .*train, val .*/train/CLASS/image\.png") as caught:
        load(tmp_path / "data")
    assert "segcct predict" in str(caught.value)


def test_a_class_may_be_called_train(tmp_path):
    root = write_folder(tmp_path / "data", 2)
    (root / "plain").rename(root / "train")
    assert load(root).classes == ("circle", "stripes", "train")


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files(tmp_path, zipped):
    found = load(write_idx(tmp_path / "data", zipped=zipped), layout="idx", channels="gray", class_names=list(CLASSES))
    assert found.classes == CLASSES
    assert found.pixels.shape == (39, 16, 16, 1)
    train = [row for row, split in enumerate(found.splits) if split == "train"]
    assert len(train) == 30
    assert found.labels[train].tolist() == [number % 3 for number in range(30)]
    again = load(write_idx(tmp_path / "other", zipped=zipped), layout="idx", channels="gray", image_size=14)
    assert again.classes == ("0", "1", "2")
    row = again.ids.index("test/000004")
    np.testing.assert_array_equal(again.pixels[row, ..., 0], drawn("plain", 1004, 14, color=False))


@pytest.mark.parametrize(("hundred", "classes"), [(False, 10), (True, 100)])
def test_cifar_binaries(tmp_path, hundred, classes):
    found = load(write_cifar(tmp_path / "data", 2, hundred=hundred), layout="cifar", image_size=32)
    assert found.classes == tuple(f"kind{number}" for number in range(classes))
    row = found.ids.index("test/00003" if hundred else "test_batch/00003")
    assert (found.labels[row], found.splits[row]) == (3, "test")
    expected = drawn("circle", 503, 32)
    expected[0, 0] = 3
    np.testing.assert_array_equal(found.pixels[row], expected)


def test_cifar_inside_an_archive(tmp_path):
    folder = write_cifar(tmp_path / "data", 1)
    packed = load(write_tar(tmp_path / "cifar-10-binary.tar.gz", folder), layout="cifar")
    assert packed.ids == load(folder, layout="cifar").ids


def test_real_images_in_an_archive(shared_data):
    from segcct.tasks.classification.class_folders import find

    labels = find(ImagesSection(root=shared_data / "cifar10" / "train.tar.gz"))
    assert len(labels.ids) == 50_000
    assert np.bincount(labels.labels).tolist() == [5000] * 10


# one image


def bytes_of(image: Image.Image, tmp_path: Path, name: str = "a.png", **more: object) -> bytes:
    image.save(tmp_path / name, **more)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("L", (8, 6)), ("RGB", (8, 6, 3)), ("RGBA", (8, 6, 3)), ("P", (8, 6, 3)), ("1", (8, 6)), ("LA", (8, 6))],
)
def test_modes(tmp_path, mode, shape):
    assert decode(bytes_of(Image.new(mode, (6, 8), 1), tmp_path), "a.png").shape == shape


def test_the_orientation_tag_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    content = bytes_of(Image.fromarray(np.zeros((4, 8), np.uint8)), tmp_path, "a.jpg", exif=exif)
    assert decode(content, "a.jpg").shape == (8, 4)


def test_sixteen_bits_are_refused(tmp_path):
    content = bytes_of(Image.fromarray(np.full((4, 4), 3000, np.uint16)), tmp_path)
    with pytest.raises(DataError, match=r"a\.png: an image of more than 8 bits"):
        decode(content, "a.png")


def png_of(width: int, height: int) -> bytes:
    """The head of a gray PNG of any size, and next to nothing behind it."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT" + bytes(10))
    framed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("side", "words"), [(9_500, "the image is too large .*9500 x 9500"), (60_000, "cannot be read .*exceeds limit")]
)
def test_a_huge_image_is_named(tmp_path, side, words):
    root = write_folder(tmp_path / "data", 2)
    (root / "plain" / "01.png").write_bytes(png_of(side, side))
    with pytest.raises(DataError, match=rf"1 image cannot be used.*\n.*plain/01\.png: {words}"):
        load(root)


@pytest.mark.parametrize(
    "error", [KeyError(700), struct.error("unpack"), IndexError(), MemoryError(), RecursionError()]
)
def test_any_exception_on_a_damaged_image_is_a_data_error(tmp_path, monkeypatch, error):
    content = bytes_of(Image.new("L", (6, 8)), tmp_path)

    def fails(image):
        raise error

    monkeypatch.setattr(decoding_module.ImageOps, "exif_transpose", fails)
    with pytest.raises(DataError, match=rf"a\.png: cannot be read as an image .*{type(error).__name__}"):
        decode(content, "a.png")


def test_padding_keeps_the_proportions():
    tall = np.full((20, 10), 200, np.uint8)
    padded = fitted(tall, channels="gray", size=20, fit="pad")[..., 0]
    assert padded[:, :4].max() == 0
    assert padded[:, 6:14].min() == 200
    assert fitted(tall, channels="gray", size=20, fit="resize").min() == 200
    line = fitted(np.full((1, 1000), 200, np.uint8), channels="gray", size=20, fit="pad")[..., 0]
    assert (line.max(axis=1) > 0).sum() == 1
    assert line.max() == 200


# messages


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


DAMAGE = {
    "missing": (lambda root: shutil.rmtree(root), {}, ["no such dataset"]),
    "empty": (lambda root: [shutil.rmtree(each) for each in root.iterdir()], {}, ["no image", "CLASS/image.png"]),
    "loose": (lambda root: shutil.copy(root / "plain" / "00.png", root / "loose.png"), {}, ["loose.png", "outside"]),
    "one class": (lambda root: [shutil.rmtree(root / kind) for kind in CLASSES[:2]], {}, ["only one class", "stripes"]),
    "truncated": (lambda root: broken(root / "plain" / "01.png"), {}, ["1 image", "plain/01.png"]),
    "no image": (lambda root: (root / "plain" / "01.png").write_text("<html>"), {}, ["01.png: cannot be read"]),
    "empty file": (lambda root: (root / "plain" / "01.png").write_bytes(b""), {}, ["01.png"]),
    "other layout": (lambda root: None, {"layout": "idx"}, ["IDX files are missing"]),
    "no binaries": (lambda root: None, {"layout": "cifar"}, ["no CIFAR binaries", "data_batch_1.bin"]),
    "pickles": (lambda root: (root / "data_batch_1").write_bytes(b""), {"layout": "cifar"}, ["pickles are not opened"]),
    "no patient": (lambda root: None, {"patient": r"(p\d+)_"}, ["data.patient", "circle/00.png"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_messages_name_what_is_wrong(tmp_path, cache, name):
    root = write_folder(tmp_path / "data", 2)
    damage, more, words = DAMAGE[name]
    damage(root)
    with pytest.raises(DataError) as caught:
        load(root, **more)
    for word in words:
        assert word in str(caught.value)
    assert name == "no patient" or not list(cache.glob("*"))


def test_an_archive_in_the_folder_is_named(tmp_path):
    folder = write_folder(tmp_path / "images", 2)
    (tmp_path / "data").mkdir()
    write_tar(tmp_path / "data" / "train.tar.gz", folder)
    with pytest.raises(DataError, match=r"data\.root to the archive, .*train\.tar\.gz"):
        load(tmp_path / "data")


@pytest.mark.parametrize("keep", [0, 50, 700])
def test_a_truncated_archive(tmp_path, keep):
    archive = write_tar(tmp_path / "a.tar.gz", write_folder(tmp_path / "data", 6))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.tar\.gz"):
        load(archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_an_archive_of_links_is_refused(tmp_path, kind):
    """As tar writes them of linked files, unless told otherwise; otherwise these images would be missing silently."""
    archive = write_tar(tmp_path / "a.tar", write_folder(tmp_path / "data", 2))
    with tarfile.open(archive, "a") as stream:
        link = tarfile.TarInfo("pictures/plain/07.png")
        link.type, link.linkname = kind, "pictures/plain/00.png"
        stream.addfile(link)
    with pytest.raises(DataError, match=r"a\.tar/pictures/plain/07\.png: .* \(found a link to pictures/plain/00\.png"):
        load(archive)


IDX_DAMAGE = {
    "truncated": ("train-images-idx3-ubyte", lambda b: b[:-5], ["train-images", "damaged", "30 x 14 x 14"]),
    "no idx": ("train-labels-idx1-ubyte", lambda b: b"<!doctype html>", ["train-labels", "not an IDX file"]),
    "other count": (
        "train-labels-idx1-ubyte",
        lambda b: bytes([0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2]),
        ["differ in number", "train-images"],
    ),
}


@pytest.mark.parametrize("name", IDX_DAMAGE)
def test_damaged_idx_files(tmp_path, name):
    root = write_idx(tmp_path / "data", zipped=False)
    file, damage, words = IDX_DAMAGE[name]
    (root / file).write_bytes(damage((root / file).read_bytes()))
    with pytest.raises(DataError) as caught:
        load(root, layout="idx", channels="gray")
    for word in words:
        assert word in str(caught.value)


def test_idx_gzip_damage_and_wrong_names(tmp_path):
    root = write_idx(tmp_path / "data")
    with pytest.raises(DataError, match="2 names"):
        load(root, layout="idx", channels="gray", class_names=["a", "b"])
    broken(root / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz: is damaged"):
        load(root, layout="idx", channels="gray")


def test_damaged_cifar_files(tmp_path):
    root = write_cifar(tmp_path / "data", 1)
    whole = (root / "data_batch_1.bin").read_bytes()
    (root / "data_batch_1.bin").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"data_batch_1\.bin: is damaged .*multiple of 3073"):
        load(root, layout="cifar")
    (root / "data_batch_1.bin").write_bytes(bytes([77]) + whole[1:])
    with pytest.raises(DataError, match="found 77; expected 0 to 9"):
        load(root, layout="cifar")


def test_missing_and_doubled_cifar_files(tmp_path):
    root = write_cifar(tmp_path / "data", 1)
    (root / "data_batch_3.bin").rename(tmp_path / "data_batch_3.bin")
    with pytest.raises(DataError, match=r"training batches are missing \(found no data_batch_3\.bin"):
        load(root, layout="cifar")
    (root / "copy").mkdir()
    for folder in (root, root / "copy"):
        shutil.copy(tmp_path / "data_batch_3.bin", folder)
    with pytest.raises(DataError, match=r"two files are named data_batch_3\.bin"):
        load(root, layout="cifar")


# cache


def test_decoded_once_and_again_when_anything_changes(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "data", 2)
    first = load(root)
    decodings = []
    real = ImageSource.decoded
    monkeypatch.setattr(ImageSource, "decoded", lambda *a, **k: decodings.append(1) or real(*a, **k))
    assert load(root).stored.folder == first.stored.folder
    assert not decodings
    load(root, channels="gray")
    load(root, image_size=8)
    load(root, fit="pad")
    assert len(decodings) == 3
    Image.fromarray(drawn("plain", 77)).save(root / "plain" / "00.png")
    assert load(root).fingerprint != first.fingerprint
    shutil.move(root / "circle" / "00.png", root / "plain" / "77.png")
    assert load(root).labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert len(decodings) == 5


def test_files_that_did_not_change_are_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(file_memo, "SETTLED_NS", 0)
    root = write_folder(tmp_path / "data", 2)
    hashed = []
    usual = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append(a) or usual(*a))
    first = load(root)
    assert len(hashed) == 6
    assert load(root).fingerprint == first.fingerprint
    assert len(hashed) == 6
    Image.fromarray(drawn("plain", 77)).save(root / "plain" / "00.png")
    assert load(root).fingerprint != first.fingerprint
    assert len(hashed) == 7


def test_classes_and_groups_of_unreadable_images(tmp_path, cache):
    root = write_folder(tmp_path / "data", 2)
    shutil.copy(root / "plain" / "00.png", root / "plain" / "copy.png")
    for name in ("circle/00.png", "stripes/01.png"):
        (root / name).write_bytes(b"")
    labels = labels_of(root)
    assert labels.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert len(set(groups_of(section(root), labels, labels.ids, {}))) == 6
    assert not cache.exists()
    with pytest.raises(DataError, match="2 images"):
        load(root)


# splits


def test_holdout_by_class_whatever_the_order(tmp_path):
    found = load(write_folder(tmp_path / "data", 10))
    splits = make_class_splits(found, section(tmp_path, split={"val": 0.2, "test": 6}))
    assert [len(ids) for ids in (splits.train, splits.val, splits.test)] == [18, 6, 6]
    for ids in (splits.val, splits.test):
        assert sorted(name.split("/")[0] for name in ids) == sorted(CLASSES * 2)
    other = make_class_splits(found, section(tmp_path, split={"val": 0.2, "test": 6, "seed": 1}))
    assert other.test != splits.test
    assert make_class_splits(found, section(tmp_path, split={"val": 0.2, "test": 6})) == splits


def test_a_fraction_of_few_images_is_at_least_one(tmp_path):
    splits = make_class_splits(load(write_folder(tmp_path / "data", 2)), section(tmp_path, split={"val": 0.05}))
    assert [len(ids) for ids in (splits.train, splits.val, splits.test)] == [4, 1, 1]


def test_crossval_tests_every_image_once_and_never_selects_on_it(tmp_path):
    found = load(write_folder(tmp_path / "data", 10))
    folds = [
        make_class_splits(found, section(tmp_path, split={"kind": "crossval", "val": 0.1}, fold=fold))
        for fold in range(5)
    ]
    assert sorted(name for each in folds for name in each.test) == sorted(found.ids)
    for each in folds:
        assert len(each.test) == 6
        assert len(each.val) == 3
        assert not set(each.val) & set(each.test)
        assert len(each.train) == 21


def test_kfold_and_lists_without_a_validation_list_validate_on_a_fold(tmp_path):
    found = load(write_folder(tmp_path / "data", 10))
    rest = {"kind": "lists", "train_list": write_list(tmp_path / "train.txt", list(found.ids))}
    for split, tested in (({"kind": "kfold", "test": 6}, 6), (rest, 0)):
        folds = [make_class_splits(found, section(tmp_path, split=split, fold=fold)) for fold in range(5)]
        assert len({each.test for each in folds}) == 1
        assert len(folds[0].test) == tested
        selected = sorted(name for each in folds for name in each.val)
        assert selected == sorted(set(found.ids) - set(folds[0].test))
        assert [(each.fold, each.folds, each.seed) for each in folds] == [(fold, 5, 0) for fold in range(5)]
        for each in folds:
            assert {name.split("/")[0] for name in each.val} >= set(CLASSES[: len(each.val)])


def test_copies_stay_together(tmp_path):
    root = write_folder(tmp_path / "data", 6)
    for kind in CLASSES:
        for number in range(6):
            shutil.copy(root / kind / f"{number:02d}.png", root / kind / f"copy{number}.png")
    # The same pixels in another format or color mode are a copy too.
    Image.open(root / "plain" / "00.png").save(root / "plain" / "again.bmp")
    gray = Image.fromarray(drawn("plain", 50, color=False))
    gray.save(root / "plain" / "gray.png")
    gray.convert("RGB").save(root / "plain" / "gray_as_rgb.png")
    gray.convert("P").save(root / "plain" / "gray_by_palette.png")
    found = load(root)
    group = dict(zip(found.ids, found.groups, strict=True))
    assert group["plain/gray.png"] == group["plain/gray_as_rgb.png"] == group["plain/gray_by_palette.png"]
    assert group["plain/again.bmp"] == group["plain/00.png"] == group["plain/copy0.png"]
    for seed in range(4):
        splits = make_class_splits(found, section(tmp_path, split={"seed": seed, "val": 0.3, "test": 0.3}))
        split_of = {name: split for split in ("train", "val", "test") for name in getattr(splits, split)}
        assert set(split_of) == set(found.ids)
        for name, lead in group.items():
            assert split_of[name] == split_of[lead]
    assert "21 are copies" in describe_class_splits(found, splits)


def test_copies_of_test_images_leave_training(tmp_path):
    root = tmp_path / "data"
    write_folder(root, 4, prefix="train")
    (root / "test" / "plain").mkdir(parents=True)
    (root / "test" / "circle").mkdir(parents=True)
    shutil.copy(root / "train" / "plain" / "02.png", root / "test" / "plain" / "x.png")
    Image.fromarray(drawn("circle", 99)).save(root / "test" / "circle" / "y.png")
    found = load(root)
    splits = make_class_splits(found, section(tmp_path, split={"val": 3}))
    assert splits.test == ("test/circle/y.png", "test/plain/x.png")
    assert left_out(found) == ["train/plain/02.png"]
    assert "train/plain/02.png" not in {*splits.train, *splits.val}
    assert "1 left out" in describe_class_splits(found, splits)
    assert "test as the dataset itself has it" in describe_class_splits(found, splits)


def test_patients_stay_together_across_copies(tmp_path):
    root = tmp_path / "data"
    for kind in CLASSES:
        (root / kind).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(drawn(kind, number)).save(
                root / kind / f"p{number // 3 + 10 * CLASSES.index(kind)}_{number}.png"
            )
    shutil.copy(root / "plain" / "p10_0.png", root / "plain" / "p13_copy.png")  # joins two patients
    found = load(root, patient=r"(p\d+)_")
    group = dict(zip(found.ids, found.groups, strict=True))
    assert group["plain/p10_1.png"] == group["plain/p13_11.png"]
    assert group["plain/p11_3.png"] != group["plain/p10_1.png"]
    assert len(set(found.groups)) == 11


def write_list(path: Path, names: list[str]) -> str:
    path.write_text("# images\n" + "\n".join(names) + "\n")
    return str(path)


def test_lists(tmp_path):
    found = load(write_folder(tmp_path / "data", 4))
    train = [name for name in found.ids if not name.endswith("03.png")]
    lists = {
        "train_list": write_list(tmp_path / "train.txt", train),
        "val_list": write_list(tmp_path / "val.txt", ["circle/03.png", "plain/03.png"]),
    }
    splits = make_class_splits(found, section(tmp_path, split={"kind": "lists", **lists}))
    assert splits.train == tuple(train)
    assert splits.val == ("circle/03.png", "plain/03.png")
    write_list(tmp_path / "val.txt", ["circle/33.png"])
    with pytest.raises(SplitError, match=r"val\.txt.*circle/33\.png"):
        make_class_splits(found, section(tmp_path, split={"kind": "lists", **lists}))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", ["test/plain/00.png", "train/plain/copy.png"])
def test_lists_may_not_train_or_select_on_the_datasets_own_test_split(tmp_path, split, name):
    root = write_folder(tmp_path / "data", 4, prefix="train")
    (root / "test" / "plain").mkdir(parents=True)
    Image.fromarray(drawn("plain", 40)).save(root / "test" / "plain" / "00.png")
    shutil.copy(root / "test" / "plain" / "00.png", root / "train" / "plain" / "copy.png")
    found = load(root)
    own = [each for each in found.ids if each.startswith("train") and "copy" not in each]
    lists = {"train": [each for each in own if "03" not in each], "val": [each for each in own if "03" in each]}
    lists[split] = [*lists[split], name]
    files = {f"{each}_list": write_list(tmp_path / f"{each}.txt", names) for each, names in lists.items()}
    with pytest.raises(SplitError, match=rf"{split}\.txt: 1 image .* for {split}, .* for test \(found {name}\)"):
        make_class_splits(found, section(tmp_path, split={"kind": "lists", **files}))


def test_lists_with_copies_in_two_splits(tmp_path):
    root = write_folder(tmp_path / "data", 3)
    shutil.copy(root / "plain" / "00.png", root / "plain" / "copy.png")
    found = load(root)
    rest = [name for name in found.ids if "copy" not in name and "02" not in name]
    lists = {
        "train_list": write_list(tmp_path / "train.txt", rest),
        "val_list": write_list(tmp_path / "val.txt", ["plain/copy.png", "circle/02.png"]),
    }
    with pytest.raises(SplitError, match=r"copies, .*plain/00\.png in train, case plain/copy\.png in val"):
        make_class_splits(found, section(tmp_path, split={"kind": "lists", **lists}))


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"val": 0}, "val split is empty"),
        ({"val": 30, "test": 0}, "train split is empty"),
        ({"val": 1, "test": 28}, "classes have no training image"),
        ({"kind": "crossval", "folds": 31}, r"too few independent images for 31 folds \(found 30 independent images"),
        ({"kind": "kfold", "test": 6, "folds": 25}, r"too few independent images for 25 folds \(found 24 "),
    ],
)
def test_splits_that_cannot_train(tmp_path, split, words):
    found = load(write_folder(tmp_path / "data", 10))
    with pytest.raises(SplitError, match=words):
        make_class_splits(found, section(tmp_path, split=split))


def test_splits_survive_their_file(tmp_path):
    root = write_folder(tmp_path / "data", 6)
    shutil.copy(root / "plain" / "00.png", root / "plain" / "copy.png")
    splits = make_class_splits(load(root), section(tmp_path))
    splits.save(tmp_path / "splits.json")
    again = Splits.load(tmp_path / "splits.json")
    assert (again.train, again.val, again.test) == (splits.train, splits.val, splits.test)
    assert again.patients["plain/copy.png"] == "plain/00.png"


# batches


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> LabeledImages:
    return load(write_folder(tmp_path_factory.mktemp("batches") / "data", 12))


EVERYTHING = {"shift_px": 2, "crop_area": 0.7, "randaugment": "rand-m9-mstd0.5-inc1", "erase": 0.5}
HALF = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def dataset(images: LabeledImages, *, seed: int = 0, per_epoch: int | None = None, **augment: object) -> TrainingImages:
    changes = ImageAugmentSection.model_validate(augment)
    rows = np.arange(len(images.ids))
    return TrainingImages(images, rows, ImageAugmenter(changes, 16, HALF), seed=seed, per_epoch=per_epoch)


def epoch_of(shown: TrainingImages, epoch: int, *, workers: int = 0, batch: int = 8) -> torch.Tensor:
    loader = image_loader(shown, batch_size=batch, workers=workers)
    loader.sampler.set_epoch(epoch)
    return torch.cat([each["image"] for each in loader])


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(images, workers):
    shown = dataset(images, **EVERYTHING)
    assert torch.equal(epoch_of(shown, 3), epoch_of(shown, 3, workers=workers))


def test_an_image_of_an_epoch_does_not_depend_on_its_batch(images):
    shown = dataset(images, **EVERYTHING)
    assert torch.equal(epoch_of(shown, 1, batch=8), epoch_of(shown, 1, batch=10))


def test_epochs_and_seeds_differ(images):
    shown = dataset(images, **EVERYTHING)
    assert not torch.equal(epoch_of(shown, 0), epoch_of(shown, 1))
    assert not torch.equal(epoch_of(shown, 0), epoch_of(dataset(images, seed=1, **EVERYTHING), 0))


def test_the_global_generators_are_restored(images):
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    dataset(images, **EVERYTHING).__getitems__([(0, 1), (0, 2)])
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected  # noqa: NPY002


def test_every_image_once_per_pass_whatever_the_epochs_length(images):
    shown = dataset(images, per_epoch=10)
    rows = np.concatenate([shown.rows_at(epoch, np.arange(10)) for epoch in range(18)])
    passes = rows.reshape(5, 36)
    for one in passes:
        assert sorted(one) == list(range(36))
    assert not np.array_equal(passes[0], passes[1])


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (8, [8]), (9, [8]), (10, [8, 2]), (17, [8, 8])])
def test_a_last_batch_of_one_is_left_out_where_there_are_others(images, count, sizes):
    loader = image_loader(dataset(images, per_epoch=count), batch_size=8, workers=0)
    assert [len(batch["label"]) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def test_without_augmentation_a_batch_is_the_standardized_image(images):
    batch = dataset(images, flip=0).__getitems__([(0, 4), (0, 9)])
    for image, row, label in zip(batch["image"], batch["row"], batch["label"], strict=True):
        expected = (images.pixels[int(row)].transpose(2, 0, 1) / 255.0 - 0.5) / 0.25
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-5)
        assert label == images.labels[int(row)]


def test_flips_and_shifts_move_what_they_say(images):
    augmenter = ImageAugmenter(ImageAugmentSection(flip=0.5, flip_vertical=0.5, shift_px=2), 16, HALF)
    image = images.pixels[:1]
    still = augmenter.move(image, np.array([[0.9, 0.9, 0.5, 0.5]]))
    np.testing.assert_array_equal(still[0], image[0].transpose(2, 0, 1))
    np.testing.assert_array_equal(augmenter.move(image, np.array([[0.1, 0.9, 0.5, 0.5]])), still[..., ::-1])
    np.testing.assert_array_equal(augmenter.move(image, np.array([[0.9, 0.1, 0.5, 0.5]])), still[..., ::-1, :])
    far = augmenter.move(image, np.array([[0.9, 0.9, 0.0, 0.99]]))  # two rows down, two columns left
    np.testing.assert_array_equal(far[0, :, 2:, :-2], still[0, :, :-2, 2:])
    assert far[0, :, :2].max() == 0
    assert far[0, :, :, -2:].max() == 0


def test_the_normalization_is_that_of_the_training_images(images, tmp_path):
    rows = np.arange(0, 36, 2)
    measured = Normalization.of(section(tmp_path), images, rows)
    values = np.asarray(images.pixels[rows]) / 255.0
    np.testing.assert_allclose(measured.mean, values.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(measured.std, values.std(axis=(0, 1, 2)), atol=1e-6)
    given = section(tmp_path, mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    assert Normalization.of(given, images, rows) == Normalization((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


@pytest.mark.parametrize("magnitude", ["rand-m10-n4-mstd3-inc1", "rand-m9-mstd0.5-inc1", "rand-m2-p0.3"])
def test_randaugment_takes_every_range(images, magnitude):
    shown = dataset(images, randaugment=magnitude)
    for epoch in range(4):
        assert torch.isfinite(epoch_of(shown, epoch)).all()


def test_gray_images_are_augmented_too(tmp_path):
    gray = load(write_folder(tmp_path / "data", 4), channels="gray")
    changes = ImageAugmentSection.model_validate(EVERYTHING)
    augmenter = ImageAugmenter(changes, 16, Normalization((0.5,), (0.25,)))
    shown = TrainingImages(gray, np.arange(12), augmenter, seed=0)
    assert shown.__getitems__([(0, index) for index in range(12)])["image"].shape == (12, 1, 16, 16)


def test_a_randaugment_that_timm_cannot_parse():
    with pytest.raises(ValidationError, match="randaugment"):
        ImageAugmentSection(randaugment="rand-w7")
    with pytest.raises(ConfigError, match=r"augment\.randaugment .*rand-m9\.5"):
        ImageAugmenter(ImageAugmentSection(randaugment="rand-m9.5"), 16, HALF)


# images without labels


def test_any_folder_is_a_source(tmp_path):
    root = write_folder(tmp_path / "data", 2)
    Image.fromarray(drawn("plain", 5)).save(root / "loose.png")
    assert find_source(section(root)).ids[-2:] == ("stripes/00.png", "stripes/01.png")
    assert "loose.png" in find_source(section(root)).ids
    one = find_source(section(root / "loose.png"))
    assert one.ids == ("loose.png",)
    ((_name, pixels),) = list(one.decoders({"loose.png"}))
    np.testing.assert_array_equal(pixels(), drawn("plain", 5))
    idx = find_source(section(write_idx(tmp_path / "idx"), layout="idx"))
    assert len(idx.ids) == 39
    assert [name for name, _ in idx.decoders({"test/000001"})] == ["test/000001"]


@pytest.mark.parametrize(("layout", "write"), [("idx", write_idx), ("cifar", partial(write_cifar, each=1))])
def test_a_stray_image_does_not_hide_a_packed_dataset(tmp_path, layout, write):
    root = write(tmp_path / "data")
    Image.fromarray(drawn("plain", 5)).save(root / "preview.png")
    assert "preview.png" not in find_source(section(root, layout=layout)).ids
    classes = write_folder(tmp_path / "folders", 1)
    assert find_source(section(classes, layout=layout)).ids == ("circle/00.png", "plain/00.png", "stripes/00.png")


def test_both_versions_of_cifar_are_refused(tmp_path):
    write_cifar(tmp_path / "data" / "ten", 1)
    root = write_cifar(tmp_path / "data" / "hundred", 1, hundred=True).parent
    with pytest.raises(DataError, match=r"both here \(found ten/data_batch_1\.bin and hundred/test\.bin"):
        load(root, layout="cifar")


def test_a_file_that_cannot_be_read_fails_alone(tmp_path, monkeypatch):
    root, read = write_folder(tmp_path / "data", 1), Path.read_bytes

    def opened(path: Path) -> bytes:
        if path.parent.name == "plain":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", opened)
    source = find_source(section(root))
    outcomes = {outcome.name: outcome for outcome in source.decoded(source.ids)}
    (reason,) = outcomes.pop("plain/00.png").reasons
    assert "Permission denied" in reason
    assert all(isinstance(outcome, Done) for outcome in outcomes.values())
    assert sorted(outcomes) == ["circle/00.png", "stripes/00.png"]
    (alone,) = find_source(section(root / "plain" / "00.png")).decoded({"00.png"})
    assert "Permission denied" in alone.reasons[0]


# Unicode spelling of names


@pytest.fixture
def spelled(tmp_path: Path) -> dict[str, Path]:
    """One dataset as two systems store it: in one, umlauts sort after all other letters, in the other before most."""
    roots = {}
    for form in ("NFC", "NFD"):
        roots[form] = tmp_path / form
        for kind, name in zip(CLASSES, ("Ödem", "Plain", "Zyste"), strict=True):
            folder = roots[form] / unicodedata.normalize(form, name)
            folder.mkdir(parents=True)
            for number, letter in enumerate("ÄBÜYZ"):
                file = folder / unicodedata.normalize(form, f"{letter}.png")
                Image.fromarray(drawn(kind, number)).save(file)
            shutil.copy(folder / "Z.png", folder / unicodedata.normalize(form, "Ö.png"))
    return roots


def same_names(names: Iterable[str]) -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in names]


def test_a_copy_in_another_spelling_is_the_same_dataset(spelled, tmp_path):
    first, second = (load(root) for root in spelled.values())
    assert first.ids != second.ids
    assert same_names(first.ids) == same_names(second.ids)
    assert first.fingerprint == second.fingerprint
    assert first.classes == second.classes
    assert first.labels.tolist() == second.labels.tolist()
    assert same_names(first.groups) == same_names(second.groups)
    for images, root in zip((first, second), spelled.values(), strict=True):
        for name, pixels in zip(images.ids, images.pixels, strict=True):
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(root / name)))
    listed = {"kind": "lists", "train_list": tmp_path / "train.txt", "val_list": tmp_path / "val.txt"}
    copies = {"Ö", "Z"}
    listed["train_list"].write_text("\n".join(name for name in first.ids if Path(name).stem in {"Ä", "Y", *copies}))
    listed["val_list"].write_text("\n".join(name for name in first.ids if Path(name).stem in {"B", "Ü"}))
    for split in ({"seed": 3, "val": 0.3}, listed):
        drawn_splits = [
            make_class_splits(images, section(root, split=split))
            for images, root in zip((first, second), spelled.values(), strict=True)
        ]
        assert [same_names(drawn_splits[0].train), same_names(drawn_splits[0].val)] == [
            same_names(drawn_splits[1].train),
            same_names(drawn_splits[1].val),
        ]


def test_predictions_of_a_copy_in_another_spelling_are_evaluated(spelled, tmp_path):
    before, after = (load(root) for root in spelled.values())
    digests = {name: str(number) for number, name in enumerate(before.ids)}
    predictions = tmp_path / "out"
    predictions.mkdir()
    write_table(predictions / TABLE, dict(zip(before.ids, np.eye(3)[before.labels], strict=True)), before.classes)
    index = {"digests": digests, "seen": {"train": list(before.ids[:2]), "val": []}}
    write_json(predictions / INDEX, {"task": "classification", **index})
    summary = evaluate_classes(predictions, spelled["NFD"])
    assert (summary.images, summary.groups, summary.overall["accuracy"].mean) == (18, 18, 1)
    assert summary.seen == {"train": list(after.ids[:2]), "val": []}


# evaluation


def write_predictions(folder: Path, ids: list[str], **index: object) -> Path:
    """Certain and right predictions of images in class folders, and their predictions.json."""
    folder.mkdir()
    rows = {name: np.eye(len(CLASSES))[CLASSES.index(name.split("/")[0])] for name in ids}
    write_table(folder / TABLE, rows, CLASSES)
    write_json(folder / INDEX, {"task": "classification", **index})
    return folder


def test_evaluation_decodes_only_images_whose_digest_the_prediction_did_not_store(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "data", 2)
    shutil.copy(root / "plain" / "00.png", root / "plain" / "copy.png")
    ids = ["circle/00.png", "plain/00.png", "plain/copy.png"]
    decoded = []
    real = ImageSource.digests
    monkeypatch.setattr(ImageSource, "digests", lambda self, ids, *a: decoded.extend(ids) or real(self, ids, *a))
    for number, digests in enumerate(({}, {name: f"{name.split('/')[0]}" for name in ids})):
        predictions = write_predictions(tmp_path / str(number), ids, selection="test", digests=digests)
        summary = evaluate_classes(predictions, root)
        assert (summary.images, summary.groups) == (3, 2)
        assert decoded == ids


def test_class_folders_evaluate_a_model_of_numbered_classes(tmp_path):
    """The names of the classes are those of its configuration, and of the folders."""
    root = write_folder(tmp_path / "data", 2)
    reading = {"layout": "idx", "class_names": list(CLASSES), "channels": "gray"}
    predictions = write_predictions(tmp_path / "out", list(labels_of(root).ids), data=reading)
    assert evaluate_classes(predictions, root, layout="classes").images == 6


def test_a_dataset_without_images_of_a_class_is_evaluated_and_one_of_an_unknown_class_is_not(tmp_path):
    root = write_folder(tmp_path / "data", 2)
    shutil.rmtree(root / "plain")
    predictions = write_predictions(tmp_path / "out", list(labels_of(root).ids))
    summary = evaluate_classes(predictions, root, output=tmp_path / "scores")
    assert (summary.images, summary.overall["balanced_accuracy"].mean, summary.overall["auroc"].mean) == (4, 1, 1)
    plain = summary.classes["plain"]
    assert (plain.support, plain.recall.mean, plain.auroc.mean, plain.specificity) == (0, None, None, 1)
    (root / "stripes").rename(root / "stripe")
    with pytest.raises(EvaluationError, match=r"do not know 1 class of the reference .*expected stripe too.*Name them"):
        evaluate_classes(predictions, root)


def test_images_of_another_dataset_without_patients_are_evaluated(tmp_path, capsys):
    root = write_folder(tmp_path / "data", 2)
    (root / "plain" / "01.png").rename(root / "plain" / "p7_1.png")
    (root / "circle" / "01.png").rename(root / "circle" / "p7_2.png")
    predictions = write_predictions(tmp_path / "out", list(labels_of(root).ids), data={"patient": r"(p\d+)_"})
    assert evaluate_classes(predictions, root).groups == 5
    assert "data.patient ((p\\d+)_) finds no patient in the path of 4 images" in capsys.readouterr().err


# configurations

CONFIGS = Path(__file__).parents[2] / "configs"
OF_CLASSES = ("cifar10_cct_7_3x1", "cifar10_cct_2_3x2_30min", "fashion_mnist", "brain_tumour_classes")


@pytest.mark.parametrize("name", OF_CLASSES)
def test_configurations_build_their_network(name):
    from segcct.models.zoo import create_model

    config = settings.load(ClassificationConfig, CONFIGS / f"{name}.yaml")
    create_model(config.model.name, config.data.num_channels, 10, config.data.image_size, config.model.options)
    normalization = Normalization((0.5,) * config.data.num_channels, (0.2,) * config.data.num_channels)
    ImageAugmenter(config.augment, config.data.image_size, normalization)


def test_an_archive_or_a_compressed_file_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LARGEST", 10_000)
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        for name, size in (("a/1.png", 10), ("b/2.png", 50_000)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    assert len(dict(files.contents(tmp_path / "set.tar.gz", ["a/1.png"]))["a/1.png"]) == 10
    with pytest.raises(DataError, match=r"set\.tar\.gz/b/2\.png: the file is too large"):
        dict(files.contents(tmp_path / "set.tar.gz", ["a/1.png", "b/2.png"]))
    assert files.unzipped("a.gz", gzip.compress(bytes(9_000)) + bytes(3), tmp_path) == bytes(9_000)
    assert files.unzipped("A.GZ", gzip.compress(b"x"), tmp_path) == b"x"
    with pytest.raises(DataError, match=r"a\.gz: the file is too large"):
        files.unzipped("a.gz", gzip.compress(bytes(900_000)), tmp_path)


def test_a_card_holds_the_normalization_and_no_folder() -> None:
    stored = card_section(ImagesSection(root=Path("images"), channels="gray"), [0.5], [0.2])
    assert "root" not in stored
    read = section_of(stored, Path("others"))
    assert (read.channels, read.mean, read.std, read.root) == ("gray", [0.5], [0.2], Path("others"))
