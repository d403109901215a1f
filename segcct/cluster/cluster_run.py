"""`segcct cluster-segment`: cases in, masks without labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.case_runner import Backend
from segcct.cluster import COHORT, PER_CASE
from segcct.cluster.cluster_input import read_as
from segcct.cluster.cluster_masks import ByClusters, MaskWriter, Segment, WithoutClusters, source_of
from segcct.cluster.clusters import Clusters, Method, cluster_scheme
from segcct.cluster.cohort_clusters import CaseReader, Cohort
from segcct.cluster.common_centers import CENTERS, CommonCenters
from segcct.cluster.edges import EDGES, Edges
from segcct.cluster.intensity_points import Background, IntensityPoints
from segcct.cluster.points import PointsOf
from segcct.config import DataSection
from segcct.config.settings import stored_section
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import get_layout
from segcct.errors import ConfigError, SegcctError
from segcct.files.json_file import read_object
from segcct.model_card import reading
from segcct.predictions.case_tables import VOLUMES
from segcct.predictions.folder_status import FolderStatus, folder_status
from segcct.predictions.mask_folder import Existing, MaskFolder, Predictions
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.prediction_request import Request, request_of
from segcct.predictions.predictions_index import INDEX
from segcct.predictions.predictions_record import StoredPredictions
from segcct.progress import Progress, say, without_names

if TYPE_CHECKING:
    from segcct.cluster.token_points import TokenEncoder


@dataclass(frozen=True)
class Clustering:
    """The options of the command."""

    method: Method
    centers: str = PER_CASE
    """per-case, cohort, or the name of a centers.json."""
    background: Background = "auto"
    standardize: bool = False
    """Bring the channels of each case to mean 0 and standard deviation 1; several channels always are."""
    memberships: bool = False
    """Also write how much each voxel belongs to each cluster."""
    backend: str | Backend = "serial"
    workers: int = 1
    max_failures: int | None = None
    """Once more cases than this have failed, no further case is begun."""

    @property
    def scheme(self) -> Scheme:
        """Of the masks."""
        return EDGES if self.method.name == "canny" else cluster_scheme(self.method.clusters)


@dataclass(frozen=True)
class ClusterRun:
    """One call of the command: its options, and the cases it found."""

    asked: Clustering
    cohort: Request
    """All cases."""
    request: Request
    """Those that get masks."""
    output: Path
    encoder: TokenEncoder | None
    """Makes tokens, which are clustered instead of intensities."""

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
        """Find the cases.

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
            ConfigError: a method that needs an encoder, or one channel; or keys without a configuration.
            DataError: nothing to read.
            RunError: more shards than cases.
        """
        if asked.method.name == "normalized-cut" and encoder is None:
            raise ConfigError(
                "--method normalized-cut cuts the tokens of a model", remedy="Name it by --model RUN/best"
            )
        if encoder is None or config is not None or keys:
            with without_names(wanted=anonymize):
                data = read_as(source, config, keys, channels)
        else:
            data = encoder.card.data_section(source)
        if encoder is None and len(data.channels) > 1:
            if asked.method.name == "otsu":
                raise ConfigError(
                    "--method otsu divides the intensities of one channel",
                    found=", ".join(data.channels),
                    remedy="Choose one by --channels, or another --method",
                )
            asked = replace(asked, standardize=True)

        def section_of(root: Path) -> DataSection:
            return stored_section(DataSection, {**reading(data), "root": root})

        cohort = request_of(section_of, source, anonymize=anonymize)
        request = cohort if shard is None else cohort.shard(*shard)
        return cls(asked, cohort, request, output, encoder)

    def write(self, existing: Existing = "refuse") -> Predictions:
        """Fit the centers of a cohort, and write the masks, predictions.json, volumes.csv and centers.json.

        Args:
            existing: as for `MaskFolder`; `continue` also keeps the centers of a cohort that an earlier call has fitted
                under the same settings, though there may be more cases now, and the masks made with them.

        Raises:
            DataError: centers that do not fit, or that cannot be fitted.
            RunError, OSError: as `MaskFolder.write`.
        """
        asked, mask_format = self.asked, self.request.mask_format("nifti")
        clusters = (self._earlier_clusters() if existing == "continue" else None) or self._centers.clusters()
        work = MaskWriter(self._reader, self._segment(clusters), asked.scheme, self.output, mask_format)
        masks = MaskFolder(
            self.output,
            self._made_by(clusters),
            self.request,
            self._how,
            mask_format,
            [VOLUMES],
            existing=existing,
        )
        progress = Progress("clustering")
        return masks.write(
            work,
            backend=asked.backend,
            workers=asked.workers,
            max_failures=asked.max_failures,
            progress=progress,
            # Before the masks: a call that continues an interrupted one needs the same centers.
            on_start=lambda: self._centers.keep(clusters, self.output, existing),
        )

    def status(self) -> FolderStatus:
        """What is done and what is missing; the masks of a cohort count whatever centers were fitted to it."""
        if self.asked.centers == COHORT:
            made_by = _as_stored(self._made_by(None), self.output)
        else:
            made_by = self._made_by(self._centers.clusters())
        return folder_status(made_by, self.request, self.output, how=self._how, tables=[VOLUMES])

    @property
    def _how(self) -> dict[str, Any]:
        """What a mask depends on besides what the digest of `_made_by` covers."""
        how: dict[str, Any] = {"protocol": self.asked.method.name, "memberships": self.asked.memberships}
        if self.encoder is not None:
            how["precision"] = self.encoder.how.precision
        if self.asked.centers != PER_CASE:
            how["centers"] = COHORT
        return how

    @property
    def _channels(self) -> list[str]:
        return list(self.cohort.data.channels)

    @property
    def _read_as(self) -> list[str]:
        """The channels, told apart where they are in the same files: bands of an image, or arrays by their names."""
        data = self.cohort.data
        if get_layout(data.layout).names_arrays:
            return [f"{name}: {array}" for name, array in data.channels.items()]
        return self._channels

    def _made_by(self, clusters: Clusters | None) -> MaskSource:
        facts: dict[str, Any] = {
            "background": str(self.asked.background),
            "standardize": self.asked.standardize,
            "channels": ", ".join(self._read_as),
        }
        if self.encoder is not None:
            facts.update(self.encoder.identity)
        if clusters is not None:
            facts["centers"] = clusters.model_dump(include=set(Clusters.model_fields), exclude_unset=True)
        return source_of(self.cohort.data, self.asked.method, self.asked.scheme, facts)

    @property
    def _points_of(self) -> PointsOf:
        asked = self.asked
        intensities = partial(IntensityPoints.of, background=asked.background, standardize=asked.standardize)
        return self.encoder or intensities

    @property
    def _centers(self) -> CommonCenters:
        asked = self.asked
        model: Mapping[str, str | None] = {"model": None} if self.encoder is None else self.encoder.identity
        cohort = Cohort(self.cohort.cases, self._reader, asked.backend, asked.workers, asked.max_failures)
        points = {"standardize": asked.standardize, "background": str(asked.background), **model}
        return CommonCenters(asked.centers, asked.method, cohort, self._channels, points)

    @property
    def _reader(self) -> CaseReader:
        return CaseReader(replace(self.cohort, cases=()), self._points_of)

    def _segment(self, clusters: Clusters | None) -> Segment:
        if self.asked.method.name == "canny":
            return WithoutClusters(Edges(self.asked.background))
        if self.asked.method.name == "normalized-cut":
            from segcct.cluster.normalized_cut import NormalizedCut

            assert self.encoder is not None  # see `of`
            return WithoutClusters(NormalizedCut(self.encoder))
        return ByClusters(self._points_of, self.asked.method, clusters, self.asked.memberships)

    def _earlier_clusters(self) -> Clusters | None:
        """The centers in the folder, if its masks are of a cohort and were made with them under the same settings."""
        stored = _stored(self.output)
        if self.asked.centers != COHORT or stored is None:
            return None
        clusters = self._centers.earlier(self.output)
        if clusters is None or stored.weights_sha256 != self._made_by(clusters).weights_sha256:
            return None
        file = self.output / CENTERS
        say(f"the centers are those of {file}: to fit them again, give --overwrite instead of --continue")
        return clusters


def _as_stored(made_by: MaskSource, folder: Path) -> MaskSource:
    """The same settings with the digest that the masks in a folder have, which covers the centers of their cohort;
    unchanged where there are no such masks. Their entries say whether they are masks of a cohort (`_how`)."""
    stored = _stored(folder)
    if stored is not None and stored.weights_sha256 and stored.architecture == made_by.architecture:
        return replace(made_by, weights_sha256=stored.weights_sha256)
    return made_by


def _stored(folder: Path) -> StoredPredictions | None:
    """predictions.json; None where it is missing, or cannot be read, which `Index` refuses."""
    with suppress(SegcctError):
        return StoredPredictions.from_json(read_object(folder / INDEX), folder / INDEX)
    return None
