"""ViT-Lite, CVT and CCT: the published parameter counts, an independent computation, gradients, any image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.errors import ModelError
from segcct.models.compact_transformers import PRESETS
from segcct.models.transformer import resize_table, sine_table
from segcct.models.zoo import create_model, model_names

# name, classes, parameters of the released model (positional table included)
PUBLISHED = [
    ("cct_2_3x2_32", 10, 283_723),
    ("cct_4_3x2_32", 10, 482_123),
    ("cct_6_3x1_32", 10, 3_233_803),
    ("cct_6_3x2_32", 10, 3_326_923),
    ("cct_7_3x1_32", 10, 3_760_139),
    ("cct_7_3x1_32", 100, 3_783_269),
    ("cct_7_3x2_32", 10, 3_853_259),
    ("cct_7_7x2_224", 102, 4_573_735),
    ("cct_14_7x2_224", 1000, 22_367_273),
    ("cct_14_7x2_384", 1000, 22_513_193),
    ("cct_14_7x2_384", 102, 22_167_463),
    ("cvt_2_4_32", 10, 214_539),
    ("cvt_4_4_32", 10, 412_939),
    ("cvt_6_4_32", 10, 3_190_283),
    ("cvt_7_4_32", 10, 3_716_619),
    ("cvt_7_2_32", 10, 3_756_555),
    ("cvt_6_8_32", 10, 3_214_859),
    ("cvt_7_8_32", 10, 3_741_195),
    ("cvt_7_16_32", 10, 3_885_579),
    ("cct_7_7x1_32", 10, 3_741_707),
    ("vit_2_4_32", 10, 214_666),
    ("vit_4_4_32", 10, 413_066),
    ("vit_6_4_32", 10, 3_190_538),
    ("vit_7_4_32", 10, 3_716_874),
    ("vit_6_8_32", 10, 3_215_114),
    ("vit_7_8_32", 10, 3_741_450),
    ("vit_6_16_32", 10, 3_359_498),
    ("vit_7_16_32", 10, 3_885_834),
    ("vit_12_16_32", 10, 85_631_242),
]


def image_size_of(name: str) -> int:
    return int(name.rsplit("_", 1)[1])


@pytest.mark.parametrize(("name", "classes", "parameters"), PUBLISHED)
def test_parameter_count_is_the_published_one(name: str, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = create_model(name, 3, classes, image_size_of(name))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_every_preset_is_counted_and_listed() -> None:
    assert {name for name, _, _ in PUBLISHED} == set(PRESETS)
    assert set(PRESETS) <= set(model_names("classifier"))


@pytest.mark.parametrize(
    ("name", "dim", "tokens"), [("cct_7_7x1_32", 256, 64), ("cct_7_3x2_32", 256, 64), ("cvt_7_8_32", 256, 16)]
)
def test_pooling_option_is_counted(name: str, dim: int, tokens: int) -> None:
    counts = {}
    for pooling in ("seqpool", "class_token", "mean"):
        with torch.device("meta"):
            model = create_model(name, 3, 10, 32, {"pooling": pooling})
        counts[pooling] = sum(p.numel() for p in model.parameters())
        if model.classifier.positional_emb is not None:
            assert model.classifier.positional_emb.shape[1] == tokens + (pooling == "class_token")
    assert counts["seqpool"] == {n: count for n, classes, count in PUBLISHED if classes == 10}[name]
    assert counts["mean"] == counts["seqpool"] - (dim + 1)  # without the score of every token
    assert counts["class_token"] == counts["mean"] + 2 * dim  # the token and its row of the positional table


def test_vit_with_sequence_pooling_is_cvt() -> None:
    vit = create_model("vit_2_4_32", 3, 10, 32, {"pooling": "seqpool"}).eval()
    cvt = create_model("cvt_2_4_32", 3, 10, 32).eval()
    cvt.load_state_dict(vit.state_dict())
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(vit(image), cvt(image))


def test_segmenters_encoder_as_a_classifier() -> None:
    torch.manual_seed(0)
    for size in "tsb":
        model = create_model(f"cct_encoder_{size}", 4, 3, 64).eval()
        with torch.no_grad():
            assert model(torch.randn(2, 4, 64, 64)).shape == (2, 3)
            assert model(torch.randn(1, 4, 37, 50)).shape == (1, 3)
            shares = model.token_weights(torch.randn(2, 4, 37, 50))
        assert shares.shape == (2, 3, 4)
        torch.testing.assert_close(shares.sum((1, 2)), torch.ones(2))


# ---- the independent computation: plain tensor operations over a state dict with the released names


def reference_conv_tokens(weights: dict[str, Tensor], image: Tensor, kernel: int) -> Tensor:
    stride, padding = {3: (1, 1), 7: (2, 3)}[kernel]
    index = 0
    while f"tokenizer.conv_layers.{index}.0.weight" in weights:
        image = F.conv2d(image, weights[f"tokenizer.conv_layers.{index}.0.weight"], None, stride, padding)
        image = F.max_pool2d(image.clamp(min=0), 3, 2, 1)
        index += 1
    return image


def reference_block(weights: dict[str, Tensor], prefix: str, x: Tensor, heads: int) -> Tensor:
    def norm(name: str, value: Tensor) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{prefix}.{name}.weight"] + weights[f"{prefix}.{name}.bias"]

    def linear(name: str, value: Tensor) -> Tensor:
        product = value @ weights[f"{prefix}.{name}.weight"].T
        return product + weights[f"{prefix}.{name}.bias"] if f"{prefix}.{name}.bias" in weights else product

    dim = x.shape[-1]
    width = dim // heads
    qkv = linear("self_attn.qkv", norm("pre_norm", x))
    mixed = torch.empty_like(x)
    for head in range(heads):
        q, k, v = (
            qkv[..., part * dim + head * width : part * dim + (head + 1) * width] for part in range(3)
        )  # each (B, N, D / heads)
        scores = (q @ k.transpose(1, 2) / math.sqrt(width)).exp()
        mixed[..., head * width : (head + 1) * width] = scores / scores.sum(-1, keepdim=True) @ v
    x = x + linear("self_attn.proj", mixed)
    x = norm("norm1", x)
    hidden = linear("linear1", x)
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + linear("linear2", hidden)


def reference_logits(
    weights: dict[str, Tensor], image: Tensor, family: str, kernel: int, heads: int, pooling: str
) -> Tensor:
    if family == "cct":
        tokens = reference_conv_tokens(weights, image, kernel)
    else:
        conv = "tokenizer.conv_layers.0.0"
        tokens = F.conv2d(image, weights[f"{conv}.weight"], weights[f"{conv}.bias"], kernel)
    x = torch.stack(
        [tokens[:, :, row, column] for row in range(tokens.shape[2]) for column in range(tokens.shape[3])], 1
    )
    if pooling == "class_token":
        x = torch.cat([weights["classifier.class_emb"].repeat(len(x), 1, 1), x], 1)
    x = x + weights["classifier.positional_emb"]
    layer = 0
    while f"classifier.blocks.{layer}.pre_norm.weight" in weights:
        x = reference_block(weights, f"classifier.blocks.{layer}", x, heads)
        layer += 1
    x = F.layer_norm(x, x.shape[-1:], weights["classifier.norm.weight"], weights["classifier.norm.bias"])
    if pooling == "class_token":
        pooled = x[:, 0]
    elif pooling == "mean":
        pooled = x.sum(1) / x.shape[1]
    else:
        scores = x @ weights["classifier.attention_pool.weight"].T + weights["classifier.attention_pool.bias"]
        shares = scores.exp() / scores.exp().sum(1, keepdim=True)  # (B, N, 1)
        pooled = (shares * x).sum(1)
    return pooled @ weights["classifier.fc.weight"].T + weights["classifier.fc.bias"]


def released_state_dict(
    family: str, *, dim: int, layers: int, hidden: int, kernel: int, tokens: int, pooling: str, convolutions: int
) -> dict[str, Tensor]:
    """Random values under the released names; shapes written down from the published architecture."""
    shapes: dict[str, tuple[int, ...]] = {"classifier.positional_emb": (1, tokens + (pooling == "class_token"), dim)}
    if family == "cct":
        widths = [3, *[64] * (convolutions - 1), dim]
        for index in range(convolutions):
            shapes[f"tokenizer.conv_layers.{index}.0.weight"] = (widths[index + 1], widths[index], kernel, kernel)
    else:
        shapes["tokenizer.conv_layers.0.0.weight"] = (dim, 3, kernel, kernel)
        shapes["tokenizer.conv_layers.0.0.bias"] = (dim,)
    if pooling == "class_token":
        shapes["classifier.class_emb"] = (1, 1, dim)
    elif pooling == "seqpool":
        shapes |= {"classifier.attention_pool.weight": (1, dim), "classifier.attention_pool.bias": (1,)}
    for layer in range(layers):
        block = f"classifier.blocks.{layer}"
        shapes |= {f"{block}.{norm}.{kind}": (dim,) for norm in ("pre_norm", "norm1") for kind in ("weight", "bias")}
        shapes |= {f"{block}.self_attn.qkv.weight": (3 * dim, dim)}
        shapes |= {f"{block}.self_attn.proj.weight": (dim, dim), f"{block}.self_attn.proj.bias": (dim,)}
        shapes |= {f"{block}.linear1.weight": (hidden, dim), f"{block}.linear1.bias": (hidden,)}
        shapes |= {f"{block}.linear2.weight": (dim, hidden), f"{block}.linear2.bias": (dim,)}
    shapes |= {"classifier.norm.weight": (dim,), "classifier.norm.bias": (dim,)}
    shapes |= {"classifier.fc.weight": (10, dim), "classifier.fc.bias": (10,)}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "family", "kernel", "dim", "layers", "heads", "hidden", "size", "tokens", "pooling"),
    [
        ("cct_2_3x2_32", "cct", 3, 128, 2, 2, 128, 32, 64, None),
        ("cct_7_7x2_224", "cct", 7, 256, 7, 4, 512, 96, 36, None),
        ("cct_7_7x1_32", "cct", 7, 256, 7, 4, 512, 32, 64, None),
        ("cct_7_7x1_32", "cct", 7, 256, 7, 4, 512, 32, 64, "class_token"),
        ("cct_2_3x2_32", "cct", 3, 128, 2, 2, 128, 32, 64, "mean"),
        ("cvt_6_4_32", "cvt", 4, 256, 6, 4, 512, 32, 64, None),
        ("cvt_7_2_32", "cvt", 2, 256, 7, 4, 512, 32, 256, None),
        ("cvt_7_16_32", "cvt", 16, 256, 7, 4, 512, 32, 4, None),
        ("vit_7_4_32", "vit", 4, 256, 7, 4, 512, 32, 64, None),
        ("vit_6_8_32", "vit", 8, 256, 6, 4, 512, 32, 16, None),
        ("vit_2_4_32", "vit", 4, 128, 2, 2, 128, 32, 64, "mean"),
    ],
)
def test_released_weights_give_what_plain_tensor_operations_give(
    name: str,
    family: str,
    kernel: int,
    dim: int,
    layers: int,
    heads: int,
    hidden: int,
    size: int,
    tokens: int,
    pooling: str | None,
) -> None:
    convolutions = 2 if "x2" in name else 1
    reads = pooling or ("class_token" if family == "vit" else "seqpool")
    shapes = {"dim": dim, "layers": layers, "hidden": hidden, "kernel": kernel, "tokens": tokens}
    weights = released_state_dict(family, **shapes, pooling=reads, convolutions=convolutions)
    with torch.device("meta"):
        model = create_model(name, 3, 10, size, {"pooling": pooling}).eval()
    model.load_state_dict(weights, strict=True, assign=True)
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    doubles = {n: w.double() for n, w in weights.items()}
    expected = reference_logits(doubles, image.double(), family, kernel, heads, reads)
    with torch.no_grad():
        torch.testing.assert_close(model(image), expected.float(), rtol=1e-4, atol=1e-5)


# ---- contract of every family member


SMALL = ["cct_2_3x2_32", "cvt_2_4_32", "vit_2_4_32", "cct_7_7x2_224", "cct_7_7x1_32", "vit_6_16_32", "cvt_7_2_32"]


@pytest.mark.parametrize("name", [*SMALL, "cct_encoder_t"])
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    size = 32 if name.endswith("_32") else 64
    model = create_model(
        name, 3, 4, size, {"stochastic_depth": 0.0}
    )  # else a branch may be dropped for the whole batch
    nn.functional.cross_entropy(model(torch.randn(2, 3, size, size)), torch.tensor([1, 3])).backward()
    # The bias of the pooling score is the same for all tokens, so softmax leaves it without effect.
    without_effect = {"classifier.attention_pool.bias"}
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter_name in without_effect or parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("pooling", ["class_token", "mean"])
@pytest.mark.parametrize("name", ["cct_2_3x2_32", "cvt_2_4_32", "vit_2_4_32", "cct_encoder_t"])
def test_gradients_reach_every_parameter_with_other_pooling(name: str, pooling: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, 1, 4, 32, {"pooling": pooling, "stochastic_depth": 0.0})
    nn.functional.cross_entropy(model(torch.randn(2, 1, 32, 40)), torch.tensor([1, 3])).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 4])
def test_odd_sizes_and_channels(name: str, channels: int) -> None:
    model = create_model(name, channels, 3, 37).eval()
    with torch.no_grad():
        assert model(torch.randn(1, channels, 37, 37)).shape == (1, 3)
        assert model(torch.randn(2, channels, 29, 50)).shape == (2, 3)


@pytest.mark.parametrize("name", ["cct_2_3x2_32", "vit_2_4_32"])
@pytest.mark.parametrize("positional", ["learnable", "sine", "none"])
def test_positional_option_is_applied(name: str, positional: str) -> None:
    model = create_model(name, 3, 10, 32, {"positional": positional})
    trained = sum(p.numel() for p in model.parameters())
    tokens = 64 + (name == "vit_2_4_32")
    full = {n: count for n, classes, count in PUBLISHED if classes == 10}[name]
    assert trained == full - (0 if positional == "learnable" else tokens * 128)
    if positional == "sine":
        torch.testing.assert_close(model.classifier.positional_emb, sine_table(tokens, 128))
        assert "classifier.positional_emb" in model.state_dict()


def test_larger_image_equals_a_model_built_for_it_with_the_resized_table() -> None:
    torch.manual_seed(0)
    small = create_model("cvt_2_4_32", 1, 3, 32).eval()
    large = create_model("cvt_2_4_32", 1, 3, 48).eval()
    weights = small.state_dict()
    weights["classifier.positional_emb"] = resize_table(weights["classifier.positional_emb"], (8, 8), (12, 12))
    large.load_state_dict(weights)
    image = torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(small(image), large(image))


def test_dropout_options_are_applied() -> None:
    options = {"dropout": 0.2, "attention_dropout": 0.3, "stochastic_depth": 0.4}
    encoder = create_model("cct_4_3x2_32", 3, 10, 32, options).classifier
    assert [block.drop_path.rate for block in encoder.blocks] == pytest.approx([0, 0.4 / 3, 0.8 / 3, 0.4])
    assert {block.self_attn.attention_dropout for block in encoder.blocks} == {0.3}
    assert {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)} == {0.2}


def test_token_weights_are_the_pooling_weights() -> None:
    torch.manual_seed(0)
    model = create_model("cct_2_3x2_32", 1, 3, 32).eval()
    shares = model.token_weights(torch.randn(2, 1, 40, 24))
    assert shares.shape == (2, 10, 6)
    torch.testing.assert_close(shares.sum((1, 2)), torch.ones(2))
    with pytest.raises(ModelError, match="class token"):
        create_model("vit_2_4_32", 1, 3, 32).token_weights(torch.randn(1, 1, 32, 32))
    with pytest.raises(ModelError, match="mean"):
        create_model("cct_2_3x2_32", 1, 3, 32, {"pooling": "mean"}).token_weights(torch.randn(1, 1, 32, 32))


def test_batch_of_one_trains_with_normalized_tokenizer() -> None:
    model = create_model("cct_2_3x2_32", 1, 3, 32, {"tokenizer_norm": "batch"})
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    model(torch.randn(1, 1, 32, 32)).sum().backward()


def test_larger_tokenizer_strides_read_larger_images_with_the_same_weights() -> None:
    torch.manual_seed(0)
    small = create_model("cct_2_3x2_32", 1, 3, 32).eval()
    large = create_model("cct_2_3x2_32", 1, 3, 128, {"tokenizer_stride": 2}).eval()
    large.load_state_dict(small.state_dict())
    image = torch.randn(1, 1, 128, 128)
    assert large.token_weights(image).shape == (1, 8, 8)
    first = F.conv2d(image, small.tokenizer.conv_layers[0][0].weight, stride=2, padding=1)
    second = F.conv2d(
        F.max_pool2d(first.relu(), 3, 2, 1), small.tokenizer.conv_layers[1][0].weight, stride=2, padding=1
    )
    torch.testing.assert_close(large.tokenizer(image), F.max_pool2d(second.relu(), 3, 2, 1))
