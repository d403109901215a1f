"""Commands on folders that hold a hostile file next to a sound one: the sound one must still be processed.

`COMMANDS` lists them; `tried` writes the folder, runs a command in this process, and returns the verdict.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segcct.files.file_names import split_name
from tests.support.hostile_files import CANARY, SECONDS, Hostile, Verdict, holds_canary
from tests.support.hostile_world import run
from tests.support.mutations import SEEDS

VOLUMES = ("nifti", "nrrd", "metaimage", "dicom")
EVALUATIONS = ("evaluate", "evaluate against it")
COMMANDS: dict[str, tuple[str, ...]] = {
    "check": (*VOLUMES, "image", "hdf5", "npz"),
    "init": (*VOLUMES, "image", "hdf5", "npz"),
    "predict": (*VOLUMES, "image", "hdf5", "npz"),
    **dict.fromkeys(EVALUATIONS, ("nifti", "nrrd", "metaimage", "image")),
    "predict classes": ("image",),
}
"""Command -> kinds of files that it is given."""
_MOST_TEXT = 20_000


def tried(command: str, hostile: Hostile, folder: Path, models: Mapping[str, Path]) -> Verdict:
    """Run a command next to a hostile file; returns how it ended.

    Args:
        command: a key of `COMMANDS`.
        hostile: the file.
        folder: working folder; whatever it holds is removed first.
        models: `best/` folders of a `segmentation` and a `classification` model.
    """
    shutil.rmtree(folder, ignore_errors=True)
    path, sound = _written(hostile, folder / ("masks" if command in EVALUATIONS else "data"))
    arguments = _arguments(command, hostile.kind, path, sound, folder, models)
    began = time.process_time()
    status, text = run(arguments)
    seconds = time.process_time() - began
    written = [file.read_bytes() for file in sorted((folder / "out").rglob("*")) if file.is_file()]
    # A case that lacks a channel is an error before anything is predicted; one that cannot be read is not.
    wants_mask = command == "predict" and sound is not None and "holds no array named" not in text
    made = [file for file in (folder / "out").glob("*") if split_name(file.name)[1] in (".nii.gz", ".png", ".tif")]
    lost = wants_mask and not made
    if fault := fault_in(status, text, seconds, foreign=holds_canary([*written, text.encode()])):
        return fault
    if status == 1 and f"segcct {arguments[0]}: " not in text:
        return Verdict("wrong", f"no line of the command: {text[-300:]}")
    if lost:
        return Verdict("wrong", f"no mask of the sound scan: {text[-600:]}")
    return Verdict("refused" if status else "read", (text.strip().splitlines() or [""])[-1])


def fault_in(status: int | str, text: str, seconds: float, *, foreign: bool) -> Verdict | None:
    """What is wrong with how a command ended, whatever its input was; None if nothing is."""
    if isinstance(status, str) or "Traceback" in text or "is a bug" in text:
        return Verdict("traceback", f"{status}: {text[-600:]}")
    if seconds > SECONDS:
        return Verdict("slow", f"took {seconds:.1f} s")
    if foreign:
        return Verdict("foreign", "code ran, or a foreign file was read")
    if status not in (0, 1) or len(text) > _MOST_TEXT:
        return Verdict("wrong", f"status {status}, {len(text)} characters: {text[-300:]}")
    return None


def _written(hostile: Hostile, root: Path) -> tuple[Path, Path | None]:
    """The hostile file, written below a dataset root or folder of masks, and a sound file next to it.

    The sound file is None if there is none with the same ending.
    """
    by_case = hostile.kind in VOLUMES and root.name == "data"
    inside = root / ("p1" if by_case else "images")
    inside.mkdir(parents=True)
    (root / "canary.raw").write_bytes(CANARY)
    path = hostile.write(inside)
    data = _sound(hostile.kind, split_name(path.name)[1])
    if data is None:
        return path, None
    sound = root / "p0" / path.name if by_case else inside / f"sound{split_name(path.name)[1]}"
    sound.parent.mkdir(exist_ok=True)
    sound.write_bytes(data)
    return path, sound


def _sound(kind: str, ending: str) -> bytes | None:
    """The content of a sound file with that ending; None if there is none."""
    endings = (ending, ".dcm") if kind == "dicom" else (ending,)
    return next((data for data, suffix in SEEDS[kind] if suffix in endings), None)


def _data(kind: str, path: Path) -> dict[str, Any]:
    """Data section that reads the dataset; where possible, the file is image and label, so that both are read."""
    if kind in VOLUMES:
        return {"layout": "folder", "channels": {"t1": path.name}, "label": path.name}
    if kind == "image":
        return {"layout": "pictures", "channels": {"t1": "images/{id}.*"}, "label": "masks/{id}.*"}
    return {"layout": "slices", "channels": {"t1": "image"}, "label": "image"}


def _arguments(
    command: str, kind: str, path: Path, sound: Path | None, folder: Path, models: Mapping[str, Path]
) -> list[Any]:
    root, out = folder / "data", folder / "out"
    if command == "check":
        data = {**_data(kind, path), "root": str(root), "scheme": "acdc"}
        (folder / "check.yaml").write_text(yaml.safe_dump({"data": data}), encoding="utf-8")
        return ["check", "--config", folder / "check.yaml"]
    if command == "init":
        return ["init", root, "--output", out / "new.yaml"]
    if command == "predict classes":
        model = models["classification"]
        return ["predict", "--model", model, "--input", path.parent, "--output", out]
    if command == "predict":
        best = _with_data(models["segmentation"], folder / "best", _data(kind, path))
        return ["predict", "--model", best, "--input", root, "--output", out]
    masks = [path.parent, folder / "others"]
    masks[1].mkdir()
    if sound is not None:
        shutil.copy(sound, masks[1] / sound.name)
        shutil.copy(sound, masks[1] / path.name)
    if command == "evaluate against it":
        masks.reverse()
    return ["evaluate", "--prediction", masks[0], "--reference", masks[1], "--scheme", "acdc", "--output", out]


def _with_data(best: Path, copy: Path, data: Mapping[str, Any]) -> Path:
    """A copy of a model's folder whose card reads scans with this data section."""
    shutil.copytree(best, copy)
    (copy / "quality.json").unlink(missing_ok=True)
    card = json.loads((copy / "model.json").read_text(encoding="utf-8"))
    card["data"] |= data
    (copy / "model.json").write_text(json.dumps(card), encoding="utf-8")
    return copy
