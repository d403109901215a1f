"""Tokenizers and encoder: shapes for any image, the block's formulas, positional tables worked by hand."""

from __future__ import annotations

import math
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segcct.models.attention import SHORT, attention
from segcct.models.tokenizer import ConvTokenizer, PatchTokenizer, to_map, to_tokens, token_grid
from segcct.models.transformer import DropPath, Encoder, EncoderBlock, SeqPool, resize_table, sine_table


@settings(max_examples=15)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    kernel=st.sampled_from([3, 5, 7]),
    stages=st.integers(1, 3),
    pool=st.booleans(),
)
def test_counted_grid_is_the_computed_grid(height: int, width: int, kernel: int, stages: int, pool: bool) -> None:
    tokenizer = ConvTokenizer(1, [4] * stages, kernel=kernel, pool=pool)
    assert tuple(tokenizer(torch.zeros(1, 1, height, width)).shape[-2:]) == token_grid(tokenizer, height, width)
    patches = PatchTokenizer(1, 4, patch=kernel)
    assert tuple(patches(torch.zeros(1, 1, height, width)).shape[-2:]) == token_grid(patches, height, width)


@pytest.mark.parametrize("bias", [None, (1, 2, 9, 9), (6, 1, 9, 9), (6, 2, 9, 9)])
def test_attention_in_training_is_that_of_pytorch_and_so_is_its_gradient(bias: tuple[int, ...] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(3, 6, 2, 9, 4, generator=generator).requires_grad_()
    added = None if bias is None else torch.randn(bias, generator=generator).requires_grad_()
    leaves = [qkv] if added is None else [qkv, added]
    weights = torch.randn(6, 2, 9, 4, generator=generator)
    mixed, expected = attention(*qkv, added), F.scaled_dot_product_attention(*qkv, attn_mask=added)
    torch.testing.assert_close(mixed, expected)
    for one, other in zip(*(torch.autograd.grad(each, leaves, weights) for each in (mixed, expected)), strict=True):
        torch.testing.assert_close(one, other)


def test_attention_drops_weights_in_training_alone() -> None:
    qkv = torch.ones(3, 1, 1, 400, 1).requires_grad_()
    kept = attention(*qkv, dropout=0.5).detach()  # each the mean of 400, of which half are 0 and half twice as large
    assert kept.std() > 0
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(attention(*qkv), torch.ones(1, 1, 400, 1))


def test_long_sequences_keep_no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Mock(wraps=F.scaled_dot_product_attention)
    monkeypatch.setattr(F, "scaled_dot_product_attention", kernel)
    for tokens, grad in ((SHORT, True), (SHORT + 1, True), (3, False)):
        attention(*torch.zeros(3, 1, 1, tokens, 2, requires_grad=grad))
    assert [call.args[0].shape[-2] for call in kernel.call_args_list] == [SHORT + 1, 3]


def test_released_strides() -> None:
    def layout(kernel: int) -> tuple[object, object]:
        conv = ConvTokenizer(3, [8], kernel=kernel).conv_layers[0][0]
        return conv.stride[0], conv.padding[0]

    assert [layout(kernel) for kernel in (3, 7)] == [(1, 1), (2, 3)]
    assert ConvTokenizer(3, [64, 256], kernel=7).reduction == 16
    assert ConvTokenizer(3, [64, 256], kernel=3).reduction == 4


def test_stages_are_the_skips() -> None:
    tokenizer = ConvTokenizer(4, [8, 12, 16], norm="batch")
    image = torch.randn(2, 4, 33, 50)
    maps = tokenizer.stages(image)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 17, 25), (2, 12, 9, 13), (2, 16, 5, 7)]
    tokenizer.eval()
    torch.testing.assert_close(tokenizer.stages(image)[-1], tokenizer(image))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_first_convolution_keeps_its_released_name(norm: str) -> None:
    names = dict(ConvTokenizer(3, [64, 128], norm=norm).named_parameters())
    assert names["conv_layers.0.0.weight"].shape == (64, 3, 3, 3)
    assert names["conv_layers.1.0.weight"].shape == (128, 64, 3, 3)
    assert len(names) == (2 if norm == "none" else 6)


def test_tokens_are_laid_row_by_row() -> None:
    grid = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert to_tokens(grid).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(to_map(to_tokens(grid), (2, 3)), grid)


