"""From a case to a mask on the case's own grid, for prediction and for validation during training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock

import numpy as np
from torch import nn

from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.layouts.volumes import require_one_grid
from segcct.errors import DataError, GeometryError, ModelError
from segcct.files.file_names import case_name
from segcct.images.volume import Volume, check_spacing
from segcct.inference.adaptation import Adaptation, batch_norms
from segcct.inference.ensemble_network import Ensemble
from segcct.inference.frozen_generator import load_frozen
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.inferers import ProbabilityInferer, inferer_of, probability_inferer
from segcct.inference.loaded_model import VolumeModel
from segcct.inference.member_agreement import CountingEnsemble, MemberAgreement
from segcct.inference.memory_estimate import CaseMemory, check_memory, voxel_bytes
from segcct.inference.postprocessing import check_steps, postprocess
from segcct.inference.shared_batches import SharedBatches, images_per_batch
from segcct.model_card import ModelCard, PostprocessingStep
from segcct.preparation.prepared_case import PreparedCase, plan_grid, prepare_case
from segcct.preparation.slice_grid import SliceGrid
from segcct.runtime import pad_to, region_of

_ONE_AT_A_TIME = Lock()
"""Makes all threads share one model, also those that start at the same time."""


class KeptProbabilities:
    """A listener that keeps the probabilities of a case, at the network's scale.

    Args:
        slices: D, of the whole case.
        classes: K.
        size: (h, w) of a slice.
    """

    def __init__(self, slices: int, classes: int, size: tuple[int, int]) -> None:
        self.probabilities = np.empty((slices, classes, *size), dtype=np.float16)
        """(D, K, h, w)."""
        self.index = np.empty((slices, *size), dtype=np.uint8)
        """(D, h, w): the most probable classes."""
        self.heard = 0

    def __call__(self, batch: np.ndarray) -> None:
        part = slice(self.heard, self.heard + len(batch))
        self.probabilities[part] = batch
        self.index[part] = batch.argmax(axis=1)
        self.heard = part.stop


@dataclass(frozen=True)
class Segmented:
    """A case after its one pass through the network."""

    grid: Volume
    """The scan's own."""
    prepared: PreparedCase
    """The case as it was prepared, before it was adapted."""
    full: np.ndarray
    """(X, Y, Z) uint8 class indices on the scan's own grid."""
    kept: KeptProbabilities | None = None
    agreement: MemberAgreement | None = None
    """Of the members of an ensemble, if it was counted."""

    @property
    def soft(self) -> KeptProbabilities:
        """The probabilities that were kept."""
        assert self.kept is not None
        return self.kept


