"""Swin blocks against plain loops, timm's encoder and the layouts of the released models."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from segcct.errors import ModelError
from segcct.models.cost import on_meta
from segcct.models.patch_expanding import PatchExpand, PatchMerging
from segcct.models.swin import SwinBlock, WindowAttention, window_mask
from segcct.models.zoo import create_model


def naive_window_attention(block: SwinBlock, maps: torch.Tensor) -> torch.Tensor:
    """Attention of one map (H, W, C), pixel by pixel, in the map's own coordinates, without padding or rolling.

    Windows of side M begin at every s + k M; two pixels attend when they lie in the same window, and the bias is
    the table's row for their offset.
    """
    height, width, dim = maps.shape
    window, heads = block.window, block.attn.heads
    shifts = [block.shift if size > window else 0 for size in (height, width)]
    query, key, value = block.attn.qkv(maps).view(height, width, 3, heads, dim // heads).unbind(2)
    table = block.attn.relative_position_bias_table
    pixels = [(row, column) for row in range(height) for column in range(width)]
    out = torch.zeros(height, width, heads, dim // heads)
    for row, column in pixels:
        home = (math.floor((row - shifts[0]) / window), math.floor((column - shifts[1]) / window))
        scores, values = [], []
        for other_row, other_column in pixels:
            place = (math.floor((other_row - shifts[0]) / window), math.floor((other_column - shifts[1]) / window))
            if place != home:
                continue
            offset = (row - other_row + window - 1) * (2 * window - 1) + column - other_column + window - 1
            score = (query[row, column] * key[other_row, other_column]).sum(-1) / math.sqrt(dim // heads)
            scores.append(score + table[offset])
            values.append(value[other_row, other_column])
        weights = torch.stack(scores).softmax(0)  # (keys, heads)
        out[row, column] = (weights.unsqueeze(-1) * torch.stack(values)).sum(0)
    return block.attn.proj(out.flatten(2))


@settings(max_examples=12)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    window=st.integers(2, 4),
    shifted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_window_attention_equals_plain_loops(height: int, width: int, window: int, shifted: bool, seed: int) -> None:
    torch.manual_seed(seed)
    block = SwinBlock(8, 2, window, shifted=shifted).eval()
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    maps = torch.randn(2, height, width, 8)
    with torch.no_grad():
        expected = torch.stack([naive_window_attention(block, one) for one in maps])
        torch.testing.assert_close(block._attend(maps), expected, atol=2e-5, rtol=1e-4)


def test_encoder_equals_timm() -> None:
    """timm keeps the patch merging at the head of stages 1 to 3, Swin-Unet at the tail of stages 0 to 2."""
    torch.manual_seed(0)
    ours = create_model("swin_unet_tiny", 3, 2, 224).swin_unet.eval()
    theirs = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, depths=(2, 2, 2, 2)).eval()
    weights = {}
    for name, value in ours.state_dict().items():
        if name.startswith("layers."):
            stage, rest = name.removeprefix("layers.").split(".", 1)
            weights[f"layers.{int(stage) + rest.startswith('downsample')}.{rest}"] = value
        elif name.startswith(("patch_embed.", "norm.")):
            weights[name] = value
    report = theirs.load_state_dict(weights, strict=False)
    assert not [key for key in report.missing_keys if "attn_mask" not in key]
    assert not [key for key in report.unexpected_keys if "relative_position_index" not in key]
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        maps = ours.patch_embed(image)
        for layer in ours.layers:
            maps = layer(maps)
        torch.testing.assert_close(ours.norm(maps), theirs.forward_features(image), atol=1e-4, rtol=1e-4)


def test_shifted_windows_let_neighbours_exchange() -> None:
    """A change in one window reaches its neighbour through a shifted block, not through a plain one."""
    torch.manual_seed(0)
    maps = torch.randn(1, 4, 8, 8)
    changed = maps.clone()
    changed[0, 2, 3, 0] += 1.0  # last column of the left window
    for shifted in (False, True):
        block = SwinBlock(8, 2, 4, shifted=shifted).eval()
        with torch.no_grad():
            reached = (block(changed) - block(maps)).abs().sum(dim=(0, 1, 3)) > 1e-6  # per column
        expected = [False, False, True, True, True, True, False, False] if shifted else [True] * 4 + [False] * 4
        assert reached.tolist() == expected


def test_mask_only_where_needed() -> None:
    assert window_mask(14, 7, 7, (0, 0), torch.device("cpu")) is None
    mask = window_mask(3, 4, 2, (1, 1), torch.device("cpu"))
    assert mask.shape == (4, 4, 4)
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    # The first rolled window holds the rows 1, 2 and columns 1, 2 of the map: nothing wrapped, nothing padded.
    assert mask[0].abs().max() == 0


def test_one_window_is_never_shifted() -> None:
    torch.manual_seed(0)
    plain, shifted = SwinBlock(8, 2, 7, shifted=False).eval(), SwinBlock(8, 2, 7, shifted=True).eval()
    shifted.load_state_dict(plain.state_dict())
    maps = torch.randn(1, 7, 7, 8)
    with torch.no_grad():
        torch.testing.assert_close(shifted(maps), plain(maps))


def test_position_bias_favours_the_offset_it_names() -> None:
    """Table row (M-1 + dr)(2M-1) + (M-1 + dc) belongs to query = key + (dr, dc), as in the released models."""
    attention = WindowAttention(4, heads=1, window=3)
    with torch.no_grad():
        attention.relative_position_bias_table.zero_()
        attention.relative_position_bias_table[(2 + 1) * 5 + (2 - 1)] = 1.0  # one row down, one column left
    bias = attention.position_bias()[0].detach()
    pairs = [(3 * row + column, 3 * (row - 1) + column + 1) for row in (1, 2) for column in (0, 1)]
    assert {tuple(pair) for pair in bias.nonzero().tolist()} == set(pairs)


def test_patch_merging_order() -> None:
    """Neighbours are joined in the order (0,0), (1,0), (0,1), (1,1) of (row, column)."""
    merging = PatchMerging(1)
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    maps = torch.arange(16.0).view(1, 4, 4, 1)
    assert merging(maps)[0, 0, 0].tolist() == [0, 4, 1, 5]
    assert merging(maps)[0, 1, 1].tolist() == [10, 14, 11, 15]


@pytest.mark.parametrize("scale", [2, 4])
def test_patch_expand_runs_channels_fastest(scale: int) -> None:
    torch.manual_seed(0)
    expand = PatchExpand(6, 3, scale)
    maps = torch.randn(2, 3, 4, 6)
    expected = rearrange(expand.expand(maps), "b h w (p1 p2 c) -> b (h p1) (w p2) c", p1=scale, p2=scale)
    torch.testing.assert_close(expand(maps), expand.norm(expected))


def test_patch_expand_starts_as_upsampling() -> None:
    torch.manual_seed(0)
    expand = PatchExpand(6, 3)
    expand.start_as_upsampling()
    out = expand(torch.randn(1, 2, 2, 6))
    assert out.std() > 0.1
    torch.testing.assert_close(out, out[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2))


@pytest.mark.parametrize(("classes", "parameters"), [(9, 27_168_900), (4, 27_168_420)])
def test_tiny_has_the_published_size(classes: int, parameters: int) -> None:
    model, _ = on_meta("swin_unet_tiny", 1, classes, 224)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_released_parameter_names() -> None:
    names = set(on_meta("swin_unet_tiny", 1, 4, 224)[0].state_dict())
    for name in (
        "patch_embed.proj.weight",
        "patch_embed.norm.bias",
        "layers.3.blocks.1.attn.relative_position_bias_table",
        "layers.0.blocks.0.attn.relative_position_index",
        "layers.2.downsample.reduction.weight",
        "layers.2.downsample.norm.weight",
        "layers_up.0.expand.weight",
        "layers_up.0.norm.weight",
        "layers_up.1.blocks.0.mlp.fc1.weight",
        "layers_up.2.upsample.expand.weight",
        "layers_up.3.blocks.1.norm2.weight",
        "concat_back_dim.1.weight",
        "concat_back_dim.3.bias",
        "norm.weight",
        "norm_up.weight",
        "up.expand.weight",
        "up.norm.bias",
        "output.weight",
    ):
        assert f"swin_unet.{name}" in names
    for name in ("layers.3.downsample.norm.weight", "layers_up.3.upsample.norm.weight", "concat_back_dim.0.weight"):
        assert f"swin_unet.{name}" not in names
    assert all(name.startswith("swin_unet.") for name in names)


def test_stochastic_depth_rises_to_the_bottleneck_and_is_mirrored() -> None:
    body = on_meta("swin_unet_tiny", 1, 4, 224, {"stochastic_depth": 0.7})[0].swin_unet
    down = [block.drop_path.rate for layer in body.layers for block in layer.blocks]
    up = [[block.drop_path.rate for block in layer.blocks] for layer in list(body.layers_up)[1:]]
    assert down == pytest.approx([0.1 * step for step in range(8)])
    assert up == [pytest.approx([0.4, 0.5]), pytest.approx([0.2, 0.3]), pytest.approx([0.0, 0.1])]


def test_one_channel_is_repeated_to_three() -> None:
    torch.manual_seed(0)
    model = create_model("swin_unet_tiny", 1, 2, 32).eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(image), model.swin_unet(image.repeat(1, 3, 1, 1)))
    assert on_meta("swin_unet_tiny", 4, 2, 32)[0].swin_unet.patch_embed.proj.in_channels == 4


@pytest.mark.parametrize("skips", [0, 1, 2, 3])
def test_skips_are_used_finest_first(skips: int) -> None:
    body = on_meta("swin_unet_tiny", 1, 2, 32, {"skips": skips})[0].swin_unet
    joined = [isinstance(layer, torch.nn.Linear) for layer in body.concat_back_dim]
    assert joined == [False, skips >= 3, skips >= 2, skips >= 1]


def test_upsampling_kinds_have_their_own_layers() -> None:
    sizes = {}
    for kind in ("expand", "bilinear", "transposed"):
        model = create_model("swin_unet_tiny", 1, 2, 32, {"upsample": kind}).eval()
        sizes[kind] = sum(parameter.numel() for parameter in model.parameters())
        with torch.no_grad():
            assert model(torch.randn(1, 1, 32, 64)).shape == (1, 2, 32, 64)
    assert sizes["bilinear"] < sizes["transposed"]
    assert sizes["transposed"] - sizes["expand"] == 384 + 192 + 96 + 96  # the biases of the convolutions


@pytest.mark.parametrize("options", [{"skips": 4}, {"upsample": "nearest"}, {"windows": 7}])
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=next(iter(options))):
        create_model("swin_unet_tiny", 1, 2, 32, options)
