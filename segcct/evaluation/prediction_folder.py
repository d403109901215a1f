"""A folder of predicted masks by case, with the content of predictions.json if there is one."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from segcct.config import DataSection
from segcct.config.settings import load_data_section, stored_section
from segcct.datasets.label_schemes import Scheme, get_scheme, stored_scheme
from segcct.datasets.layouts import scheme_of
from segcct.errors import EvaluationError, LabelError, short_reason
from segcct.files.file_names import EXACT_IMAGE_SUFFIXES, VOLUME_SUFFIXES, split_name
from segcct.files.json_file import read_object
from segcct.predictions.mask_files import SUFFIXES
from segcct.predictions.predictions_index import INDEX
from segcct.predictions.predictions_record import StoredPredictions
from segcct.predictions.sources_file import read_key, read_sources


@dataclass(frozen=True)
class PredictionFolder:
    """Predicted masks by case id."""

    path: Path
    masks: dict[str, Path]
    """The files that predictions.json lists: others may be of another model, or not masks at all."""
    index: StoredPredictions = field(default_factory=lambda: StoredPredictions(cases={}))
    """The content of predictions.json; empty if there is none."""
    channels: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Case id -> channel -> its files."""
    data: DataSection | None = None
    """How the images and labels are read; None if it is not known."""
    scheme: Scheme | None = None
    """Of the masks, as predictions.json names it."""
    key: str | None = None
    """The key of the hashed ids; None if sources.json is missing."""

    @property
    def anonymized(self) -> bool:
        """Whether masks are named by hashed ids; then no output may name a case in another way."""
        return bool(self.index.anonymized)


def read_predictions(folder: Path, read_as: DataSection | None = None) -> PredictionFolder:
    """The masks of a folder; `read_as` is the data section that takes the place of that of predictions.json.

    Raises `EvaluationError` if it is missing or empty, or its index cannot be read.
    """
    if not folder.is_dir():
        raise EvaluationError("no such folder of predictions", file=folder, remedy="Name the folder that holds masks")
    file = folder / INDEX
    if not file.is_file():
        masks = mask_files(folder)
        if not masks:
            raise EvaluationError("holds no masks", file=folder, expected=f"files ending in {', '.join(SUFFIXES)}")
        return PredictionFolder(folder, masks, data=read_as, key=read_key(folder))
    index = StoredPredictions.from_json(read_object(file, StoredPredictions.NOT_THIS, error=EvaluationError), file)
    channels = {case: entry.channels or {} for case, entry in index.cases.items()}
    if index.anonymized:
        channels = {case: entry["channels"] for case, entry in read_sources(folder).items()}
    try:
        data = stored_section(DataSection, index.data, file=file, error=EvaluationError) if index.data else None
        scheme = None
        if index.scheme is not None:
            regions = {name: tuple(values) for name, values in (index.scheme.regions or {}).items()}
            scheme = stored_scheme(index.scheme.name, index.scheme.classes, regions)
    except (LabelError, OSError) as error:
        reason = short_reason(error)
        raise EvaluationError(StoredPredictions.NOT_THIS, file=file, found=reason) from error
    masks = {case: folder / entry.mask for case, entry in index.cases.items()}
    return PredictionFolder(folder, masks, index, channels, read_as or data, scheme, read_key(folder))


def scheme_and_section(scheme: str | Path | Scheme | None) -> tuple[str | Scheme | None, DataSection | None]:
    """What `--scheme NAME|CONFIG` says: the config of an experiment gives its scheme and how it reads its cases, a name
    or scheme no more than itself.

    Raises `ConfigError` for a config that cannot be read, `LabelError` for what is neither.
    """
    if not isinstance(scheme, str | Path | Scheme | None):
        expected = "the name of a scheme, or the config of an experiment, whose data.labels names the classes"
        raise LabelError("not a label scheme", found=repr(scheme), expected=expected)
    if isinstance(scheme, Path) or (isinstance(scheme, str) and scheme.endswith((".yaml", ".yml"))):
        section = load_data_section(Path(scheme))
        return scheme_of(section), section
    return scheme, None