class Predictor(VolumeModel):
    """A trained segmentation model: (B, C, H, W) -> logits (B, K, H, W).

    predictor = Predictor.load("runs/acdc_cct_unet/best")
    mask = predictor.predict(Volume.load("scan.nii.gz"))
    """

    task, noun, command = "segmentation", "a segmenter", "train-seg"
    gives_probabilities = adapts = True

    def __init__(self, network: nn.Module, card: ModelCard, how: InferenceSettings | None = None) -> None:
        super().__init__(network, card, how)
        self.inferer = inferer_of(self.how.protocol, card.spatial_dims)
        self.adaptation = self._adaptation()

    @classmethod
    def check_card(cls, card: ModelCard, file: Path) -> None:
        """Also the steps of postprocessing."""
        super().check_card(card, file)
        check_steps(card.postprocessing, card.classes, file)

    def predict(
        self,
        scan: Volume | Mapping[str, Volume],
        *,
        mask: Volume | None = None,
        keep_largest: bool = False,
    ) -> Volume:
        """The mask of one scan, in the scheme's own values, on the grid of its first channel.

        Args:
            scan: the volume of a one-channel model, or channel name -> volume, all on one grid.
            mask: the region for intensity normalization, where it is above one half; for models trained with
                zscore_mask.
            keep_largest: keep only the largest component of each class.

        Raises:
            DataError: a channel is missing, or the mask is.
            GeometryError: two volumes are not on one grid, or a voxel size is not that of its affine.
            TypeError: one of them is a file name or an array.
        """
        wanted = list(self.data.channels)
        channels = dict(scan) if isinstance(scan, Mapping) else {wanted[0]: scan}
        for given in (*channels.values(), *([] if mask is None else [mask])):
            if not isinstance(given, Volume):
                raise TypeError(
                    f"a scan is a Volume, not {type(given).__name__}: read a file by Volume.load(file), or wrap an "
                    "array in Volume(array, affine, spacing_mm)"
                )
        if set(channels) != set(wanted):
            raise DataError(
                "channels do not fit the model", found=", ".join(channels) or "none", expected=", ".join(wanted)
            )
        volumes = [channels[name] for name in wanted]
        for other in [*volumes, *([] if mask is None else [mask])]:
            check_spacing(other)
            require_one_grid(other, volumes[0])
        if self.data.intensity.rule == "zscore_mask" and mask is None:
            raise DataError("this model needs a mask for intensity normalization", expected=self.data.intensity.mask)
        file = volumes[0].path or Path("scan")
        name = case_name(file)
        arrays = [volume.array for volume in volumes]
        loaded = LoadedCase(
            case=Case(name, name, {each: (channels[each].path or file,) for each in wanted}),
            image=arrays[0][None] if len(arrays) == 1 else np.stack(arrays, dtype=np.float32, casting="unsafe"),
            grid=volumes[0],
            mask=None if mask is None else region_of(mask.array),
        )
        return self.predict_case(loaded, keep_largest=keep_largest)

    def predict_case(self, loaded: LoadedCase, *, keep_largest: bool = False) -> Volume:
        """The mask of a case read by a layout, on its own grid."""
        return self.mask_of(self.segment(loaded, keep_largest=keep_largest))

    def segment(
        self,
        loaded: LoadedCase,
        *,
        keep_largest: bool = False,
        keep_probabilities: bool = False,
        count_agreement: bool = False,
    ) -> Segmented:
        """A case prepared and segmented.

        Of a case that nobody else holds, only the first channel is kept while the network runs.

        Args:
            loaded: the case.
            keep_largest: keep only the largest component of each class.
            keep_probabilities: hold those of the whole volume at once, as float16.
            count_agreement: count how far the members of an ensemble agree.

        Raises:
            ModelError: probabilities of a protocol that has none; or the network's output is not finite.
            DataError: the case does not fit into the free memory.
        """
        if keep_probabilities:
            self.require_probabilities()
        prepared = prepare_case(loaded, self.inferer.preparation(self.preparation), self.scheme)
        grid = loaded.grid
        if len(loaded.image) > 1:
            grid = grid.with_array(grid.array.copy())  # no view of all channels
        del loaded
        seen = self.adaptation.image_of(prepared, self.card)
        memory = self.case_memory(prepared.grid, keep_probabilities=keep_probabilities)
        check_memory(memory, memory.prediction, grid.path)
        size, classes = self.preparation.image_size, self.scheme.num_classes
        kept = KeptProbabilities(memory.slices[0], classes, prepared.grid.size) if keep_probabilities else None
        network = self._counting(seen) if count_agreement else self.network
        with self.adaptation.applied_to(self.network, seen, self.how, size):
            index = self.inferer(network, seen, self.how, size, kept)
        full = postprocess(index, self.steps(keep_largest=keep_largest), tuple(self.scheme.classes), grid.voxel_ml)
        agreement = network.agreement if isinstance(network, CountingEnsemble) else None
        return Segmented(grid, prepared, full, kept, agreement)

    def _adaptation(self) -> Adaptation:
        """The adaptation that `how` asks for. Raises `ModelError`, and as `load_frozen` for the generator."""
        how, adaptation = self.how, Adaptation.parse(self.how.adapt)
        if how.adapt != "none" and (how.protocol != "soft" or self.card.spatial_dims != 2):
            raise ModelError(
                "adaptation to a case is for networks over slices and the soft protocol",
                found=f"--protocol {how.protocol}, a network of {self.card.spatial_dims} dimensions",
                remedy="Leave --adapt out",
            )
        if (adaptation.statistics or adaptation.model) and how.backend != "torch":
            raise ModelError(
                "--adapt statistics and --adapt model change layers of the network",
                found=f"--backend {how.backend}",
                expected="--backend torch, and a best/ folder",
                remedy="Use --adapt image, or leave --adapt out",
            )
        if how.generator is None:
            return adaptation
        return replace(adaptation, generator=load_frozen(how.generator, self.data, self.scheme))

    @property
    def can_mix_statistics(self) -> bool:
        """Whether `--adapt statistics` is for this model."""
        return self.card.spatial_dims == 2 and bool(batch_norms(self.network))

    def require_probabilities(self) -> None:
        """Raises `ModelError` where the protocol of `how` gives masks alone."""
        if not isinstance(self.inferer, ProbabilityInferer):
            raise ModelError("the published slice protocol has no probabilities", remedy="Leave --protocol out")

    def case_memory(self, grid: SliceGrid, *, keep_probabilities: bool) -> CaseMemory:
        """What the memory for a case on this grid depends on."""
        slices = (grid.slice_shape[0], *grid.size)
        preparation = self.inferer.preparation(self.preparation)
        return CaseMemory(self.card, preparation, self.how, math.prod(grid.shape_xyz), slices, keep_probabilities)

    def check_header(self, header: Volume, *, as_stored: bool, keep_probabilities: bool) -> None:
        """Compare the memory that a case needs with what is free, before its files are read.

        Args:
            header: the grid of the first channel, without voxels.
            as_stored: integers stay what they are, as in a single file; else they become float32.
            keep_probabilities: as for `segment`.

        Raises:
            DataError: it does not fit.
        """
        try:
            grid = plan_grid(header, self.inferer.preparation(self.preparation))
        except GeometryError:  # preparing the case reports it, with the file
            return
        memory = self.case_memory(grid, keep_probabilities=keep_probabilities)
        held, stored = voxel_bytes(header, self.card.architecture.in_channels, as_stored=as_stored)
        check_memory(memory, partial(memory.from_files, held=held, stored=stored), header.path)

    def _counting(self, seen: PreparedCase) -> nn.Module:
        """The network, for this case; one of an ensemble counts how far its members agree."""
        network: nn.Module = self.network
        ensemble = network.network if isinstance(network, SharedBatches) else network
        if not isinstance(ensemble, Ensemble) or self.how.protocol != "soft":
            return network
        inside = slice(None), slice(None)
        if self.card.spatial_dims == 2:
            _, inside = pad_to(seen.image[:1], self.preparation.image_size)
        return CountingEnsemble(network, MemberAgreement(len(ensemble.members), self.scheme.num_classes), inside)

    @property
    def sharing(self) -> Predictor:
        """This model for threads that predict a 2-D image each: their images go through the network in batches. What a
        thread does for one case is inside `sharing.network.caller()`."""
        with _ONE_AT_A_TIME:
            return self._sharing

    @cached_property
    def _sharing(self) -> Predictor:
        shared = object.__new__(type(self))  # a copy would pickle
        shared.__dict__.update(self.__dict__)
        size = images_per_batch(self.how, self.preparation.image_size)
        shared.network = SharedBatches(self.network, size, self.how).eval()
        return shared

    def steps(self, *, keep_largest: bool = False) -> tuple[PostprocessingStep, ...]:
        """What is done to a mask: the steps of the card, unless `how` leaves them out, and the largest components."""
        steps = self.card.postprocessing if self.how.postprocessing else ()
        largest = PostprocessingStep(step="largest_component", classes=tuple(self.scheme.classes))
        return (*steps, largest) if keep_largest else steps

    def mask_of(self, segmented: Segmented) -> Volume:
        """The mask in the scheme's own values."""
        return segmented.grid.with_array(self.scheme.to_values(segmented.full))

    def probabilities(self, prepared: PreparedCase) -> Iterator[np.ndarray]:
        """Softmax of a prepared case at the network's scale, (n, K, h, w) float32 of successive slices."""
        inferer = probability_inferer(self.card.spatial_dims)
        return inferer.probabilities(self.network, prepared, self.how, self.preparation.image_size)
