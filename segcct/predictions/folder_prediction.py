"""A file, a case folder or a dataset root -> masks and predictions.json in an output folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segcct.case_runner import Backend, CaseJob, attempt
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.layouts import get_layout, layout_code
from segcct.export.model_file import card_at
from segcct.files.file_memo import key_of
from segcct.images.content_digest import content_digest
from segcct.images.volume import PHANTOM_MARK, Volume, says_synthetic
from segcct.inference.adaptation_methods import AdaptationMethods
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.inference.preparation_digest import preparation_digest
from segcct.inference.shared_batches import images_at_a_time, one_thread_each
from segcct.model_card import ModelCard
from segcct.predictions.case_tables import CaseTable
from segcct.predictions.mask_files import FORMATS, save_mask
from segcct.predictions.mask_folder import Existing, MaskFolder, Predictions
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.prediction_request import Request, header_of, load_case
from segcct.predictions.probability_files import save_probabilities
from segcct.predictions.tracked_case import PredictedCase
from segcct.preparation.cache_key import PREPARATION_VERSION
from segcct.preparation.input_ranges import unlike
from segcct.progress import Report
from segcct.runtime import NO_SPACING


@dataclass(frozen=True)
class PredictCase:
    """What is done for one case of a folder: read it, predict it, write its mask.

    It pickles as paths and settings, so that it runs in any process that sees the same files; see `LoadedModel`.
    """

    predictor: Predictor
    reading: Request
    """How the files are read; of a request without its cases."""
    output: Path
    options: MaskOptions
    mask_format: str
    """That the files get; see `Request.mask_format`."""
    tables: tuple[CaseTable, ...] = ()
    shares_batches: bool = False
    """Several threads do this work, and their images go through the network together."""

    def __call__(self, named: tuple[str, Case]) -> PredictedCase:
        """(name of the mask, case) -> its mask, written into the folder."""
        if not self.shares_batches:
            return self._predict(self.predictor, *named)
        predictor = self.predictor.sharing
        with predictor.network.caller():
            return self._predict(predictor, *named)

    def _predict(self, predictor: Predictor, name: str, case: Case) -> PredictedCase:
        options = self.options
        soft = options.probabilities or any(table.needs_probabilities for table in self.tables)
        segmented = predictor.segment(  # frees the channels
            self._load(case, keep_probabilities=soft),
            keep_largest=options.keep_largest,
            keep_probabilities=soft,
            count_agreement=any(table.needs_agreement for table in self.tables),
        )
        mask = predictor.mask_of(segmented)
        stored = without_description(mask) if options.anonymize else mask
        files = []
        if options.probabilities:
            files = save_probabilities(segmented, stored, self.output, name, predictor.scheme)
        file = save_mask(stored, self.output, name, predictor.scheme, mask_format=self.mask_format)
        job = CaseJob(case.id, segmented, name) if options.anonymize else CaseJob(name, segmented)
        tables = {table.file: attempt(table.rows_of, job) for table in self.tables}
        odd = unlike(segmented.prepared, predictor.card.input_ranges, list(predictor.data.channels))
        digest, synthetic = content_digest([file]), says_synthetic(mask)
        return PredictedCase(file, digest, synthetic, tables, unlike=tuple(odd), files=tuple(files))

    def _load(self, case: Case, *, keep_probabilities: bool) -> LoadedCase:
        if (header := header_of(self.reading, case)) is not None:
            as_stored = self.reading.single
            self.predictor.check_header(header, as_stored=as_stored, keep_probabilities=keep_probabilities)
        loaded = load_case(self.reading, case, self.predictor.scheme, with_label=False)
        FORMATS[self.mask_format].check(loaded.grid, self.predictor.scheme)
        return loaded


@dataclass(frozen=True)
class CaseLoop:
    """How the loop over the cases runs."""

    backend: str | Backend | None = None
    """Of `run_cases`, in place of threads; each of its workers then has `cases_at_a_time`."""
    cores: int | None = None
    """How many of them each worker of `backend` computes with; None: as many as this process."""
    max_failures: int | None = None
    """Once more cases than this have failed, the remaining ones are skipped."""
    progress: Report | None = None
    """Called with (done, total)."""


def predict_folder(
    predictor: Predictor,
    request: Request,
    output: Path,
    options: MaskOptions | None = None,
    *,
    tables: Sequence[CaseTable] = (),
    existing: Existing = "refuse",
    loop: CaseLoop | None = None,
) -> Predictions:
    """Write the mask of every case and predictions.json; see `MaskFolder`.

    A case that fails leaves no mask and does not stop the others. Cases that the same model predicted into this folder
    before stay in predictions.json.

    Args:
        predictor: the model.
        request: the cases.
        output: the folder.
        options: what is written of each case.
        tables: written next to the masks from the same one pass.
        existing: see `Existing`. `continue` keeps complete masks that this model made under these settings from
            unchanged inputs, where `tables` have their rows. Everything else is predicted again.
        loop: how the loop over the cases runs.

    Raises:
        RunError: as `MaskFolder.write`; or masks in this format name the patient, and they are to be anonymized.
        ModelError: probabilities are wanted under a protocol that has none.
        PackageError: the format needs a package that is not installed.
        OSError: the folder cannot be written to.
    """
    options, loop = options or MaskOptions(), loop or CaseLoop()
    request = replace(request, anonymize=options.anonymize)
    mask_format = request.mask_format(options.mask_format)
    if options.probabilities:
        predictor.require_probabilities()
    how = settings_of(
        predictor.card,
        predictor.how,
        options,
        calibration=next((table.calibration for table in tables if table.calibration), None),
    )
    reading = replace(request, cases=(), seen={})
    shared = shares_batches(predictor, request)
    workers = cases_at_a_time(predictor, request, loop.cores)
    work = PredictCase(predictor, reading, output, options, mask_format, tuple(tables), shared)
    folder = MaskFolder(
        output,
        MaskSource.of(predictor.card),
        request,
        how,
        mask_format,
        [table.file for table in tables],
        existing=existing,
    )
    with one_thread_each() if shared and predictor.how.device == "cpu" else nullcontext():
        return folder.write(
            work,
            backend=loop.backend or ("threads" if workers > 1 else "serial"),
            workers=workers,
            max_failures=loop.max_failures,
            progress=loop.progress,
        )


def shares_batches(predictor: Predictor, request: Request) -> bool:
    """Whether cases go through the network together: 2-D images, unless the network is adapted to each."""
    return request.of_images and predictor.card.spatial_dims == 2 and predictor.how.adapt == "none"


def cases_at_a_time(predictor: Predictor, request: Request, cores: int | None = None) -> int:
    """How many cases one process works on at a time: as many images as fill batches on its `cores` (default: as many
    as this process computes with), else one case.

    Volumes are not read ahead: on one core of an AMD EPYC, in fp32, reading and writing took 1% of the time of the
    network (256 x 256 x 24 voxels: 0.02 s, next to 1.6 s of cct_unet_t at 128 and 2.2 s of cct_unet_s at 224 pixels).
    """
    if not shares_batches(predictor, request):
        return 1
    return images_at_a_time(predictor.how, predictor.preparation.image_size, cores)


def settings_of(
    card: ModelCard, how: InferenceSettings, options: MaskOptions, *, calibration: str | None = None
) -> dict[str, Any]:
    """What a finished case depends on besides the weights and the files of the case, as predictions.json says it.

    Args:
        card: of the model.
        how: how the network runs.
        options: what is written of each case.
        calibration: digest of the estimate, where quality.csv is written.
    """
    steps = card.postprocessing if how.postprocessing else ()
    generator = None if how.generator is None else card_at(how.generator)
    return {
        **{name: getattr(how, name) for name in ("protocol", "precision", "tta", "adapt", "backend")},
        "preparation": _preparation_digest(card, generator, how),
        "generator": None if generator is None else generator.weights_sha256,
        "keep_largest": options.keep_largest,
        "postprocessing": [step.model_dump(mode="json") for step in steps],
        **({} if how.adapt == "none" else {"batch_size": how.batch_size}),  # statistics and steps depend on it
        **({"probabilities": True} if options.probabilities else {}),
        **({} if calibration is None else {"calibration": calibration}),
    }


def _preparation_digest(card: ModelCard, generator: ModelCard | None, how: InferenceSettings) -> str:
    """`preparation_digest`, with all else that decides what the networks see of the same files: how these are read, the
    code that prepares them, and the intensities and the generator that the case or the network is adapted to."""
    data = card.data_section(Path())
    arrays = list(data.channels.values()) if get_layout(data.layout).names_arrays else []
    intensities = card.intensity_quantiles if AdaptationMethods.parse(how.adapt).image else None
    reading = [data.layout, layout_code(data.layout), arrays]
    models = [preparation_digest(each) for each in (card, generator) if each is not None]
    return key_of(PREPARATION_VERSION, reading, models, intensities)


def without_description(mask: Volume) -> Volume:
    """Without the free text of the scan's header, where some converters write names. What segcct reads there stays:
    that the voxel size is unknown, and that the image is synthetic."""
    if mask.header is None:
        return mask
    marks = ((NO_SPACING, mask.spacing_mm is None), (PHANTOM_MARK, says_synthetic(mask)))
    header = mask.header.copy()
    header["descrip"] = ", ".join(mark for mark, holds in marks if holds).encode()
    return replace(mask, header=header)
