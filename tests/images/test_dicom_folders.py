"""Folders of DICOM files: what belongs to the series, what is left out and named, what is damaged or hostile."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MediaStorageDirectoryStorage,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

import segcct.images.dicom.header
from segcct.errors import SegcctError, VolumeError
from segcct.images.dicom.kinds import kind_of_no_image
from segcct.images.volume import Volume, holds_dicom
from tests.support.dicom_files import image, save, series
from tests.support.hostile_dicom import CT, HOSTILE, ITEM, UNDEFINED, element, header

# ---------------------------------------------------------------- damage


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def before_pixels(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: data.index(b"\xe0\x7f\x10\x00")])


def before_rows(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: data.index(b"\x28\x00\x02\x00US")])


def after_meta(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: data.index(b"\x08\x00\x16\x00UI")])


def within_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:250])


def other_data(file: Path) -> None:
    file.write_bytes(b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 10)


@pytest.mark.parametrize("damage", [cut, empty, before_pixels, before_rows, after_meta, within_header, other_data])
@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_damaged_slice_is_an_error_that_names_it(tmp_path: Path, damage: object, number: int) -> None:
    """As dcm2niix#283: a volume one slice short must not pass for whole."""
    damage(series(tmp_path)[number])
    with pytest.raises(VolumeError) as caught:
        Volume.load(tmp_path)
    assert caught.value.file == str(tmp_path / f"{number}.dcm")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"garbage" * 50])
def test_a_damaged_slice_without_suffix_is_known_by_its_name(tmp_path: Path, content: bytes) -> None:
    for file in series(tmp_path):
        file.rename(tmp_path / f"IM-{file.stem}")
    (tmp_path / "README").write_text("how these were made")
    (tmp_path / "._IM-2").write_bytes(b"of another file system")
    (tmp_path / "VERSION").write_bytes(b"")
    assert Volume.load(tmp_path).shape == (5, 4, 6)
    (tmp_path / "IM-6").write_bytes(content)
    with pytest.raises(VolumeError, match="IM-6: cannot be read as DICOM"):
        Volume.load(tmp_path)


def test_broken_links_and_pipes_are_named_and_never_opened(tmp_path: Path) -> None:
    series(tmp_path)
    (tmp_path / "9.dcm").symlink_to(tmp_path / "absent.dcm")
    with pytest.raises(VolumeError, match=r"9\.dcm: not a file that can be read"):
        Volume.load(tmp_path)
    (tmp_path / "9.dcm").unlink()
    os.mkfifo(tmp_path / "9.dcm")
    with pytest.raises(VolumeError, match=r"9\.dcm: not a file that can be read"):
        Volume.load(tmp_path)
    with pytest.raises(VolumeError, match=r"9\.dcm: not a file that can be read"):
        Volume.load(tmp_path / "9.dcm")
    (tmp_path / "9.dcm").unlink()
    os.mkfifo(tmp_path / "pipe")
    assert Volume.load(tmp_path).shape == (5, 4, 6)


def test_a_file_that_vanishes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = series(tmp_path)
    plain = segcct.images.dicom.ordered
    monkeypatch.setattr(segcct.images.dicom, "ordered", lambda *parts: [plain(*parts), files[2].unlink()][0])
    with pytest.raises(VolumeError, match=r"2\.dcm: cannot be read \(found No such file"):
        Volume.load(tmp_path)


# ---------------------------------------------------------------- pixels and their claims


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": 512}, r"found 40 bytes.*expected 5120 bytes for 512 x 5 pixels of 16 bits"),
        ({"Columns": 65535}, "found 40 bytes"),
        ({"Rows": 3}, "found 40 bytes.*expected 30 bytes"),
        ({"Columns": 4}, "found 40 bytes.*expected 32 bytes"),
        ({"NumberOfFrames": 2}, "expected 80 bytes for 4 x 5 pixels of 16 bits x 2 frames"),
        ({"NumberOfFrames": 2147483647}, "found 40 bytes"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "found 40 bytes"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "found 40 bytes"),
    ],
)
def test_pixels_must_have_the_length_that_the_header_claims(
    tmp_path: Path, elements: dict[str, object], words: str
) -> None:
    file = save(image(np.ones((4, 5), np.int16), **elements), tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match=rf"a\.dcm: PixelData \(7FE0,0010\) does not have the length.*{words}"):
        Volume.load(file)