def choose_scheme(scheme: str | Scheme | None, predictions: PredictionFolder) -> Scheme:
    """The scheme, or the one of that name, else that of `predictions.json`.

    Raises `EvaluationError` if there is none, or if it gives the masks' values another meaning than `predictions.json`.
    """
    written = predictions.scheme
    if scheme is None or (scheme == "custom" and written is not None):
        if written is None:
            raise EvaluationError(
                "the meaning of the label values is not known",
                file=predictions.path,
                found=f"{INDEX} without a scheme" if predictions.index.cases else f"no {INDEX}",
                remedy="Name it with --scheme, such as --scheme brats2021, or --scheme CONFIG for classes of your own",
            )
        return written
    chosen = get_scheme(scheme) if isinstance(scheme, str) else scheme
    if written is not None and not _mean_the_same(written, chosen):
        raise EvaluationError(
            "the masks were not written under this scheme",
            file=predictions.path / INDEX,
            found=f"--scheme {_with_classes(chosen)}",
            expected=_with_classes(written),
            remedy="Leave --scheme out, or name the one the masks were written under",
        )
    return chosen


def check_same_meaning(scheme: Scheme, others: PredictionFolder) -> None:
    """Raises `EvaluationError` if the `predictions.json` of other masks gives their values another meaning than those
    that they are compared with."""
    written = others.scheme
    if written is not None and not (_mean_the_same(written, scheme) or _mean_the_same(scheme, written)):
        raise EvaluationError(
            "the other masks were written under another scheme",
            file=others.path / INDEX,
            found=_with_classes(written),
            expected=_with_classes(scheme),
            remedy="Compare masks whose label values mean the same",
        )


def _mean_the_same(written: Scheme, chosen: Scheme) -> bool:
    """Whether two schemes give label values one meaning. The classes of a custom one may get other names, but a name
    that both have must be of the same value."""
    if written.name == chosen.name != "custom" or dict(written.classes) == dict(chosen.classes):
        return True
    kept = all(written.classes.get(name, value) == value for name, value in chosen.classes.items())
    return written.name == "custom" and set(written.values) == set(chosen.values) and kept


def _with_classes(scheme: Scheme) -> str:
    return f"{scheme.name} ({', '.join(f'{name} {value}' for name, value in scheme.classes.items())})"


def mask_files(folder: Path, endings: tuple[str, ...] = (), *, ids: Container[str] = ()) -> dict[str, Path]:
    """Masks directly in a folder by case id: its volumes, or if there are none, its 2-D images. An ending listed in
    `endings` is dropped from the id, unless the whole name is one of `ids`."""
    named = partial(_named, folder, endings=endings, ids=ids)
    return named(VOLUME_SUFFIXES) or named(EXACT_IMAGE_SUFFIXES)


def _named(folder: Path, suffixes: tuple[str, ...], endings: tuple[str, ...], ids: Container[str]) -> dict[str, Path]:
    """Files with such a suffix by case id; of `X` and `X_seg`, `X_seg` is the mask of X."""
    plain: dict[str, Path] = {}
    marked: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        name = file.name
        stem, suffix = split_name(name)
        if suffix.lower() not in suffixes or name.startswith(".") or not is_there(file):
            continue
        ending = next((end for end in endings if stem.lower().endswith(end) and len(stem) > len(end)), "")
        files, case = (marked, stem[: -len(ending)]) if ending and stem not in ids else (plain, stem)
        if case in files:
            raise EvaluationError(
                f"two masks of case {case}",
                file=file,
                found=f"also {files[case].name}",
                remedy="Remove one of the two, or rename it",
            )
        files[case] = file
    return dict(sorted((plain | marked).items()))


def is_there(file: Path) -> bool:
    """A file, or a broken link, which is reported when it is read."""
    return file.is_file() or (file.is_symlink() and not file.exists())
