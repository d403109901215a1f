"""Each value that a config or an option offers has a row in the table that acts on it, and each row can be asked for.

Configs and the parser know the values without PyTorch, so they are named twice; here is what keeps the two together.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import get_args

import pytest

from segcct.config import LossSection, TrainSection
from segcct.config.layout_table import LAYOUTS
from segcct.config.segmentation_config import TERMS_WITH_A_KEY
from segcct.export.backends import BACKENDS as NETWORKS
from segcct.inference.inference_choices import BACKENDS, PROTOCOLS, ViewsName
from segcct.inference.inferers import INFERERS
from segcct.inference.views import VIEWS
from segcct.metrics import CONVENTIONS
from segcct.predictions.mask_files import FORMATS
from segcct.predictions.mask_options import MASK_FORMATS
from segcct.tasks.segmentation.segmentation_loss import LOSS_TERMS
from segcct.training.curves import TRACKERS
from segcct.training.optimization import OPTIMIZERS, SCHEDULES
from tests.support.documents import ROOT
from tests.support.program_names import parsers


def values_of(key: str) -> tuple[str, ...]:
    """The values of a key of `train`."""
    return get_args(TrainSection.model_fields[key].annotation)


@pytest.mark.parametrize(
    ("offered", "named_in", "rows", "table"),
    [
        (values_of("optimizer"), "segcct/config/base.py", OPTIMIZERS, "OPTIMIZERS of segcct/training/optimization.py"),
        (values_of("schedule"), "segcct/config/base.py", SCHEDULES, "SCHEDULES of segcct/training/optimization.py"),
        (
            set(values_of("logger")) - {"csv", "none"},
            "segcct/config/base.py",
            TRACKERS,
            "TRACKERS of segcct/training/curves.py",
        ),
        (
            TERMS_WITH_A_KEY,
            "TERMS_WITH_A_KEY of segcct/config/segmentation_config.py",
            LossSection.model_fields.keys() & set(LOSS_TERMS),
            "LOSS_TERMS of segcct/tasks/segmentation/segmentation_loss.py and keys of LossSection",
        ),
        (PROTOCOLS, "segcct/inference/inference_choices.py", INFERERS, "INFERERS of segcct/inference/inferers.py"),
        (get_args(ViewsName), "segcct/inference/inference_choices.py", VIEWS, "VIEWS of segcct/inference/views.py"),
        (
            set(BACKENDS) - {"torch"},
            "segcct/inference/inference_choices.py",
            NETWORKS,
            "BACKENDS of segcct/export/backends.py",
        ),
        (
            (*MASK_FORMATS, "image"),
            "segcct/predictions/mask_options.py",
            FORMATS,
            "FORMATS of segcct/predictions/mask_files.py",
        ),
    ],
    ids=["optimizer", "schedule", "logger", "loss", "protocol", "tta", "backend", "format"],
)
def test_what_is_offered_is_what_has_a_row(
    offered: Collection[str], named_in: str, rows: Collection[str], table: str
) -> None:
    without_row, out_of_reach = sorted(set(offered) - set(rows)), sorted(set(rows) - set(offered))
    assert not without_row, f"{named_in} offers {without_row}: add a row to {table}"
    assert not out_of_reach, f"{table} has {out_of_reach}, which nobody can ask for: name it in {named_in}"


def test_every_layout_is_explained() -> None:
    page = (ROOT / "docs" / "how-to" / "own-data.md").read_text(encoding="utf-8")
    explained = {name for row in re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE) for name in row.split("`")[1::2]}
    missing = sorted(set(LAYOUTS) - explained)
    assert not missing, f"no row of the table of layouts in docs/how-to/own-data.md says which files {missing} read"


def test_the_help_names_every_convention() -> None:
    text = next(action.help for action in parsers()["evaluate"]._actions if "--convention" in action.option_strings)
    missing = [name for name in CONVENTIONS if name not in re.findall(r"[\w-]+", str(text))]
    assert not missing, f"the help of --convention in segcct/commands/predict_evaluate.py does not name {missing}"
