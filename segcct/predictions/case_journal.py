"""The journal of a prediction: a row for each case as it finishes, so that a kill loses only the cases in flight.

predictions.json is written when a call begins and when it ends; to write it for every case would take time that grows
with the square of their number. In between, each process of a call, on whatever machine, appends a line per case to a
file of its own in the output folder, `.cases-CALL-HOST-PROCESS.jsonl`. The call holds the lock `.cases-CALL.lock` as
long as it runs, and `.cases-CALL.json` lists the cases that it works on. Whoever writes predictions.json next merges
the rows of all calls, and removes the files of those that have ended.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcct.errors import SegcctError, StorageError
from segcct.files.json_file import parse_object, read_object, write_json
from segcct.files.lock import exclusive, holder

_FILE = re.compile(r"^\.cases-([0-9a-f]{8})[-.]")

_ASKED_S = 5.0
"""Seconds to wait for a lock: whoever asks who holds it takes it for a moment."""


@dataclass(frozen=True)
class Journal:
    """The rows of one call; pickles, so that other processes can add to it."""

    folder: Path
    call: str

    @property
    def _lock(self) -> Path:
        return self.folder / f".cases-{self.call}.lock"

    @property
    def _claim(self) -> Path:
        return self.folder / f".cases-{self.call}.json"

    def claim(self, names: Collection[str]) -> None:
        """List the cases that this call works on."""
        write_json(self._claim, {"cases": sorted(names)}, private=True)

    def claimed(self) -> frozenset[str]:
        """The cases that the call works on."""
        with suppress(SegcctError, KeyError, TypeError):
            return frozenset(read_object(self._claim)["cases"])
        return frozenset()

    def require_here(self) -> None:
        """Raises `StorageError` where the folder is another one than that of the process that began the call."""
        if not self._lock.is_file():
            raise StorageError(
                "this process does not see the output folder of the process that started the command",
                file=self.folder,
                remedy="Give an --output that all machines share",
            )

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Append the row of a case. A line that a kill or a full disk cuts off is not read."""
        file = self.folder / f".cases-{self.call}-{socket.gethostname()}-{os.getpid()}.jsonl"
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"\n" + json.dumps({"case": name, **row}).encode())
        finally:
            os.close(descriptor)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Case -> its last row, of every process of the call."""
        rows: dict[str, dict[str, Any]] = {}
        for file in self.folder.glob(f".cases-{self.call}-*.jsonl"):
            try:
                lines = file.read_bytes().splitlines()
            except FileNotFoundError:  # its call has ended just now, and predictions.json holds its rows
                continue
            except PermissionError:  # of another user's process; its call, if it still runs, has the rows too
                continue
            for line in lines:
                with suppress(ValueError, RecursionError, KeyError):
                    row = parse_object(line)
                    rows[str(row.pop("case"))] = row
        return rows

    def holder(self, *, unknown: str | None = None) -> str | None:
        """The process that the call runs in, in words; None where it has ended, `unknown` as `lock.holder`."""
        return holder(self._lock, unknown=unknown)

    def remove(self) -> None:
        """Remove the rows, which predictions.json holds by now."""
        for file in (*self.folder.glob(f".cases-{self.call}-*.jsonl"), self._claim):
            file.unlink(missing_ok=True)


@contextmanager
def new_journal(folder: Path) -> Iterator[Journal]:
    """The journal of a call that begins; held until the block ends. Rows stay where they are not removed."""
    journal = Journal(folder, secrets.token_hex(4))
    with exclusive(journal._lock, "this call writes here already", most_s=_ASKED_S):
        yield journal


def journals_in(folder: Path) -> list[Journal]:
    """The journals in a folder, of calls that run and of calls that were killed."""
    calls = {match[1] for file in folder.glob(".cases-*") if (match := _FILE.match(file.name))}
    return [Journal(folder, call) for call in sorted(calls)]
