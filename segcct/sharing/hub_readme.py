"""README.md of a shared model, in Markdown with the fields that the Hugging Face Hub reads: what it labels, on what it
was trained and scored, how it is used, and its limits. It names no case, file or folder."""

from __future__ import annotations

import shlex

from segcct.config import yaml_text
from segcct.escape import for_markdown
from segcct.model_card import ModelCard
from segcct.plurals import counted
from segcct.sharing.terms import Terms
from segcct.tasks.task import task_named

_PIPELINES = {"segmentation": "image-segmentation", "classification": "image-classification"}
"""Task -> what the Hub calls it."""


def hub_readme(card: ModelCard, name: str, place: str, terms: Terms, *, scores: str | None, has_estimate: bool) -> str:
    """The text of README.md.

    Args:
        card: the model's card.
        name: what the model is called.
        place: what names it in commands: `hf://OWNER/NAME`, or its folder.
        terms: license and training data.
        scores: the table of an evaluation, in Markdown; None: it was not evaluated.
        has_estimate: quality.json is there.
    """
    fields = {
        "license": terms.license.strip(),
        "library_name": "segcct",
        **({"pipeline_tag": _PIPELINES[card.task]} if card.task in _PIPELINES else {}),
        "tags": ["segcct", "medical-imaging", *(["synthetic-data"] if card.synthetic else [])],
    }
    parts = [
        f"---\n{yaml_text.dump(fields).strip()}\n---",
        f"# {for_markdown(name)}",
        _what(card),
        f"## Training data\n\n{_training_data(card, terms)}",
        f"## Scores\n\n{_scores(card, scores)}",
        f"## How to use\n\n{_use(card, place, has_estimate=has_estimate)}",
        f"## Limits\n\n{_limits(card)}",
        f"## License\n\n{for_markdown(terms.license.strip())}",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _what(card: ModelCard) -> str:
    size, name = card.architecture.image_size, card.architecture.name
    made_by = f" {for_markdown(str(version))}" if (version := card.provenance.get("segcct")) else ""
    dimensions = f"{card.spatial_dims}-D network, {size}x{size} pixels"
    lines = [f"A {card.task} model of segcct{made_by}: `{name}`, a {dimensions}."]
    channels = card.data.get("channels")
    if channels:  # of a classifier, one word
        names = [channels] if isinstance(channels, str) else channels
        lines += ["", f"Input: {', '.join(for_markdown(str(name)) for name in names)}."]
    if card.scheme is not None:
        lines += ["", "| class | value |", "|---|---|"]
        lines += [f"| {for_markdown(label)} | {value} |" for label, value in card.scheme.classes.items()]
    if card.scheme is not None and card.scheme.regions:
        regions = (
            f"{for_markdown(name)} ({'+'.join(map(str, values))})" for name, values in card.scheme.regions.items()
        )
        lines += ["", f"Regions, by values: {', '.join(regions)}."]
    if card.postprocessing:
        lines += ["", f"Postprocessing: {for_markdown('; '.join(map(str, card.postprocessing)))}."]
    return "\n".join(lines)


def _training_data(card: ModelCard, terms: Terms) -> str:
    lines = [for_markdown(terms.training_data.strip())]
    if card.synthetic:
        lines.append("**Trained on synthetic images: it demonstrates the software and is not for patients.**")
    return "\n\n".join(lines)


def _scores(card: ModelCard, scores: str | None) -> str:
    selected = card.selected_on
    counts = [counted(value, name.removesuffix("s")) for name, value in selected.items() if name in ("cases", "images")]
    lines = []
    if isinstance(selected.get("value"), int | float):
        metric = f"{selected.get('metric')} {selected['value']:.3f}"
        on = f" on {', '.join(counts)} for validation" if counts else ""
        lines.append(f"Selected by its best {metric}{on}, so this is not a score on new cases.")
    lines.append(scores or "It was not scored on unseen cases.")
    return "\n\n".join(lines)


def _use(card: ModelCard, place: str, *, has_estimate: bool) -> str:
    parts = []
    if task_named(card.task).predict:
        parts.append(f"```sh\nsegcct predict --model {shlex.quote(place)} --input SCANS --output predictions\n```")
    if card.task == "segmentation" and card.architecture.in_channels == 1:
        call = 'predictor.predict(segcct.Volume.load("scan.nii.gz")).save("mask.nii.gz")'
        parts.append(f'```python\nimport segcct\n\npredictor = segcct.Predictor.load("{place}")\n{call}\n```')
    if has_estimate:
        parts.append("An estimate of each mask's Dice, for cases like those it was calibrated on, is in `quality.csv`.")
    return "\n\n".join(parts) or f"Its name in configs and options is `{place}`."


def _limits(card: ModelCard) -> str:
    lines = [
        "Research use only: it is not a medical device and must not guide diagnosis or treatment.",
        "On scanners, protocols and patients unlike the training data, its results can be worse without warning.",
    ]
    if card.spatial_dims == 2 and card.task == "segmentation":
        lines.insert(1, "It is 2-D: volumes are segmented slice by slice.")
    lines.append(f"The sha256 of its weights is {card.weights_sha256}.")
    return "\n".join(f"- {line}" for line in lines)