def test_padding_behind_the_pixels_is_fine(tmp_path: Path) -> None:
    pixels = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert Volume.load(save(image(pixels), tmp_path / "odd.dcm")).array[..., 0].T.tolist() == pixels.tolist()
    dataset = image(pixels)
    dataset.PixelData = pixels.tobytes() + b"\0" * 127
    assert Volume.load(save(dataset, tmp_path / "block.dcm")).array[..., 0].T.tolist() == pixels.tolist()
    dataset.PixelData = pixels.tobytes() + b"\1" * 127
    with pytest.raises(VolumeError, match="does not have the length"):
        Volume.load(save(dataset, tmp_path / "more.dcm"))


# ---------------------------------------------------------------- what is no image, and several series

OTHERS = {
    RTDoseStorage: "RT dose",
    RTStructureSetStorage: "RT structure set",
    RTPlanStorage: "RT plan",
    SegmentationStorage: "segmentation",
    GrayscaleSoftcopyPresentationStateStorage: "presentation state",
    ComprehensiveSRStorage: "structured report",
    EncapsulatedPDFStorage: "encapsulated document",
    MediaStorageDirectoryStorage: "DICOMDIR",
}


@pytest.mark.parametrize("sop_class", OTHERS)
def test_other_objects_are_left_out_and_named(
    tmp_path: Path, sop_class: str, capsys: pytest.CaptureFixture[str]
) -> None:
    series(tmp_path)
    other = save(image(np.ones((3, 3), np.uint16), series="1.2.3.9", sop_class=sop_class), tmp_path / "other")
    assert Volume.load(tmp_path).shape == (5, 4, 6)
    said = f"{tmp_path}: left out because they are not images: other ({OTHERS[sop_class]})\n"
    assert capsys.readouterr().err == said
    Volume.load(tmp_path)
    assert capsys.readouterr().err == ""
    with pytest.raises(
        VolumeError, match=rf"other: is a DICOM object that is not an image \(found {OTHERS[sop_class]}"
    ):
        Volume.load(other)
    for file in tmp_path.glob("*.dcm"):
        file.unlink()
    with pytest.raises(VolumeError, match=rf"holds no DICOM image \(found other \({OTHERS[sop_class]}"):
        Volume.load(tmp_path)


@pytest.mark.parametrize(
    ("sop_class", "left_out"),
    [
        (b"1.3.12.2.1107.5.9.1", True),  # of a maker
        (b"1.2.840.10008.5.1.5.1.1.2", False),  # a CT with a flipped digit
        (b"1n2.840.10008.5.1.4.1.1.2", False),
        (b"1.2.", False),
    ],
)
def test_a_stump_with_a_damaged_class_is_no_private_object(tmp_path: Path, sop_class: bytes, left_out: bool) -> None:
    series(tmp_path)
    stump = header() + element(8, 0x16, b"UI", sop_class + b"\0" * (len(sop_class) % 2))
    (tmp_path / "6.dcm").write_bytes(stump)
    if left_out:
        assert Volume.load(tmp_path).shape == (5, 4, 6)
    else:
        with pytest.raises(VolumeError, match=r"6\.dcm: cannot be read as DICOM"):
            Volume.load(tmp_path)


def test_an_object_that_is_no_image_need_not_be_whole(tmp_path: Path) -> None:
    series(tmp_path)
    file = save(image(np.ones((3, 3), np.uint16), sop_class=RTStructureSetStorage), tmp_path / "rs.dcm")
    cut(file)
    assert Volume.load(tmp_path).shape == (5, 4, 6)


def test_every_storage_class_is_an_image_or_not() -> None:
    classes = [(uid, name) for uid, (name, kind, *_) in pydicom._uid_dict.UID_dictionary.items() if "SOP Class" in kind]
    strays = [
        name
        for uid, name in classes
        if "Image Storage" in name and not name.startswith(("DICOS", "Stored")) and kind_of_no_image(uid)
    ]
    assert strays == []
    image_like = ("Image Storage", "Enhanced US Volume", "DICOS", "Print", "Commitment", "Service")
    others = [
        name
        for uid, name in classes
        if name.endswith("Storage") and not any(part in name for part in image_like) and not kind_of_no_image(uid)
    ]
    assert others == []


