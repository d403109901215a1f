"""predictions.json: which mask is whose, how it was made, and how its files were read.

Where ids are hashed it names no file, folder or other id; those stand in sources.json beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcct.config import DataSection
from segcct.data.case import Case
from segcct.errors import DataError, RunError
from segcct.file_names import absolute
from segcct.json_file import read_object
from segcct.runs import ModelCard, provenance, write_json

INDEX = "predictions.json"
SOURCES = "sources.json"
NOTE = "names patients, files and folders: not to be shared with the anonymised masks"


@dataclass
class Index:
    """What a folder of predictions says of its masks; cases of earlier calls with the same model stay."""

    folder: Path
    card: ModelCard
    data: DataSection
    selection: str | None
    """The side of the model's split that is predicted; `some` where calls differ."""
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of the mask -> its entry."""
    anonymised: bool = False
    """Names are hashed ids."""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of the mask -> id and files of its case; empty where `cases` holds them."""

    @classmethod
    def open(
        cls,
        folder: Path,
        card: ModelCard,
        data: DataSection,
        selection: str | None,
        *,
        overwrite: bool,
        anonymised: bool = False,
    ) -> Index:
        """The index of a folder, empty where there is none.

        Raises:
            RunError: it is another model's, or damaged, and `overwrite` is off; these are forgotten where it is on. It
                is anonymised and this is not, or the other way round.
        """
        if folder.exists() and not folder.is_dir():
            raise RunError("is not a folder", file=folder)
        content = _read(folder / INDEX, overwrite=overwrite)
        if content.get("cases") and bool(content.get("anonymised")) != anonymised:
            raise RunError(
                f"holds predictions {'without' if anonymised else 'with'} --anonymise, and the two do not mix",
                file=folder,
                remedy="Choose another --output",
            )
        if content and content.get("weights_sha256") != card.weights_sha256:
            if not overwrite:
                raise RunError(
                    "holds another model's predictions",
                    file=folder,
                    remedy="Choose another --output, or add --overwrite",
                )
            content = {}
        selection = selection if content.get("selection", selection) == selection else "some"
        cases = content.get("cases", {})
        sources = {name: entry for name, entry in read_sources(folder).items() if name in cases}
        return cls(folder, card, data, selection, cases, anonymised, sources)

    def expect(self, name: str, case: Case, *, mask: str, seen: str | None, how: Mapping[str, Any]) -> None:
        """Note a case before its mask is made, so that an evaluation misses the mask where that fails.

        Args:
            name: its name in the folder.
            case: its files.
            mask: the file name that is looked for.
            seen: the side of the model's split that it stands on, train or val.
            how: what else the mask depends on: protocol, precision, keep_largest.
        """
        channels = {channel: [absolute(file) for file in files] for channel, files in case.channels.items()}
        self.cases[name] = {"mask": mask, "seen": seen, **how}
        if self.anonymised:
            self.sources[name] = {"id": case.id, "channels": channels}
        else:
            self.cases[name]["channels"] = channels

    def made(self, name: str, mask: Path, *, synthetic: bool) -> None:
        """Note the file of a case's mask, and whether the case says that it is synthetic."""
        self.cases[name] |= {"mask": mask.name, "synthetic": synthetic}

    def write(self) -> None:
        """Write predictions.json, and before it sources.json where ids are hashed; each whole or not at all."""
        card, root, made = self.card, absolute(self.data.root), provenance(self.card.data_fingerprint)
        if self.anonymised:
            sources = {"note": NOTE, "root": root, "command": made.pop("command"), "cases": self.sources}
            write_json(self.folder / SOURCES, sources)
        write_json(
            self.folder / INDEX,
            {
                "anonymised": self.anonymised,
                "cases": self.cases,
                "data": {**self.data.model_dump(mode="json"), "root": "." if self.anonymised else root},
                "scheme": card.scheme.model_dump(mode="json"),
                "selection": self.selection,
                "weights_sha256": card.weights_sha256,
                "synthetic_training": card.synthetic,
                "selected_on": without_ids(card.selected_on) if self.anonymised else card.selected_on,
                "architecture": card.architecture.model_dump(mode="json"),
                "provenance": made,
            },
        )


def hashed(case_id: str) -> str:
    """A case id that does not name the patient; the same for the same id."""
    return "case_" + hashlib.sha256(case_id.encode()).hexdigest()[:12]


def without_ids(selected_on: Any) -> Any:
    """What a model was selected on, with the number of the cases in place of their ids."""
    if not isinstance(selected_on, Mapping) or not isinstance(selected_on.get("cases"), list):
        return selected_on
    return {**selected_on, "cases": len(selected_on["cases"])}


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of a mask -> id and files of its case; nothing where sources.json was taken away, or is damaged."""
    try:
        cases: dict[str, dict[str, Any]] = read_object(folder / SOURCES)["cases"]
        return {name: {**entry, "channels": dict(entry["channels"])} for name, entry in cases.items()}
    except (DataError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def check_cases(content: Mapping[str, Any]) -> None:
    """Raises `ValueError` where what predictions.json says of its masks is of another kind."""
    cases = content.get("cases")
    if not isinstance(cases, dict):
        raise ValueError("no mapping of cases")
    for name, entry in cases.items():
        mask = entry.get("mask") if isinstance(entry, dict) else None
        # A mask lies in the folder itself: a path that leads out of it is of somebody else.
        if not isinstance(mask, str) or not mask or Path(mask).name != mask:
            raise ValueError(f"no mask of case {name[:80]}")
        if not isinstance(entry.get("channels") or {}, dict) or not isinstance(entry.get("seen") or "", str):
            raise ValueError(f"an entry of another kind for case {name[:80]}")


def _read(file: Path, *, overwrite: bool) -> dict[str, Any]:
    """What the file holds; nothing where it is missing, or damaged and to be overwritten."""
    if not file.is_file():
        return {}
    try:
        content = read_object(file)
        check_cases(content)
    except (DataError, ValueError) as error:
        if overwrite:
            return {}
        raise RunError(
            "is not an index of predictions",
            file=file,
            found=error.found if isinstance(error, DataError) else str(error),
            remedy="Choose another --output, or add --overwrite",
        ) from None
    return content
