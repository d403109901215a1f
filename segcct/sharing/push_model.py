"""A `best/` folder -> a repository of the Hugging Face Hub."""

from __future__ import annotations

import pkgutil
from pathlib import Path

from segcct import hub
from segcct.errors import EvaluationError
from segcct.files.json_file import read_object
from segcct.model_card import ModelCard, load_card, load_weights
from segcct.progress import say
from segcct.quality.quality_model import FILE, QualityModel
from segcct.sharing.hub_readme import hub_readme
from segcct.sharing.terms import Terms
from segcct.tasks.task import task_named

EVALUATION = "evaluation"
"""Where `segcct evaluate` writes next to best/, as `segcct predict` proposes."""


def files_to_push(
    folder: Path, repository: str, terms: Terms, *, evaluation: Path | None = None
) -> dict[str, Path | bytes]:
    """What a repository will hold, by name: README.md, and the model's files after all checks that loading makes.

    Args:
        folder: the `best/` folder.
        repository: OWNER/NAME.
        terms: license and training data.
        evaluation: what `segcct evaluate` wrote; None: the folder `evaluation` of the run, if it is of this model.

    Raises:
        CheckpointError, RunError, ModelError: the folder cannot be used.
        EvaluationError: the evaluation is of another model, or of masks that were edited.
    """
    card = load_card(folder)
    load_weights(folder, card)
    has_estimate = card.scheme is not None and QualityModel.load(folder / FILE, card) is not None
    scores = scores_of(card, folder, evaluation)
    name, place = repository.partition("/")[2], f"hf://{repository}"
    readme = hub_readme(card, name, place, terms, scores=scores, has_estimate=has_estimate)
    names = [name for name in hub.FILES if name != FILE or has_estimate]
    return {hub.README: readme.encode(), **{name: folder / name for name in names}}


def scores_of(card: ModelCard, folder: Path, evaluation: Path | None) -> str | None:
    """The scores of a model as Markdown that names no case; None, with a message, where there are none."""
    chosen = evaluation is not None
    evaluation = evaluation or folder.parent / EVALUATION
    file = evaluation / "summary.json"
    if not chosen and not file.is_file():
        say(f"no evaluation in {evaluation}, so the description has no scores; name another one with --evaluation")
        return None
    found = read_object(file, "is not an evaluation", error=EvaluationError).get("weights_sha256")
    if found == card.weights_sha256:
        place = task_named(card.task, file=folder).scores
        return str(pkgutil.resolve_name(place)(evaluation)) if place else None
    if chosen:
        raise EvaluationError(
            "is the evaluation of another model", file=file, found=f"weights {found}", expected=card.weights_sha256
        )
    say(f"the description has no scores: {file} is of other weights")
    return None
