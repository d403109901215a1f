"""How the scans to be clustered are read: as a configuration says, or else as their names say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from segcct.config import DataSection
from segcct.config.settings import load_data_section
from segcct.datasets.layouts import find_new_cases
from segcct.datasets.layouts.file_roles import names_modality
from segcct.errors import ConfigError, DataError, did_you_mean
from segcct.files.file_names import IMAGE_SUFFIXES, VOLUME_SUFFIXES, split_name
from segcct.images.raster import BANDS, read_pages
from segcct.images.volume import holds_dicom
from segcct.init.folder_inspection import data_section_of


def read_as(source: Path, config: Path | None, keys: Sequence[str], channels: Sequence[str] | None) -> DataSection:
    """The data section by which `source` is read.

    Args:
        source: a file, a folder of DICOM slices, a case folder or a dataset root.
        config: an experiment of `segcct init`, whose section counts.
        keys: words of the command line that change its keys.
        channels: names of those to be clustered; None: all.

    Raises:
        ConfigError: keys without a configuration, or unknown ones.
        DataError: no such file, names that do not show what is a scan, or a channel that is not there.
    """
    if config is not None:
        data = load_data_section(config, keys)
    elif keys:
        raise ConfigError(f"{keys[0]} does nothing without a configuration", remedy="Name it by --config")
    elif not source.exists():
        raise DataError("no such file or folder", file=source)
    elif source.is_file() or holds_dicom(source):
        data = _one_file(source)
    else:
        data = _folder(source)
    return data if channels is None else _chosen(data, channels)


def _one_file(source: Path) -> DataSection:
    if source.name.lower().endswith(IMAGE_SUFFIXES):
        return _pictures(source.parent, f"*{source.suffix}", source)
    return _section("folder", source.parent, {"image": "*"})


def _folder(root: Path) -> DataSection:
    """A dataset by the names of its files; else every file directly in the folder is a case."""
    files = sorted(file for file in root.iterdir() if file.name.lower().endswith(VOLUME_SUFFIXES + IMAGE_SUFFIXES))
    endings = {split_name(file.name)[1] for file in files}
    try:
        data = data_section_of(root)
        if len(endings) != 1 or not _is_heap(data):
            return data
    except DataError:
        if len(endings) != 1:
            raise
    (ending,) = endings
    if ending.lower() in IMAGE_SUFFIXES:
        return _pictures(root, f"*{ending}", files[0])
    return _section("folder" if len(files) == 1 else "paired", root, {"image": f"*{ending}"})


def _is_heap(data: DataSection) -> bool:
    """Whether the files of a folder were taken for channels, though their names do not say so: all of them for those of
    one case, or 2-D images that are numbered within a patient (p1_0.png, p1_1.png), but not as nnU-Net numbers channels
    (p1_0000.png, p1_0001.png)."""
    of_nnunet = set(data.channels) == {f"{number:04d}" for number in range(len(data.channels))}
    if data.layout == "pictures" and data.label is None and all(map(str.isdecimal, data.channels)) and not of_nnunet:
        return all(case.files()[0].parent == data.root for case in find_new_cases(data).cases)
    if data.layout != "folder" or data.label is not None or any(map(names_modality, data.channels)):
        return False
    return [case.files()[0].parent for case in find_new_cases(data).cases] == [data.root]


def _pictures(root: Path, pattern: str, first: Path) -> DataSection:
    """The section of 2-D images; the first one decides whether they are read in color."""
    color = read_pages(first).ndim == 4
    return _section("pictures", root, dict.fromkeys(BANDS if color else ("image",), pattern))


def _section(layout: str, root: Path, channels: Mapping[str, str]) -> DataSection:
    content = {"layout": layout, "root": root, "channels": dict(channels)}
    return DataSection.model_validate({**content, "scheme": "binary", "intensity": {"rule": "none"}})


def _chosen(data: DataSection, channels: Sequence[str]) -> DataSection:
    for name in channels:
        if name not in data.channels:
            expected = ", ".join(f"{known} ({pattern})" for known, pattern in data.channels.items())
            raise DataError(f"no channel {name}", expected=expected, remedy=did_you_mean(name, data.channels))
    return data.model_copy(update={"channels": {name: data.channels[name] for name in channels}})