def test_patches_at_the_border_are_zero_padded_not_dropped() -> None:
    tokenizer = PatchTokenizer(1, 1, patch=4)
    with torch.no_grad():
        tokenizer.conv_layers[0][0].weight.fill_(1.0)
        tokenizer.conv_layers[0][0].bias.zero_()
    assert tokenizer(torch.ones(1, 1, 5, 6)).flatten().tolist() == [16, 8, 4, 2]


def test_sine_table_by_hand() -> None:
    table = sine_table(3, 4)[0]
    for position in range(3):
        expected = [
            math.sin(position),
            math.cos(position),
            math.sin(position / 100),
            math.cos(position / 100),
        ]
        assert table[position].tolist() == pytest.approx(expected, abs=1e-7)


def test_resized_table_keeps_class_token_and_interpolates() -> None:
    table = torch.tensor([9.0, 0.0, 2.0]).reshape(1, 3, 1)  # class token, then a 1 x 2 grid
    resized = resize_table(table, (1, 2), (1, 4)).flatten().tolist()
    assert resized == pytest.approx([9.0, 0.0, 0.5, 1.5, 2.0])
    assert resize_table(table, (1, 2), (1, 2)) is table


def test_norm1_replaces_the_residual_stream() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(6, 2, 2.0, dropout=0.3, drop_path=0.5).eval()
    with torch.no_grad():
        for parameter in (block.self_attn.proj.weight, block.self_attn.proj.bias, block.linear2.weight):
            parameter.zero_()
        block.linear2.bias.zero_()
    x = torch.randn(2, 5, 6) * 7 + 3
    torch.testing.assert_close(block(x), F.layer_norm(x, (6,)))


def test_parameter_names_of_a_block() -> None:
    assert set(EncoderBlock(4, 2, 1.0).state_dict()) == {
        "pre_norm.weight",
        "pre_norm.bias",
        "self_attn.qkv.weight",
        "self_attn.proj.weight",
        "self_attn.proj.bias",
        "norm1.weight",
        "norm1.bias",
        "linear1.weight",
        "linear1.bias",
        "linear2.weight",
        "linear2.bias",
    }


def test_stochastic_depth_rises_linearly_and_keeps_the_mean() -> None:
    encoder = Encoder(8, 3, 2, 1, grid=(2, 2), stochastic_depth=0.1)
    assert [block.drop_path.rate for block in encoder.blocks] == pytest.approx([0.0, 0.05, 0.1])
    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(20000, 3))
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (dropped == dropped[:, :1]).all()  # a sample's branch is dropped whole
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert DropPath(0.25).eval()(torch.ones(5, 3)).min() == 1.0


def test_attention_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 1.0, attention_dropout=0.5)
    x = torch.randn(1, 6, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_sequence_pooling_is_a_weighted_mean() -> None:
    pool = SeqPool(2)
    with torch.no_grad():
        pool.weight.copy_(torch.tensor([[math.log(3.0), 0.0]]))
        pool.bias.fill_(5.0)  # the same for every token: no effect
    tokens = torch.tensor([[[1.0, 10.0], [0.0, 20.0]]])  # scores log 3 and 0: shares 3/4 and 1/4
    torch.testing.assert_close(pool.weights(tokens), torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(pool(tokens), torch.tensor([[0.75, 12.5]]))


@pytest.mark.parametrize("positional", ["learnable", "sine", "none"])
def test_requested_positional_table_is_the_one_used(positional: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(8, 1, 2, 1, grid=(3, 3), positional=positional).eval()
    trained = {name for name, _ in encoder.named_parameters()}
    assert ("positional_emb" in trained) == (positional == "learnable")
    tokens = torch.randn(1, 9, 8)
    shuffled = tokens.flip(1)
    same = torch.allclose(encoder(tokens, (3, 3)).flip(1), encoder(shuffled, (3, 3)), atol=1e-5)
    assert same == (positional == "none")  # without a table the encoder cannot tell the order
    if positional == "sine":
        torch.testing.assert_close(encoder.positional_emb, sine_table(9, 8))


def test_other_grids_and_class_token() -> None:
    encoder = Encoder(8, 2, 2, 1, grid=(4, 4), class_token=True).eval()
    assert encoder(torch.randn(2, 15, 8), (3, 5)).shape == (2, 16, 8)
    assert encoder.positional_emb.shape == (1, 17, 8)