def test_several_series_are_named(tmp_path: Path) -> None:
    for number in range(8):
        series(tmp_path / str(number), 2, series=f"1.2.3.{number}")
        for file in (tmp_path / str(number)).iterdir():
            file.rename(tmp_path / f"{number}-{file.name}")
        (tmp_path / str(number)).rmdir()
    words = r"holds 8 DICOM series \(found 2 files from 0-0\.dcm \(CT, series 7\); .* and 3 more; expected one series"
    with pytest.raises(VolumeError, match=words):
        Volume.load(tmp_path)


def test_a_folder_of_folders_says_which_to_give(tmp_path: Path) -> None:
    series(tmp_path / "a", 2)
    save(image(np.ones((3, 3), np.uint16), sop_class=MediaStorageDirectoryStorage), tmp_path / "DICOM\x1b[31mDIR")
    with pytest.raises(VolumeError, match=r"found DICOM\?\[31mDIR \(DICOMDIR\).*Give the folder that directly holds"):
        Volume.load(tmp_path)


def test_a_folder_with_dicom_names_holds_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.DCM").write_bytes(b"")
    assert holds_dicom(tmp_path)


# ---------------------------------------------------------------- hostile files


@pytest.mark.parametrize("inside", [b"\x09\x00\x01\x00\x04\0\0\0abcd", element(9, 1, b"CS", b"abcd")])
def test_sequences_of_unknown_kind_are_stepped_over(tmp_path: Path, inside: bytes) -> None:
    """Their items are implicit by the standard, and explicit by some writers."""
    file = save(image(np.ones((4, 5), np.int16)), tmp_path / "a.dcm")
    private = element(9, 0x10, b"UN", length=UNDEFINED) + ITEM + inside + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    private += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = file.read_bytes()
    at = data.index(b"\x18\x00\x50\x00DS")
    file.write_bytes(data[:at] + private + data[at:])
    assert Volume.load(file).shape == (5, 4, 1)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_hostile_headers_are_one_error_in_time(
    tmp_path: Path, name: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        segcct.images.dicom.header, "_MOST_ELEMENTS", 20_000
    )  # of 1,000,000, which take a second or two
    file = tmp_path / f"scan{suffix}"
    file.write_bytes(HOSTILE[name])
    start = time.process_time()
    with pytest.raises(VolumeError):
        Volume.load(file)
    with pytest.raises(VolumeError):
        Volume.load(tmp_path)
    assert time.process_time() - start < 20


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segcct.images.dicom.header, "_LARGEST_INFLATED", 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 16)
    body = packer.compress(CT + element(9, 3, b"OB", length=1 << 30))
    body += b"".join(packer.compress(zeros) for _ in range(17)) + packer.flush()
    file = tmp_path / "a.dcm"
    file.write_bytes(header(DeflatedExplicitVRLittleEndian.encode()) + body)
    with pytest.raises(VolumeError, match="inflates to more than 1 MiB"):
        Volume.load(file)


def test_each_of_many_files_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(image(np.ones((1, 1), np.int16)), tmp_path / "one" / "a.dcm").read_bytes()
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / f"{number}.dcm").write_bytes(data)
    opened: Counter[str] = Counter()
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda file, *mode: (opened.update([file.name]), plain(file, *mode))[1])
    with pytest.raises(VolumeError, match="two slices at one position"):
        Volume.load(tmp_path / "many")
    assert opened == {f"{number}.dcm": 1 for number in range(300)}


@pytest.mark.parametrize("elements", [{"PhotometricInterpretation": "MONO" * 4}, {}])
def test_what_a_damaged_file_says_is_printable_and_short(tmp_path: Path, elements: dict[str, object]) -> None:
    save(image(np.ones((2, 2), np.int16), PixelSpacing=[1.25, 1.25], **elements), tmp_path / "a.dcm")
    data = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(data.replace(b"MONO", b"\x1b[3m").replace(b"1.25", b"\x1b[3m"))
    with pytest.raises(VolumeError) as caught:
        Volume.load(tmp_path / "a.dcm")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_flipped_bytes_never_end_in_anything_but_an_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "a.dcm"
    whole = np.frombuffer(save(image(np.ones((4, 5), np.int16)), file).read_bytes(), np.uint8)
    read = 0
    for _ in range(600):
        data = whole.copy()
        end = len(data) if rng.random() < 0.7 else int(rng.integers(len(data) // 2, len(data)))
        where = rng.integers(128, len(data), rng.integers(1, 4))
        data[where] = rng.integers(0, 256, len(where))
        file.write_bytes(data[:end].tobytes())
        try:
            Volume.load(file)
            read += 1
        except SegcctError:
            continue
    assert 0 < read < 600
