"""segcct cluster-segment, assign-clusters."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.cluster import (
    CLUSTERS,
    COHORT,
    FUZZIFIER,
    FUZZIFIER_OF_TOKENS,
    MAX_ITERATIONS,
    PER_CASE,
    TOLERANCE,
)
from segcct.cluster.cluster_options import background, number_of_clusters
from segcct.commands.cohort_options import add_cohort_options, continuable
from segcct.commands.parser import (
    Commands,
    add_anonymize,
    add_command,
    add_compared,
    add_engine,
    add_model,
    add_network_options,
    engine_of,
    inference_of,
    refuse_unused,
)
from segcct.option_types import number_above, positive_int
from segcct.tasks.task import Outcome

if TYPE_CHECKING:
    from segcct.case_runner import Backend
    from segcct.cluster.cluster_run import Clustering
    from segcct.datasets.case import Case
    from segcct.predictions.prediction_request import Request

_METHODS = ("fuzzy-kmeans", "kmeans", "otsu", "canny", "normalized-cut")
_FITTED = _METHODS[:3]


def add_cluster_segment(commands: Commands) -> None:
    """Masks without labels."""
    parser = add_command(
        commands,
        "cluster-segment",
        _cluster_segment,
        "segment scans without labels: fuzzy k-means and others",
        takes_keys=True,
    )
    _add_scans(parser)
    _add_points(parser)
    _add_method(parser)
    parser.add_argument(
        "--memberships", action="store_true", help="also write the membership in each cluster as a volume"
    )
    add_engine(parser)
    parser.add_argument("--workers", type=positive_int, default=1, help="threads (default %(default)s)")
    add_cohort_options(parser)
    add_anonymize(parser, "hash the case ids in file names; the key of the hash goes to sources.json")
    add_network_options(parser)


def _add_scans(parser: argparse.ArgumentParser) -> None:
    """Register what is segmented: --input, --output, --config, --channels."""
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        help="a file, a folder of DICOM slices, or a folder of scans in any layout that its file names show",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the masks go")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="read the scans as this experiment does; keys may follow, such as --data.label_map",
    )
    parser.add_argument("--channels", nargs="+", metavar="NAME", help="only these channels (default: all)")


def _add_points(parser: argparse.ArgumentParser) -> None:
    """Register what is clustered: --model, --background, --standardize."""
    tokens = "cluster the tokens of this cct_unet model instead of intensities"
    add_model(parser, "--model", required=False, help=tokens)
    parser.add_argument(
        "--background",
        type=background,
        default="auto",
        metavar="auto|none|VALUE",
        help="intensity that is left out; auto: the constant around the image, if there is one (default %(default)s)",
    )
    parser.add_argument(
        "--standardize",
        action="store_true",
        help="give every case mean 0 and standard deviation 1 first; several channels are always standardized",
    )


def _add_method(parser: argparse.ArgumentParser) -> None:
    """Register how: --method, --clusters, --centers, --fuzzifier, --tolerance, --max-iterations."""
    parser.add_argument(
        "--method",
        choices=_METHODS,
        default="fuzzy-kmeans",
        help="canny gives edges, normalized-cut the two parts of every slice (default %(default)s)",
    )
    parser.add_argument(
        "--clusters",
        type=number_of_clusters,
        metavar="N",
        help=f"number of clusters besides the background (default {CLUSTERS})",
    )
    parser.add_argument(
        "--centers",
        default=PER_CASE,
        metavar=f"{PER_CASE}|{COHORT}|FILE",
        help="fit centers to each case or all cases together, or read them from a centers.json (default %(default)s)",
    )
    parser.add_argument(
        "--fuzzifier",
        type=number_above(1),
        metavar="M",
        help=f"exponent of the memberships, above 1 (default {FUZZIFIER:g}, for tokens {FUZZIFIER_OF_TOKENS:g})",
    )
    parser.add_argument(
        "--tolerance",
        type=number_above(0),
        default=TOLERANCE,
        help="stop when no center moves farther than this, in standard deviations (default %(default)s)",
    )
    parser.add_argument(
        "--max-iterations",
        type=positive_int,
        default=MAX_ITERATIONS,
        metavar="N",
        help="stop after N iterations (default %(default)s)",
    )


def _cluster_segment(arguments: argparse.Namespace) -> Outcome:
    refuse_unused(arguments, _unused(arguments))
    engine, encoder = engine_of(arguments), None
    if engine is not None and not arguments.status:
        engine.begin()  # while this process imports what it needs

    from segcct.cluster.cluster_run import ClusterRun
    from segcct.errors import DataError
    from segcct.plurals import counted
    from segcct.predictions.mask_folder import existing_of
    from segcct.predictions.outcome_table import outcomes_after
    from segcct.spark.spark_cases import case_backend

    if arguments.model is not None:
        from segcct.cluster.token_points import TokenEncoder

        encoder = TokenEncoder(arguments.model, inference_of(arguments), arguments.background)
    with case_backend(None if arguments.status else engine) as backend:
        run = ClusterRun.of(
            _clustering(arguments, backend),
            arguments.input,
            arguments.output,
            config=arguments.config,
            keys=arguments.keys,
            channels=arguments.channels,
            encoder=encoder,
            shard=arguments.shard,
            anonymize=arguments.anonymize,
        )
        if arguments.status:
            return Outcome(str(run.status()))
        with continuable(arguments), outcomes_after(arguments.output, wanted=arguments.engine == "spark"):
            predictions = run.write(existing_of(overwrite=arguments.overwrite, continue_=arguments.continue_))
    if predictions.problem:
        raise DataError(predictions.problem)
    wrote = f"wrote {counted(len(predictions.masks), 'mask')} to {arguments.output}"
    labeled = [case for case in run.request.cases if case.label]
    if arguments.anonymize or len({case.patient for case in labeled}) < 2:  # which assign-clusters refuses
        return Outcome(wrote)
    folders = ("--prediction", arguments.output, "--reference", arguments.input)
    given = ("--output", arguments.output.parent / "classes", *_scheme_to_name(run.request, labeled[0]))
    return Outcome(wrote, ("assign-clusters", *folders, *given))


def _scheme_to_name(request: Request, labeled: Case) -> Sequence[str]:
    """What assign-clusters needs in addition where labels hold other values than their names promise."""
    from segcct.datasets.layouts import scheme_of
    from segcct.errors import LabelError, SegcctError
    from segcct.predictions.prediction_request import load_case

    try:
        load_case(request, labeled, scheme_of(request.data), with_label=True)
    except LabelError:
        return ("--scheme", "CONFIG")
    except SegcctError:  # which assign-clusters reports
        pass
    return ()


def _clustering(arguments: argparse.Namespace, backend: Backend | None) -> Clustering:
    """The options; cases are processed here where `backend` is None."""
    from segcct.cluster.cluster_run import Clustering
    from segcct.cluster.clusters import Method

    fuzzifier = arguments.fuzzifier or (FUZZIFIER if arguments.model is None else FUZZIFIER_OF_TOKENS)
    clusters = 2 if arguments.method == "normalized-cut" else arguments.clusters or CLUSTERS
    return Clustering(
        Method(arguments.method, clusters, fuzzifier, arguments.tolerance, arguments.max_iterations),
        centers=arguments.centers,
        background=arguments.background,
        standardize=arguments.standardize,
        memberships=arguments.memberships,
        backend=backend or ("serial" if arguments.workers == 1 else "threads"),
        workers=arguments.workers,
        max_failures=arguments.max_failures,
    )


def _unused(arguments: argparse.Namespace) -> list[tuple[bool, str, Sequence[str]]]:
    """For `refuse_unused`."""
    method, tokens = f"for --method {arguments.method}", arguments.model is not None
    iterations = ("fuzzifier", "tolerance", "max_iterations")
    return [
        (arguments.method not in _FITTED, method, ("clusters", "centers", "standardize")),
        (arguments.method != "fuzzy-kmeans", method, (*iterations, "memberships")),
        (arguments.method in ("otsu", "canny"), method, ("model",)),
        (arguments.centers not in (PER_CASE, COHORT), "with the --centers of a file", iterations),
        (tokens, "for tokens of a --model, which one process makes", ("workers", "engine")),
        (tokens, "for tokens of a --model", ("standardize",)),
        (tokens and arguments.config is None, "for tokens of a --model, which names its channels", ("channels",)),
        (not tokens, "without a --model", ("batch_size", "precision", "device")),
    ]


def add_assign_clusters(commands: Commands) -> None:
    """From clusters to classes."""
    parser = add_command(
        commands, "assign-clusters", _assign_clusters, "relabel masks of clusters by the classes they overlap best"
    )
    add_compared(parser, "what segcct cluster-segment wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the masks of classes go")
    parser.add_argument(
        "--scheme",
        metavar="NAME|CONFIG",
        help="of the references: a named scheme, or the config of an experiment, CONFIG.yaml, to read them as this "
        "experiment does (default: that of the --config of cluster-segment)",
    )
    parser.add_argument(
        "--folds",
        type=_folds,
        default=5,
        metavar="K",
        help="divide the patients into K parts, and relabel each by what fits the others best (default %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace masks that exist already")


def _assign_clusters(arguments: argparse.Namespace) -> Outcome:
    from segcct.cluster.assign_masks import ASSIGNMENT, assign_clusters
    from segcct.errors import DataError
    from segcct.plurals import counted

    output = arguments.output
    predictions = assign_clusters(
        arguments.prediction,
        arguments.reference,
        output,
        scheme=arguments.scheme,
        folds=arguments.folds,
        overwrite=arguments.overwrite,
    )
    if predictions.problem:
        raise DataError(predictions.problem)
    evaluate = ("evaluate", "--prediction", output, "--reference", arguments.reference)
    scheme = () if arguments.scheme is None else ("--scheme", arguments.scheme)  # by which it reads them too
    wrote = f"wrote {counted(len(predictions.masks), 'mask')} to {output}, and {ASSIGNMENT}"
    return Outcome(wrote, (*evaluate, *scheme, "--output", output.parent / "evaluation"))


def _folds(text: str) -> int:
    if positive_int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text} is not a number of folds of at least 2")
    return int(text)
