"""The centers that all cases of a call share: fitted to them, or given as a file; and their file, centers.json."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcct.cluster import COHORT, PER_CASE
from segcct.cluster.clusters import Clusters, Method, read_clusters
from segcct.cluster.cohort_clusters import Cohort, fit_cohort
from segcct.errors import DataError
from segcct.files.json_file import write_json
from segcct.predictions.mask_folder import Existing
from segcct.progress import say
from segcct.provenance import versions

CENTERS = "centers.json"


@dataclass(frozen=True)
class CommonCenters:
    """Where the centers of all cases come from, and what they have to fit."""

    asked: str
    """per-case, cohort, or the name of a centers.json."""
    method: Method
    cohort: Cohort
    channels: list[str]
    points: Mapping[str, Any]
    """The kind of points that centers are valid for: stored with them, and compared when they are used again."""

    def clusters(self) -> Clusters | None:
        """Those of all cases: fitted, or read from a file; None where every case has its own.

        Raises `DataError` where they cannot be fitted, or do not fit the points or the options.
        """
        if self.asked == PER_CASE:
            return None
        return self._fitted() if self.asked == COHORT else self._given()

    def earlier(self, folder: Path) -> Clusters | None:
        """Those that an earlier call wrote to its folder; None where they are gone, damaged, or of other channels."""
        with suppress(DataError):
            clusters = read_clusters(folder / CENTERS)
            if (clusters.model_extra or {}).get("channels") == self.channels:
                return clusters
        return None

    def keep(self, clusters: Clusters | None, folder: Path, existing: Existing) -> None:
        """Write centers.json; where every case has its own centers, remove the file of masks that are replaced."""
        if clusters is not None:
            points = {"channels": self.channels, **self.points}
            write_json(folder / CENTERS, {**clusters.to_json(), **points, "provenance": versions()})
        elif existing == "replace":
            (folder / CENTERS).unlink(missing_ok=True)

    @property
    def _of_tokens(self) -> bool:
        return self.points["model"] is not None

    def _fitted(self) -> Clusters:
        clusters = fit_cohort(self.cohort, self.method, channels=len(self.channels), tokens=self._of_tokens)
        if not clusters.converged:
            say(f"the centers still moved after {self.method.max_iterations} iterations: see --max-iterations")
        return clusters

    def _given(self) -> Clusters:
        """Those of the file that --centers names. Raises `DataError` where they were fitted to other points, or under
        other options."""
        file, method, channels = self.asked, self.method, self.channels
        clusters = read_clusters(Path(file))
        _require_same_points(clusters, self.points, file)
        coordinates = len(clusters.centers[0])
        remedy = "Choose --method, --clusters and --channels as they were when these centers were fitted"
        if (clusters.method, len(clusters.centers)) != (method.name, method.clusters) or (
            not self._of_tokens and coordinates != len(channels)
        ):
            raise DataError(
                "the centers do not match the options",
                file=file,
                found=f"{len(clusters.centers)} centers of {coordinates} coordinates by {clusters.method}",
                expected=f"{method.clusters} of {len(channels)} by {method.name}",
                remedy=remedy,
            )
        stored = (clusters.model_extra or {}).get("channels")
        fitted = list(map(str, stored)) if isinstance(stored, list) else channels
        if fitted != channels and sorted(fitted) == sorted(channels):
            what = "the centers were fitted to these channels in another order"
            raise DataError(what, file=file, found=", ".join(fitted), expected=", ".join(channels), remedy=remedy)
        return clusters


def _require_same_points(clusters: Clusters, points: Mapping[str, Any], file: str) -> None:
    """Raises `DataError` unless the centers were fitted to such points; a file need not say how intensities were
    prepared, and holds centers of tokens only if it names their model."""
    stored = {**points, "model": None, **(clusters.model_extra or {})}
    if other := [name for name, value in points.items() if stored[name] != value]:
        raise DataError(
            f"the centers were fitted to other points: different {', '.join(other)}",
            file=file,
            found=", ".join(f"{name} {'none' if stored[name] is None else stored[name]}" for name in other),
            expected=", ".join(f"{name} {'none' if points[name] is None else points[name]}" for name in other),
            remedy="Give the options and the model with which they were fitted, or fit them again",
        )
