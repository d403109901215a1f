"""A trained segmenter as a MONAI bundle: a folder for `monai.bundle.load` and `python -m monai.bundle run`.

Its network is built by segcct, which has to be installed; `run` predicts by `segcct.predict`, so that the masks are
those of `segcct predict`.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

from segcct import hub
from segcct.errors import ModelError
from segcct.files.atomic_file import atomic_path, refuse_existing
from segcct.inference.loaded_model import load_network
from segcct.model_card import ModelCard, load_card
from segcct.provenance import version_of
from segcct.quality.quality_model import FILE
from segcct.sharing.hub_readme import hub_readme
from segcct.sharing.push_model import scores_of
from segcct.sharing.terms import Terms
from segcct.version import VERSION

_EXPRESSIONS = ("$", "@", "%")
"""How a value in a bundle begins that MONAI evaluates."""
BEST = "models/best"
"""Where the `best/` folder is in a bundle, without an estimate of quality, next to models/model.pt, its weights for
MONAI."""


def write_bundle(folder: Path, output: Path, terms: Terms, *, evaluation: Path | None = None) -> Path:
    """Write a bundle, atomically.

    Args:
        folder: the `best/` folder of a segmentation model.
        output: the bundle's folder, which is new.
        terms: license and training data, for its README.
        evaluation: what `segcct evaluate` wrote; None: the folder `evaluation` of the run, if it is of this model.

    Raises:
        ModelError: a model of another task, one that cannot be loaded, or one with names that MONAI would evaluate.
        RunError: the output exists.
        StorageError: it cannot be written.
    """
    import torch

    card = load_card(folder)
    if card.task != "segmentation":
        raise ModelError("a bundle is made of a segmentation model", file=folder, found=f"a model of task {card.task}")
    names = (output.name, *card.classes, *card.data.get("channels", ()))
    for text in (*names, terms.license.strip(), terms.training_data.strip()):
        if text[:1] in _EXPRESSIONS:
            raise ModelError("MONAI would run a text as an expression", file=folder, found=text)
    refuse_existing(output)
    network, weights = load_network(folder, card), io.BytesIO()
    torch.save(network.state_dict(), weights)
    scores, place = scores_of(card, folder, evaluation), f"{output.name}/{BEST}"
    readme = hub_readme(card, output.name, place, terms, scores=scores, has_estimate=False)
    with atomic_path(output, needs_bytes=2 * weights.tell()) as bundle:
        for part in ("configs", "docs", BEST):
            (bundle / part).mkdir(parents=True)
        for name in filter(lambda name: name != FILE and (folder / name).is_file(), hub.FILES):
            shutil.copyfile(folder / name, bundle / BEST / name)
        (bundle / "models" / "model.pt").write_bytes(weights.getbuffer())
        (bundle / "docs" / "README.md").write_text(readme, encoding="utf-8")
        for name, content in (("metadata", _metadata(card, output.name, terms)), ("inference", _inference(card))):
            (bundle / "configs" / f"{name}.json").write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return output


def _inference(card: ModelCard) -> dict[str, Any]:
    """configs/inference.json: `network_def`, and `run` for `dataset_dir` -> `output_dir`."""
    return {
        "imports": ["$import segcct"],
        "bundle_root": ".",
        "dataset_dir": "scans",
        "output_dir": "masks",
        "network_def": {"_target_": "segcct.create_model", **card.architecture.model_dump(mode="json")},
        "run": [f"$print(segcct.predict(@bundle_root + '/{BEST}', @dataset_dir, @output_dir).problem or 'done')"],
    }


def _metadata(card: ModelCard, name: str, terms: Terms) -> dict[str, Any]:
    """configs/metadata.json, in MONAI's schema."""
    sizes = card.architecture
    shape = {"num_channels": sizes.in_channels, "spatial_shape": [sizes.image_size] * card.spatial_dims}
    image = {"type": "image", "format": "magnitude", "dtype": "float32", "value_range": [], "is_patch_data": False}
    channels = {str(place): channel for place, channel in enumerate(card.data.get("channels", ()))}
    classes = {str(place): label for place, label in enumerate(["background", *card.classes])}
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"written by segcct {VERSION}"},
        "monai_version": version_of("monai"),
        "pytorch_version": version_of("torch"),
        "numpy_version": version_of("numpy"),
        "required_packages_version": {"segcct": VERSION, "nibabel": version_of("nibabel")},
        "name": name,
        "task": "segmentation",
        "description": f"{sizes.name} by segcct: {', '.join(card.classes)}",
        "authors": "see docs/README.md",
        "copyright": f"license {terms.license}",
        "data_source": terms.training_data,
        "intended_use": "Research only; not a medical device.",
        "network_data_format": {
            "inputs": {"image": {**image, **shape, "channel_def": channels}},
            "outputs": {
                "pred": {**image, **shape, "format": "segmentation", "num_channels": sizes.num_classes,
                         "channel_def": classes}
            },
        },
    }  # fmt: skip
