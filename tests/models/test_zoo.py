"""The table of models: names, options and what a wrong one says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from segcct.cli import main
from segcct.config import ModelSection
from segcct.config.descriptions import description_of
from segcct.errors import ModelError, PluginError
from segcct.models.options import ModelOptions
from segcct.models.zoo import MODELS, Entry, create_model, entry, model_names, register_model


def test_names_are_unique_and_split_by_kind() -> None:
    assert model_names()[: len(MODELS)] == list(MODELS)
    assert len(set(model_names())) == len(model_names())
    by_kind = [name for kind in ("segmenter", "classifier", "generator") for name in model_names(kind)]
    assert sorted(by_kind) == sorted(model_names())
    assert "cct_7_3x1_32" in model_names("classifier")
    assert "cct_7_3x1_32" not in model_names("segmenter")


def test_an_unknown_kind_of_model_is_refused() -> None:
    """The name of a task is not one: an empty list would say that there are no such models."""
    with pytest.raises(ModelError, match=r"unknown kind of model 'segmentation'.*segmenter, classifier, generator"):
        model_names("segmentation")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "words"),
    [("unet", "there is a model 'unet' already"), ("timm:resnet18", r"not a name for a model .*begins with timm:")],
)
def test_a_name_that_is_taken_or_an_adapters_is_refused(name: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        register_model(Entry(name, "classifier", lambda **_: torch.nn.Identity()))


def test_a_row_that_is_there_already_may_be_registered_again() -> None:
    before = list(MODELS)
    register_model(MODELS["unet"])
    assert list(MODELS) == before


def test_unknown_name_gives_the_nearest_and_where_all_are_listed() -> None:
    with pytest.raises(ModelError) as caught:
        create_model("cct_7_3x1_23", 3, 10, 32)
    message = str(caught.value)
    assert "found cct_7_3x1_23" in message
    assert "Did you mean cct_7_3x1_32 or cct_7_7x1_32? `segcct models` lists the names" in message
    assert len(message) < 140


def test_unknown_option_lists_the_valid_ones_and_the_nearest() -> None:
    with pytest.raises(ModelError) as caught:
        create_model("cct_2_3x2_32", 3, 10, 32, {"positionel": "sine"})
    message = str(caught.value)
    assert "positional, dropout, attention_dropout, stochastic_depth" in message
    assert "Did you mean positional?" in message


@pytest.mark.parametrize("name", ["vit_2_4_32", "cvt_7_4_32"])
def test_an_option_of_one_family_is_refused_by_the_others(name: str) -> None:
    create_model("cct_2_3x2_32", 3, 10, 32, {"tokenizer_norm": "batch"})
    with pytest.raises(ModelError, match=f"unknown option of model {name} .*tokenizer_norm"):
        create_model(name, 3, 10, 32, {"tokenizer_norm": "batch"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"positional": "rotary"}, ("positional", "'rotary'", "'learnable', 'sine' or 'none'")),
        ({"dropout": 1.5}, ("dropout", "1.5", "less than 1")),
        ({"dropout": "much"}, ("dropout", "'much'", "number")),
    ],
)
def test_ill_typed_option_is_an_error(options: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        create_model("cct_2_3x2_32", 3, 10, 32, options)
    for part in words:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "sizes", [(0, 10, 32), (3, 0, 32), (3, 10, -1), ("3", 10, 32), (3, 10, (32, 32)), (3, 10, 3.5)]
)
def test_sizes_must_be_whole_and_positive(sizes: tuple[Any, Any, Any]) -> None:
    with pytest.raises(ModelError, match="a whole number of at least 1"):
        create_model("cct_2_3x2_32", *sizes)


def test_options_are_a_dictionary() -> None:
    with pytest.raises(ModelError, match=r"options of model cct_2_3x2_32 .*found 'sine'; expected a dictionary"):
        create_model("cct_2_3x2_32", 3, 10, 32, "sine")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet18"])
def test_timm_classifier_of_any_size_and_channels(name: str) -> None:
    model = create_model(f"timm:{name}", 4, 5, 64, {"dropout": 0.1}).eval()
    assert model(torch.zeros(1, 4, 64, 64)).shape == (1, 5)
    assert entry(f"timm:{name}").kind == "classifier"


@pytest.mark.parametrize(("name", "size"), [("hiera_tiny_224", 100), ("efficientformer_l1", 64)])
def test_timm_classifier_that_cannot_run_at_a_size_says_so(name: str, size: int) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=f"cannot classify images of {size} pixels"):
        create_model(f"timm:{name}", 3, 5, size)


def test_models_are_listed_as_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "cct_7_3x1_32", "cct_14_7x2_224", "m2i_s"]) == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[0].startswith("cct_7_3x1_32 classifier 3,760,139")
    assert rows[0].endswith("3 x 32 x 32, 10 classes")
    assert rows[1].startswith("cct_14_7x2_224 classifier 22,367,273")
    assert rows[2].endswith("1 x 224 x 224, 4 classes")


def test_an_option_may_be_given_as_its_default() -> None:
    section = ModelSection(name="cct_2_3x2_32", options={"tokenizer_stride": None})
    create_model(section.name, 3, 10, 32, section.options)


def test_the_command_lists_the_models_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "timm:resnet18", "cct_2_3x2_32", "--size", "32", "--channels", "3", "--classes", "10"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[:3] for row in rows] == [
        ["timm:resnet18", "classifier", "11,181,642"],
        ["cct_2_3x2_32", "classifier", "283,723"],
    ]
    assert main(["models", "timm:resnet_18"]) == 1
    assert "timm:resnet18" in capsys.readouterr().err


def test_unknown_timm_name_and_option() -> None:
    with pytest.raises(ModelError, match=r"timm:resnet18"):
        create_model("timm:resnet_18", 3, 10, 32)
    with pytest.raises(ModelError, match="dropout, stochastic_depth"):
        create_model("timm:resnet18", 3, 10, 32, {"positional": "sine"})
    with pytest.raises(ModelError, match="cannot build vgg11 with these options"):
        create_model("timm:vgg11", 3, 10, 32, {"stochastic_depth": 0.1})


def test_options_are_described() -> None:
    for name in model_names():
        options = entry(name).options
        assert issubclass(options, ModelOptions)
        assert all(description_of(options, field) for field in options.model_fields), name
