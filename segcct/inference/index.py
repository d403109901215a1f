"""predictions.json: which mask is whose, how it was made, and how its files were read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcct.config import DataSection
from segcct.data.case import Case
from segcct.errors import RunError
from segcct.runs import ModelCard, provenance, write_json

INDEX = "predictions.json"


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

    @classmethod
    def open(cls, folder: Path, card: ModelCard, data: DataSection, selection: str | None, *, overwrite: bool) -> Index:
        """The index of a folder, empty where there is none.

        Raises:
            RunError: it is another model's, or damaged, and `overwrite` is off; these are forgotten where it is on.
        """
        if folder.exists() and not folder.is_dir():
            raise RunError("is not a folder", file=folder)
        content = _read(folder / INDEX, overwrite=overwrite)
        if content and content.get("weights_sha256") != card.weights_sha256:
            if not overwrite:
                raise RunError(
                    "holds another model's predictions",
                    file=folder,
                    remedy="Choose another --output, or add --overwrite",
                )
            content = {}
        selection = selection if content.get("selection", selection) == selection else "some"
        return cls(folder, card, data, selection, content.get("cases", {}))

    def expect(self, name: str, case: Case, *, mask: str, seen: str | None, how: Mapping[str, Any]) -> None:
        """Note a case before its mask is made, so that an evaluation misses the mask where that fails.

        Args:
            name: its name in the folder.
            case: its files.
            mask: the file name that is looked for.
            seen: the side of the model's split that it stands on, train or val.
            how: what else the mask depends on: protocol, precision, keep_largest.
        """
        channels = {channel: [str(file.resolve()) for file in files] for channel, files in case.channels.items()}
        self.cases[name] = {"mask": mask, "channels": channels, "seen": seen, **how}

    def made(self, name: str, mask: Path, *, synthetic: bool) -> None:
        """Note the file of a case's mask, and whether the case says that it is synthetic."""
        self.cases[name] |= {"mask": mask.name, "synthetic": synthetic}

    def write(self) -> None:
        """Write predictions.json, whole or not at all."""
        card = self.card
        write_json(
            self.folder / INDEX,
            {
                "cases": self.cases,
                "data": {**self.data.model_dump(mode="json"), "root": str(self.data.root.resolve())},
                "scheme": card.scheme.model_dump(mode="json"),
                "selection": self.selection,
                "weights_sha256": card.weights_sha256,
                "synthetic_training": card.synthetic,
                "selected_on": card.selected_on,
                "architecture": card.architecture.model_dump(mode="json"),
                "provenance": provenance(card.data_fingerprint),
            },
        )


def _read(file: Path, *, overwrite: bool) -> dict[str, Any]:
    """What the file holds; nothing where it is missing, or damaged and to be overwritten."""
    if not file.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content["cases"], dict):
            raise TypeError("'cases' is no mapping")
    except (ValueError, KeyError, TypeError) as error:
        if overwrite:
            return {}
        raise RunError(
            "is not an index of predictions",
            file=file,
            found=" ".join(str(error).split())[:200],
            remedy="Choose another --output, or add --overwrite",
        ) from None
    return content
