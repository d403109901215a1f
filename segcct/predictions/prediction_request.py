"""What is to be predicted: the cases of a file, a folder or a table, read as a model's card says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.case_table import is_case_table, read_case_table
from segcct.datasets.folder_tree import unread_places
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import find_new_cases, get_layout, read_case, single_case
from segcct.datasets.split_record import Splits
from segcct.errors import DataError, RunError, SegcctError
from segcct.files.file_names import DICOM_SUFFIXES, case_name, composed
from segcct.images.volume import Volume, holds_dicom, read_header
from segcct.model_card import ModelCard
from segcct.plurals import counted
from segcct.predictions.mask_files import FORMATS
from segcct.predictions.mask_options import FormatName
from segcct.predictions.split_selection import ids_of_split, read_splits
from segcct.progress import say, without_names


@dataclass(frozen=True)
class Request:
    """What is to be predicted: cases, or volumes of a one-channel model, and how the files are read."""

    cases: tuple[Case, ...]
    data: DataSection
    single: bool = False
    """Each case is one volume file (or DICOM folder) read as it is, outside any layout."""
    selection: str | None = None
    seen: Mapping[str, str] = field(default_factory=dict)
    """Case id -> split of the model's run, `train` or `val`, that the case or its patient is in."""
    unread: tuple[str, ...] = ()
    """Errors of the folders and files of the input that could not be read, so that their cases are not known."""
    anonymize: bool = False
    """Masks are named by hashed ids, and no line on stderr names a file of the input."""

    def mask_format(self, wanted: FormatName) -> str:
        """The row of `FORMATS` that masks are written in: those of 2-D images are 2-D images.

        Raises:
            DataError: it cannot hold masks of 2-D images.
            RunError: its files name the patient, and the masks are to be anonymized.
            PackageError: it needs a package that is not installed.
        """
        if get_layout(self.data.layout).mask_format == "image" and not self.single:
            if wanted != "nifti":
                what = f"masks of 2-D images cannot be written as {wanted}"
                raise DataError(what, file=self.data.root, remedy="Leave --format out")
            return "image"
        if self.anonymize and not FORMATS[wanted].is_anonymous:
            raise RunError(
                "masks in this format repeat the patient's name and ids, by which viewers find the images, so "
                "--anonymize does not go with it",
                found=f"--format {wanted}",
                remedy="Anonymize the DICOM images first and predict on those, or leave --format out",
            )
        FORMATS[wanted].require()
        return wanted

    @property
    def of_images(self) -> bool:
        """Each case is a 2-D image."""
        return get_layout(self.data.layout).spatial_dims == 2 and not self.single

    def shard(self, number: int, count: int) -> Request:
        """The part `number` of `count`, from 1: every `count`-th case in the order of the ids, so that the parts take
        about as long. Raises `RunError` where a part would be empty."""
        if count > len(self.cases):
            raise RunError(
                "more shards than cases",
                file=self.data.root,
                found=f"{count} shards of {counted(len(self.cases), 'case')}",
                remedy=f"Use at most {len(self.cases)} shards",
            )
        return replace(self, cases=self.cases[number - 1 :: count])


def resolve(
    card: ModelCard,
    source: Path,
    *,
    splits_files: Sequence[Path] = (),
    split: str | None = None,
    anonymize: bool = False,
) -> Request:
    """The cases of `source`: a file, a DICOM folder, a case folder, a dataset root, a folder of new files named as the
    dataset's are, or a table of cases; read as the model's layout says. Each of several X-rays in a folder is a case.

    Args:
        card: the model's card.
        source: the input.
        splits_files: splits.json of the run of each model: which cases it has seen, if the file exists.
        split: train, val or test: only these cases of that split.
        anonymize: name no file of the input on stderr while cases are found and read.

    Raises:
        DataError: nothing there that the model can read.
        SplitError: the split is empty, or its cases are not below `source`.
    """
    request = request_of(card.data_section, source, anonymize=anonymize)
    splits = read_splits(splits_files, split)
    seen = [_seen(request.cases, each) for each in splits.values()]
    trained = {name: "train" for each in seen for name, of in each.items() if of == "train"}
    request = replace(request, seen={name: "val" for each in seen for name in each} | trained)
    if split is None:
        return request
    cases = {case.id: case for case in request.cases}
    ids = ids_of_split(splits, split, cases, source=source, noun="case")
    # What could not be read holds other cases.
    return replace(request, cases=tuple(cases[name] for name in ids), selection=split, unread=())


