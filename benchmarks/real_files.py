"""Real files, such as public test sets, as segcct reads them, compared with nibabel, SimpleITK, pydicom and others.

    python benchmarks/real_files.py --root FOLDER [FOLDER ...] [--list]

Reads every file below the folders that has the name or, for DICOM, the content of a format that segcct reads, and every
folder of several DICOM files. benchmarks/independent_readers.py has the other readers. Values must be equal (nearly
equal after lossy compression), and grids must agree within 0.001 mm.

Table: a row per format, with the numbers of files that are read equally, refused by segcct, read wrongly, end in a
traceback, or are read by segcct alone. Below it, the reasons of refusals are counted. Wrong files and tracebacks are
printed with their names; exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import program
from independent_readers import READERS, Read

from segcct.config import DataSection
from segcct.datasets.layouts import images_2d as pictures
from segcct.errors import SegcctError
from segcct.files.file_names import (
    DICOM_SUFFIXES,
    HDF5_SUFFIXES,
    IMAGE_SUFFIXES,
    NIFTI_SUFFIXES,
    NPZ_SUFFIXES,
    split_name,
)
from segcct.images.arrays import array_names, read_arrays
from segcct.images.raster import BANDS
from segcct.images.volume import Volume, holds_dicom

KINDS = {
    **dict.fromkeys(NIFTI_SUFFIXES, "nifti"),
    **dict.fromkeys((".nrrd", ".nhdr"), "nrrd"),
    **dict.fromkeys((".mha", ".mhd"), "metaimage"),
    **dict.fromkeys(DICOM_SUFFIXES, "dicom"),
    **dict.fromkeys((*HDF5_SUFFIXES, ".npy.h5"), "hdf5"),
    **dict.fromkeys(NPZ_SUFFIXES, "npz"),
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
}
COLUMNS = ("equal", "refused", "wrong", "traceback", "alone")
"""alone: no other library reads the file."""
_MOST_BYTES = 2**28
_SLOW_SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    """How segcct reads a file, or one array of it."""

    kind: str
    path: Path
    what: str
    """One of `COLUMNS`."""
    reason: str = ""
    both: bool = False
    """Refused by the independent reader too."""


def files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Kind and path of all files to read, and of folders with several DICOM files; links are left out."""
    for place, folders, names in os.walk(root):
        folders.sort()
        series = 0
        for name in sorted(names):
            path = Path(place) / name
            kind = None if path.is_symlink() or not path.is_file() else kind_of(path)
            series += kind == "dicom"
            if kind and path.stat().st_size <= _MOST_BYTES:
                yield kind, path
        if series > 1:
            yield "dicom folder", Path(place)


def kind_of(path: Path) -> str | None:
    """Kind of a file by its suffix or, without a suffix, DICOM by its content; None if segcct does not read it."""
    kind = KINDS.get(split_name(path.name)[1].lower())
    return kind or ("dicom" if not path.suffix and holds_dicom(path) else None)


def outcomes(kind: str, path: Path) -> Iterator[Outcome]:
    """The outcome of a file, or of each array in a file of arrays."""
    names: Sequence[str | None] = (None,)
    if kind in ("hdf5", "npz"):
        try:
            names = array_names(path) or (None,)
        except SegcctError as error:
            yield Outcome(kind, path, "refused", error.what, both=not others(kind, path, "")[0])
            return
        except Exception as error:
            yield Outcome(kind, path, "traceback", f"{type(error).__name__}: {error}")
            return
    for name in names:
        yield outcome(kind, path, name)


def outcome(kind: str, path: Path, name: str | None) -> Outcome:
    """The outcome of a file, or of the array `name` in it."""
    theirs, why = others(kind, path, name)
    began = time.process_time()
    try:
        ours = loaded(kind, path, name) if name is not None else loaded(kind, path)
    except SegcctError as error:
        return Outcome(kind, path, "refused", _reason(error), both=not theirs)
    except Exception as error:
        return Outcome(kind, path, "traceback", f"{type(error).__name__}: {error}")
    seconds = time.process_time() - began
    if seconds > _SLOW_SECONDS:
        return Outcome(kind, path, "wrong", f"took {seconds:.1f} s")
    if not theirs:
        return Outcome(kind, path, "alone", why)
    problems = [difference(ours, each) for each in theirs]
    best = next((problem for problem in problems if problem is None), problems[0])
    return Outcome(kind, path, "equal") if best is None else Outcome(kind, path, "wrong", best)


