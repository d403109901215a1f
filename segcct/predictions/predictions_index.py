"""predictions.json: the masks of a folder by case, how they were predicted, and how their files were read.

With hashed ids it names no file, folder or id; those are in sources.json in the same folder (sources_file.py).
Several processes may predict other cases each into one folder: each merges its entries into the file under a lock when
it begins and when it ends. What they finish in between is in their journals (case_journal.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.errors import RunError, SegcctError
from segcct.files.atomic_file import OTHER_OR_OVERWRITE, OTHER_OUTPUT
from segcct.files.file_names import absolute, spelled_as
from segcct.files.json_file import read_object, write_json
from segcct.files.lock import waiting
from segcct.files.pseudonyms import new_key, pseudonym
from segcct.files.remote_file import address_of, is_uri
from segcct.model_card import SchemeCard
from segcct.predictions.case_journal import Journal, journals_in
from segcct.predictions.case_tables import merge_rows
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.predictions_record import StoredPredictions
from segcct.predictions.sources_file import SOURCES, move_to_sources, read_key, read_sources
from segcct.provenance import provenance, versions

INDEX = "predictions.json"
LOCK = ".index.lock"


@dataclass
class Index:
    """The entries of one call of a prediction; `open` and `write` are called under `index_lock`."""

    folder: Path
    made_by: MaskSource
    data: DataSection
    selection: str | None
    """The split that is predicted; `some` if calls differ."""
    overwrite: bool
    key: str | None = None
    """Of the hash that names the masks; None if they are named by their case ids."""
    names: Collection[str] = ()
    """The names of all masks of this call."""
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of the mask -> its entry, of this call, without what `rows` says."""
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of the mask -> what became of its case in this call; see `PredictedCase.row`."""
    outdated: set[str] = field(default_factory=set)
    """Cases of this call whose rows in tables, such as quality.csv, are not of the mask that they have now."""
    journal: Journal | None = None
    """Of this call."""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of the mask -> id and files of its case; empty if they are in `cases`."""
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of the mask -> its entry by earlier calls with the same model; those of other cases stay."""

    @classmethod
    def open(
        cls,
        folder: Path,
        made_by: MaskSource,
        data: DataSection,
        selection: str | None,
        *,
        overwrite: bool,
        anonymized: bool = False,
    ) -> Index:
        """The index of a folder, empty if there is none.

        Raises:
            RunError: it is another model's, or damaged, or its key is gone, and `overwrite` is off (if it is on, such
                an index is replaced); or only one of the two is anonymized.
        """
        index = cls(folder, made_by, data, selection, overwrite)
        if anonymized:
            index.key = read_key(folder) or new_key()
        index.earlier = index._stored().get("cases", {})
        return index

    @property
    def anonymized(self) -> bool:
        """Names are hashed ids."""
        return self.key is not None

    def named(self, cases: Sequence[Case]) -> dict[str, Case]:
        """The cases by what their masks are called: their ids or hashes of them, spelled as by an earlier call."""
        if self.key is not None:
            return {pseudonym(case.id, self.key, self.earlier): case for case in cases}
        names = spelled_as([case.id for case in cases], self.earlier)
        return {names[case.id]: case for case in cases}

    def _stored(self) -> dict[str, Any]:
        """The current content of the file, of the same model; see `open`."""
        file, remedy = self.folder / INDEX, OTHER_OR_OVERWRITE
        # Read before the file: a row leaves its journal only once the file, which is replaced as a whole, holds it. So
        # what is read without the lock lacks no finished case.
        rows = self.rows_of_others()
        if not file.is_file():
            return {}
        try:
            content = read_object(file)
            StoredPredictions.from_json(content, file)
        except SegcctError as error:
            if self.overwrite:
                return {}
            raise RunError("is not an index of predictions", file=file, found=error.found, remedy=remedy) from None
        if content["cases"] and is_anonymized(content) != self.anonymized:
            raise RunError(
                f"holds predictions {'without' if self.anonymized else 'with'} --anonymize, and the two do not mix",
                file=self.folder,
                remedy=OTHER_OUTPUT,
            )
        if content.get("weights_sha256") != self.made_by.weights_sha256:
            problem = "holds another model's predictions"
        elif content["cases"] and self.anonymized and read_key(self.folder) is None:
            problem = f"holds anonymized predictions without the key of their names, which is in {SOURCES}"
        else:
            return {**content, "cases": self._with_rows(content["cases"], rows)}
        if not self.overwrite:
            raise RunError(problem, file=self.folder, remedy=remedy)
        return {}

    def expect(self, name: str, case: Case, *, mask: str, seen: str | None, how: Mapping[str, Any]) -> None:
        """List a case before its mask is written, so that an evaluation reports the mask as missing if that fails.

        Args:
            name: its name in the folder.
            case: its files.
            mask: the file name that is looked for.
            seen: the split of the model's run that it is in, train or val.
            how: what else the mask depends on: protocol, precision, keep_largest.
        """
        channels = {
            channel: [address_of(file) if is_uri(file) else absolute(file) for file in files]
            for channel, files in case.channels.items()
        }
        self.cases[name] = {"mask": mask, "seen": seen, **how}
        if self.anonymized:
            self.sources[name] = {"id": case.id, "channels": channels}
        else:
            self.cases[name]["channels"] = channels

    def _reading(self) -> dict[str, Any]:
        """The data section; with hashed ids, patterns that are file names are replaced by `*`."""
        section = self.data.model_dump(mode="json")
        if self.anonymized and self.made_by.patterns_are_names:
            section["channels"] = dict.fromkeys(section["channels"], "*")
        return section

    def rows_of_others(self) -> dict[str, dict[str, Any]]:
        """Name -> row of what other calls have finished since predictions.json was written."""
        return {name: row for journal in self._others() for name, row in journal.rows().items()}

    def _others(self) -> list[Journal]:
        """The journals of other calls."""
        return [journal for journal in journals_in(self.folder) if journal != self.journal]

    def _has_ended(self, journal: Journal) -> bool:
        """Whether the call of a journal has ended. Where its lock cannot tell, as on a file system without locks, it
        has if it was for cases of this call, which takes its place; one for other cases may be a shard that runs."""
        process = journal.holder(unknown="")
        return process is None or (not process and not {*journal.claimed(), *journal.rows()}.isdisjoint(self.names))

    def _with_rows(
        self, cases: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Mapping[str, Any]]:
        """The entries of other calls with what those have finished since, and where ids are hashed, with the digests of
        the inputs."""
        sources = read_sources(self.folder) if self.anonymized else {}
        inputs = {name: {"input": source["input"]} for name, source in sources.items() if "input" in source}
        return {name: _merged({**entry, **inputs.get(name, {})}, rows.get(name)) for name, entry in cases.items()}

    def write(self) -> None:
        """Merge into predictions.json, and before it into the tables, and into sources.json if ids are hashed; each
        atomically. The journals of calls that have ended are removed once their rows are merged.

        Raises:
            RunError: another model's predictions have taken the folder since this call began.
        """
        ended = [journal for journal in self._others() if self._has_ended(journal)]
        stored = self._stored()
        self.overwrite = False  # from now on the file may hold what other processes write, which is kept
        rows = {**({} if self.journal is None else self.journal.rows()), **self.rows}
        own = {name: _merged(entry, rows.get(name)) for name, entry in self.cases.items()}
        cases = {name: dict(entry) for name, entry in sorted({**stored.get("cases", {}), **own}.items())}
        unmerged = {name: row for name, row in self.rows_of_others().items() if name in cases}
        tables = {name: row.get("tables", {}) for name, row in {**unmerged, **rows}.items()}
        merge_rows(self.folder, tables, listed=cases, drop=self.outdated, private=not self.anonymized)
        if self.key is not None:
            move_to_sources(cases, self.folder, self.key, self.data.root, self.sources)
        content = self._content(cases, stored.get("selection", self.selection))
        write_json(self.folder / INDEX, content, private=not self.anonymized)
        for journal in ended:
            journal.remove()

    def _content(self, cases: Mapping[str, Any], selection: str | None) -> dict[str, Any]:
        """What predictions.json holds; `selection` is that of the earlier calls."""
        made_by, root = self.made_by, absolute(self.data.root)
        return {
            "task": made_by.task,
            "anonymized": self.anonymized,
            "cases": cases,
            "data": {**self._reading(), "root": "." if self.anonymized else root},
            "scheme": SchemeCard.of(made_by.scheme).model_dump(mode="json"),
            "selection": self.selection if selection == self.selection else "some",
            "weights_sha256": made_by.weights_sha256,
            **({} if made_by.members is None else {"members": made_by.members}),
            "synthetic_training": made_by.synthetic,
            "selected_on": made_by.selected_on,
            "architecture": made_by.architecture,
            "provenance": (versions if self.anonymized else provenance)(made_by.data_fingerprint),
        }


def _merged(entry: Mapping[str, Any], row: Mapping[str, Any] | None) -> dict[str, Any]:
    """An entry with what became of its case."""
    return {**entry, **{key: value for key, value in (row or {}).items() if key != "tables"}}


def index_lock(folder: Path) -> AbstractContextManager[None]:
    """Held while the index or quality.csv of a folder is read, changed and written; not during prediction."""
    return waiting(folder / LOCK)


def is_anonymized(content: Mapping[str, Any]) -> bool:
    """Whether a predictions.json or summary.json says that its cases are named by hashed ids."""
    return bool(content.get("anonymized"))