def request_of(data_section: Callable[[Path], DataSection], source: Path, *, anonymize: bool = False) -> Request:
    """The cases of `source`, as `resolve`, by the data section for a root. Lines on stderr say how many of them are
    incomplete, and how much could not be read, and name none."""
    if not source.exists():
        raise DataError("no such file or folder", file=source)
    with without_names(wanted=anonymize):
        request = replace(_found_at(data_section, source), anonymize=anonymize)
    if incomplete := sum(case.error is not None for case in request.cases):
        say(f"incomplete: {incomplete} of {counted(len(request.cases), 'case')}")
    if unread := unread_places(request.unread, named=False):
        say(unread)
    return request


def _found_at(data_section: Callable[[Path], DataSection], source: Path) -> Request:
    """The cases of a file, a table or a folder."""
    data = data_section(source.parent if is_case_table(source) else source)
    if is_case_table(source):
        masked = data.intensity.rule == "zscore_mask"
        return Request(tuple(read_case_table(source, list(data.channels), needs_mask=masked)), data)
    if len(x_rays := _x_rays(data, source)) > 1:
        return _one_by_one(data, x_rays)
    if source.is_file() or (len(data.channels) == 1 and holds_dicom(source)):
        return _single(data_section(source.parent), source)
    return _new_cases(data)


def _new_cases(data: DataSection) -> Request:
    """The cases below the root; what lies in a folder that cannot be read is left out."""
    new = find_new_cases(data)
    return Request(tuple(new.cases), data, unread=tuple(map(str, new.unread)))


def load_case(request: Request, case: Case, scheme: Scheme, *, with_label: bool) -> LoadedCase:
    """A case of a request read into memory; a single file is read as it is and has no label."""
    with without_names(wanted=request.anonymize):
        if not request.single:
            return read_case(case, request.data, scheme, with_label=with_label)
        volume = Volume.load(next(iter(case.channels.values()))[0])
        return LoadedCase(case, volume.array[None], volume)


def header_of(request: Request, case: Case) -> Volume | None:
    """The grid of a case of volumes, from the header of its first channel; None where that is no single file, or is
    missing or cannot be read, which reading the case reports."""
    name, files = next(iter(case.channels.items()), ("", ()))
    if request.of_images or len(files) != 1 or not files[0].is_file():
        return None
    read = read_header if request.single else get_layout(request.data.layout).read_header
    try:
        with without_names(wanted=request.anonymize):
            return read(files[0], request.data.channels[name])
    except SegcctError:
        return None


def _seen(cases: Sequence[Case], splits: Splits) -> dict[str, str]:
    """Case id -> split, for cases that the model was trained or selected on, or whose patients were."""
    of_patient = {composed(splits.patient_of(name)): split for split, ids in splits.items() for name in ids}
    of_patient |= dict.fromkeys((composed(splits.patient_of(name)) for name in splits.unlabeled), "train")
    of_case = dict.fromkeys(map(composed, splits.unlabeled), "train")
    found = {
        case.id: splits.split_of(case.id) or of_case.get(composed(case.id)) or of_patient.get(composed(case.patient))
        for case in cases
    }
    return {name: split for name, split in found.items() if split in ("train", "val")}


def _single(data: DataSection, source: Path) -> Request:
    """A file or a DICOM folder as the only case."""
    case = single_case(data, source) if source.is_file() else None
    if case is not None:
        return Request((case,), data)
    if len(data.channels) != 1:
        raise DataError(
            "one file is not enough for this model",
            file=source,
            expected=f"a case folder or dataset root with channels {', '.join(data.channels)} ({data.layout} layout)",
        )
    name = case_name(source)
    return Request((Case(name, name, {next(iter(data.channels)): (source,)}),), data, single=True)


def _x_rays(data: DataSection, source: Path) -> list[Path]:
    """The X-rays directly in a folder, for a model of one channel; none if the files are a volume."""
    from segcct.images.dicom.series import projections_in

    if len(data.channels) != 1 or not source.is_dir() or not holds_dicom(source):
        return []
    return projections_in(source)


def _one_by_one(data: DataSection, files: Sequence[Path]) -> Request:
    """Every file as a case: named as the dataset's are if that holds DICOM files, else by its own name.

    Raises `DataError` if two have one name, or none is named as the dataset's are.
    """
    ((channel, pattern),) = data.channels.items()
    if pattern.lower().endswith(DICOM_SUFFIXES):
        return _new_cases(data)
    names = Counter(case_name(file) for file in files)
    alike = [file.name for file in files if names[case_name(file)] > 1]
    if alike:
        raise DataError(
            "two images would share the name of one mask",
            file=files[0].parent,
            found=", ".join(alike[:4]),
            remedy="Give them names that differ before their endings",
        )
    cases = (Case(name, name, {channel: (file,)}) for name, file in zip(names, files, strict=True))
    return Request(tuple(cases), data, single=True)
