"""The description of a shared model: its fields, what it says of model and data, and what it must not say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from segcct.errors import ConfigError
from segcct.model_card import ModelCard, PostprocessingStep, SchemeCard, load_card
from segcct.sharing.hub_readme import hub_readme
from segcct.sharing.terms import Terms
from tests.support.small_tasks import SMALL

TERMS = Terms("cc-by-nc-4.0", "ACDC, 100 patients")


@pytest.fixture
def card(best: Path) -> ModelCard:
    return load_card(best).model_copy(
        update={"selected_on": {"metric": "val_dice", "value": 0.8912, "epoch": 7, "cases": 20}, "synthetic": False}
    )


def readme(card: ModelCard, terms: Terms = TERMS, *, scores: str | None = None, has_estimate: bool = False) -> str:
    return hub_readme(card, "heart", "hf://lab/heart", terms, scores=scores, has_estimate=has_estimate)


def test_the_fields_of_the_hub(card: ModelCard) -> None:
    _, fields, _ = readme(card).split("---\n", maxsplit=2)
    assert yaml.safe_load(fields) == {
        "license": "cc-by-nc-4.0",
        "library_name": "segcct",
        "pipeline_tag": "image-segmentation",
        "tags": ["segcct", "medical-imaging"],
    }


def test_it_says_what_the_model_does_and_how_it_was_selected(card: ModelCard) -> None:
    text = readme(card)
    for said in ("| LV | 3 |", "2-D network, 32x32 pixels", "ACDC, 100 patients", "val_dice 0.891 on 20 cases",
                 'Predictor.load("hf://lab/heart")', "not a medical device", card.weights_sha256):  # fmt: skip
        assert said in text
    assert "It was not scored" in text
    assert "synthetic" not in text
    assert "quality.csv" not in text


def test_it_says_what_a_classifier_sees_and_on_how_many_images_it_was_selected(tmp_path: Path) -> None:
    task = SMALL["classification"](0, tmp_path)
    text = readme(task.card({"metric": "val_accuracy", "value": 0.75, "epoch": 1}))
    assert "Input: rgb." in text
    assert f"val_accuracy 0.750 on {len(task.dataset.val)} images for validation" in text


def test_scores_estimate_and_synthetic_data_are_said(card: ModelCard) -> None:
    text = readme(card.model_copy(update={"synthetic": True}), scores="| Dice | 0.9 |", has_estimate=True)
    assert "| Dice | 0.9 |" in text
    assert "It was not scored" not in text
    assert "not for patients" in text
    assert "quality.csv" in text
    assert "Postprocessing" not in text


def test_postprocessing_is_said(card: ModelCard) -> None:
    step = PostprocessingStep(step="largest_component", classes=("LV",))
    assert "Postprocessing: largest_component: LV." in readme(card.model_copy(update={"postprocessing": (step,)}))


def test_names_make_no_markup(card: ModelCard) -> None:
    scheme = SchemeCard(name="own", classes={"a|b<script>": 1, "c\nd": 2})
    text = readme(card.model_copy(update={"scheme": scheme}), Terms("other", "<img src=x>\n# not a heading"))
    assert "<script>" not in text
    assert "<img" not in text
    assert "\n# not a heading" not in text
    assert "| a\\|b&lt;script> | 1 |" in text


def test_it_names_no_path_of_this_machine(card: ModelCard, best: Path) -> None:
    assert str(best.parent) not in readme(card)


@pytest.mark.parametrize("terms", [("", "data"), ("mit", ""), (" ", "data"), ("mit", "\n")])
def test_terms_are_required(terms: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        Terms(*terms)