def loaded(kind: str, path: Path, name: str | None = None) -> Read:
    """A file as segcct reads it."""
    if name is not None:
        return Read(read_arrays([path], name)[0])
    if kind == "image":
        channels = dict.fromkeys(BANDS, "{id}.*")
        data = DataSection(layout="pictures", root=path.parent, channels=channels, scheme="binary")
        case = pictures.single(data, path)
        if case is None:
            raise SegcctError("not read as one image")
        bands = pictures.read_image(case, data)[0].transpose(3, 2, 1, 0)  # (Z, Y, X, 3)
        return Read(bands[..., 0] if (bands == bands[..., :1]).all() else bands)
    volume = Volume.load(path)
    return Read(volume.array, volume.affine if volume.spacing_mm else None)


def others(kind: str, path: Path, name: str | None) -> tuple[list[Read], str]:
    """The file as independent readers read it, and the error of the last one that could not."""
    found, why = [], ""
    for reader in READERS[kind]:
        try:
            found.append(reader(path) if name is None else reader(path, name))
        except Exception as error:
            why = f"{type(error).__name__}: {error}".split("\n")[0][:100]
    return found, why


def difference(ours: Read, theirs: Read) -> str | None:
    """What differs; None if values and grid are equal."""
    if ours.array.shape != theirs.array.shape:
        return f"shape {ours.array.shape}, not {theirs.array.shape}"
    one, other = (each.array.astype(np.float64) for each in (ours, theirs))
    atol = theirs.tolerance or 1e-6 * float(np.abs(other).max(initial=0.0))
    if theirs.ordered:
        same = np.allclose(one, other, rtol=1e-6, atol=atol)
    else:
        frames = list(np.moveaxis(other, 2, 0))
        same = all(any(np.allclose(plane, frame, rtol=1e-6, atol=atol) for frame in frames)
                   for plane in np.moveaxis(one, 2, 0))  # fmt: skip
    if not same:
        return f"other values, by up to {np.abs(one - other).max():.4g}"
    if ours.affine is None or theirs.affine is None:
        return None
    known = np.isfinite(theirs.affine)
    if not np.allclose(ours.affine[known], theirs.affine[known], rtol=1e-4, atol=1e-3):
        return f"another grid: {np.round(ours.affine, 3).tolist()}, not {np.round(theirs.affine, 3).tolist()}"
    return None


def _reason(error: SegcctError) -> str:
    """The message of a refusal, without what differs by file."""
    found = f" ({error.found[:60]})" if error.found else ""
    return f"{error.what}{found}"


def table(found: Sequence[Outcome]) -> str:
    """A row per kind, and one of all."""
    lines = ["| format | files | " + " | ".join(COLUMNS) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for kind in dict.fromkeys(one.kind for one in found):
        row = Counter(one.what for one in found if one.kind == kind)
        lines.append(f"| {kind} | {row.total()} | " + " | ".join(str(row[name]) for name in COLUMNS) + " |")
    row = Counter(one.what for one in found)
    return "\n".join([*lines, f"| all | {row.total()} | " + " | ".join(str(row[name]) for name in COLUMNS) + " |"])


def main() -> int:
    """Print the table and the reasons; 1 if a file is read wrongly or ends in a traceback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, nargs="+", required=True, help="folders of files")
    parser.add_argument("--list", action="store_true", help="print the name of every refused file too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of the independent readers
    found: list[Outcome] = []
    for kind, path in (one for root in arguments.root for one in files_below(root)):
        for one in outcomes(kind, path):
            found.append(one)
            if one.what in ("wrong", "traceback") or (arguments.list and one.what == "refused"):
                print(f"{path}: {one.reason}", flush=True)
    if not found:
        parser.error(f"no files that segcct reads in {', '.join(map(str, arguments.root))}")
    print(f"\n{table(found)}\n\nRefused:")
    reasons = Counter((one.kind, one.reason, one.both) for one in found if one.what == "refused")
    for (kind, reason, both), count in sorted(reasons.items()):
        print(f"{count:5} {kind}: {reason}{' [the other library refuses it too]' if both else ''}")
    return int(any(one.what in ("wrong", "traceback") for one in found))


if __name__ == "__main__":
    program.run(main)
