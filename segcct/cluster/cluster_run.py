"""`segcct cluster-segment`: cases in, masks without labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.case_runner import Backend
from segcct.cluster.cluster_input import read_as
from segcct.cluster.cluster_masks import ByClusters, MaskWriter, Segment, WithoutClusters, card_of
from segcct.cluster.clusters import Clusters, Method, cluster_scheme, read_clusters
from segcct.cluster.cohort_clusters import CaseReader, Cohort, fit_cohort
from segcct.cluster.edges import EDGES, Edges
from segcct.cluster.intensity_points import Background, IntensityPoints
from segcct.cluster.points import PointsOf
from segcct.errors import ConfigError, DataError
from segcct.files.json_file import write_json
from segcct.inference.case_tables import VOLUMES
from segcct.inference.folder_prediction import Predictions, write_masks
from segcct.inference.folder_status import FolderStatus, folder_status
from segcct.inference.label_colors import write_label_colors
from segcct.inference.prediction_request import Request, resolve
from segcct.model_card import ModelCard
from segcct.progress import Progress, say
from segcct.provenance import versions

if TYPE_CHECKING:
    from segcct.cluster.token_points import TokenEncoder

METHODS = ("fuzzy-kmeans", "kmeans", "otsu", "canny", "normalized-cut")
CENTERS = "centers.json"
PER_CASE, COHORT = "per-case", "cohort"
_FITTED = METHODS[:3]


@dataclass(frozen=True)
class Clustering:
    """What is asked for: the options of the command."""

    method: Method
    centers: str = PER_CASE
    """per-case, cohort, or the name of a centers.json."""
    background: Background = "auto"
    standardize: bool = False
    memberships: bool = False
    backend: str | Backend = "serial"
    workers: int = 1

    def check(self, *, tokens: bool) -> None:
        """Raise `ConfigError` for options that do nothing, or cannot be met, together."""
        name = self.method.name
        wrong = {
            "--model": tokens and name in ("otsu", "canny"),
            "--centers": self.centers != PER_CASE and name not in _FITTED,
            "--memberships": self.memberships and name != "fuzzy-kmeans",
            "--standardize": self.standardize and (tokens or name not in _FITTED),
        }
        for option, does_nothing in wrong.items():
            if does_nothing:
                what = "tokens of a --model" if tokens and name in _FITTED else f"--method {name}"
                raise ConfigError(f"{option} does nothing for {what}", remedy=f"Leave {option} out")
        if name == "normalized-cut" and not tokens:
            raise ConfigError(
                "--method normalized-cut cuts the tokens of a model", remedy="Name it by --model RUN/best"
            )
        if tokens and self.backend != "serial":
            raise ConfigError("the tokens of a --model are made by one process", remedy="Leave out --workers, --engine")


@dataclass(frozen=True)
class ClusterRun:
    """All that is known before masks are written."""

    request: Request
    """The cases that get masks."""
    card: ModelCard
    how: dict[str, Any]
    writer: MaskWriter
    clusters: Clusters | None
    """Of all cases; None where every case has its own."""
    asked: Clustering

    @classmethod
    def of(
        cls,
        asked: Clustering,
        source: Path,
        output: Path,
        *,
        config: Path | None = None,
        keys: Sequence[str] = (),
        channels: Sequence[str] | None = None,
        encoder: TokenEncoder | None = None,
        shard: tuple[int, int] | None = None,
        anonymize: bool = False,
    ) -> ClusterRun:
        """Find the cases, and fit the centers of a cohort.

        Args:
            asked: the options.
            source: as for `segcct predict`.
            output: the folder of the masks.
            config: how the scans are read; None: as their names say, or as the encoder's model reads them.
            keys: words of the command line that change keys of the configuration.
            channels: those to be clustered; None: all.
            encoder: makes tokens, which are clustered instead of intensities.
            shard: (part, number of parts): masks of this part of the cases only. Centers are always those of all cases.
            anonymize: name masks by hashed ids.

        Raises:
            ConfigError: options that do not go together.
            DataError: nothing to read, or centers that do not fit.
            RunError: more shards than cases.
        """
        asked.check(tokens=encoder is not None)
        if encoder is None or config is not None:
            data = read_as(source, config, keys, channels)
        else:
            data = encoder.card.data_section(source)
        if encoder is None and len(data.channels) > 1:
            asked = replace(asked, standardize=True)
        facts: dict[str, Any] = {"background": str(asked.background), "standardize": asked.standardize}
        if encoder is not None:
            facts["model"] = encoder.card.weights_sha256
        scheme = EDGES if asked.method.name == "canny" else cluster_scheme(asked.method.clusters)
        request = resolve(card_of(data, asked.method, scheme, facts), source)
        mine = request if shard is None else request.shard(*shard)
        points_of: PointsOf = encoder or partial(
            IntensityPoints.of, background=asked.background, standardize=asked.standardize
        )
        reader = CaseReader(replace(request, cases=()), points_of)
        clusters = _common_clusters(asked, request, reader, tokens=encoder is not None)
        if clusters is not None:
            facts["centers"] = clusters.to_json()
        segment = _segment(asked, encoder, points_of, clusters)
        mask_format = request.mask_format("nifti", anonymize=anonymize)
        writer = MaskWriter(reader, segment, scheme, output, mask_format, anonymize)
        how = {"protocol": asked.method.name, "memberships": asked.memberships}
        return cls(mine, card_of(data, asked.method, scheme, facts), how, writer, clusters, asked)

    def write(self, *, overwrite: bool = False, continuing: bool = False) -> Predictions:
        """Write the masks, predictions.json, volumes.csv, and centers.json of a cohort. Raises as `write_masks`."""
        writer = self.writer
        predictions = write_masks(
            self.card,
            self.request,
            writer.output,
            writer,
            how=self.how,
            mask_format=writer.mask_format,
            tables=[VOLUMES],
            backend=self.asked.backend,
            workers=self.asked.workers,
            overwrite=overwrite,
            continuing=continuing,
            anonymize=writer.anonymize,
            progress=Progress("clustering"),
        )
        if not self.request.of_images:  # the others hold their colors
            write_label_colors(writer.output, writer.scheme.classes)
        if self.clusters is not None:
            channels = list(self.request.data.channels)
            reading = {"channels": channels, **_reading(self.asked)}
            content = {**self.clusters.to_json(), **reading, "provenance": versions()}
            write_json(writer.output / CENTERS, content)
        return predictions

    def status(self) -> FolderStatus:
        """How far the folder is."""
        writer = self.writer
        return folder_status(self.card, self.request, writer.output, how=self.how, anonymized=writer.anonymize)


def _segment(
    asked: Clustering, encoder: TokenEncoder | None, points_of: PointsOf, clusters: Clusters | None
) -> Segment:
    if asked.method.name == "canny":
        return WithoutClusters(Edges(asked.background))
    if asked.method.name == "normalized-cut":
        from segcct.cluster.normalized_cut import NormalizedCut

        assert encoder is not None  # see `Clustering.check`
        return WithoutClusters(NormalizedCut(encoder))
    return ByClusters(points_of, asked.method, clusters, asked.memberships)


def _reading(asked: Clustering) -> dict[str, Any]:
    """What centers hold for: stored with them, and compared where they are used again."""
    return {"standardize": asked.standardize, "background": str(asked.background)}


def _require_same_reading(clusters: Clusters, reading: Mapping[str, Any], file: str) -> None:
    stored = clusters.model_extra or {}
    if other := [name for name, value in reading.items() if stored.get(name, value) != value]:
        raise DataError(
            f"the centers are of intensities that were read in another way: other {', '.join(other)}",
            file=file,
            found=", ".join(f"{name} {stored[name]}" for name in other),
            expected=", ".join(f"{name} {reading[name]}" for name in other),
            remedy="Give the options with which they were fitted",
        )


def _common_clusters(asked: Clustering, request: Request, reader: CaseReader, *, tokens: bool) -> Clusters | None:
    """Those of all cases: fitted, or read from a file; None where every case has its own."""
    if asked.centers == PER_CASE:
        return None
    width = len(request.data.channels)
    if asked.centers == COHORT:
        cohort = Cohort(request.cases, reader, asked.backend, asked.workers)
        clusters = fit_cohort(cohort, asked.method, channels=width, tokens=tokens)
        if not clusters.converged:
            say(f"the centers still moved after {asked.method.max_iterations} iterations: see --max-iterations")
        return clusters
    clusters = read_clusters(Path(asked.centers))
    _require_same_reading(clusters, _reading(asked), asked.centers)
    if len(clusters.centers) != asked.method.clusters or (not tokens and len(clusters.centers[0]) != width):
        raise DataError(
            "other clusters than asked for",
            file=asked.centers,
            found=f"{len(clusters.centers)} centers of {len(clusters.centers[0])} coordinates",
            expected=f"{asked.method.clusters} of {width}",
            remedy="Choose --clusters and --channels as they were when these centers were fitted",
        )
    return clusters
