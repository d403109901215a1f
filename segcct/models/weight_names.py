"""Which tensor of a file belongs to which tensor of a model: the names of released checkpoints and of ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

_PATCHES = frozenset({"swin_unet.patch_embed.proj.weight"})

COMPUTED = ("relative_position_index", "attn_mask")
"""Last parts of names that released Swin files store, though the model computes them from its sizes."""

HEADS = ("fc", "head", "head_dist", "out", "output", "classifier", "last_linear")
"""Modules that end in one row per class; they do not carry over to other classes."""

LAST_OF_HEADS = ("linear", "l", "fc2")
"""Names of the last layer within such a module, in some networks of timm."""

COARSE_HEADS = "coarse_heads."
"""Heads of the lower scales, which a model has with deep supervision only."""

IMAGE_CONVOLUTIONS = ("detail.0", "tokenizer.conv_layers.0.0", "down.0.0")
"""First convolutions: of CCT-UNet, the compact classifiers, U-Net. The first of these a model has reads the image."""

WRAPPERS = ("pyramid.network.", "network.")
"""What our names put before those of timm's encoders and of MONAI's networks."""

OUTSIDE_HEAD = re.compile(
    r"(network\.(output_block|deep_supervision_heads|out|out_0|out_blocks|conv_final|model\.2)"
    r"|(network\.)?segmentation_head)\."
)
"""Modules of networks of MONAI and segmentation_models.pytorch that end in one row per class."""

FRONTS = ("detail.", "tokenizer.")
"""Modules that make tokens of the image; another model takes all of them or none."""

MASKED = "masked."
"""Prefix of what masked pre-training needs besides the encoder."""

ENCODERS = ("classifier.", "encoder.")
"""Prefixes of the compact encoder: the first in classifiers, the second in segmenters."""

ENCODER_SCALE = "encoder_scale"
"""Scale of the encoder's output in segmenters; classifiers and masked pre-training take that output as it is."""


@dataclass(frozen=True)
class Plan:
    """How a file fills a model.

    Args:
        what: the file's kind in words.
        source_of: name in the model -> name in the file; one tensor of a file may fill two places.
        required: names of the model the file must hold, in the model's shapes, to be of this architecture.
        reads_image: convolutions in the model that read the image, whose channels may differ.
        set_to_one: names in the model that become 1, because the file's model computes as if it had them so.
        left_out: name in the file -> why it is not used though the model has such a tensor.
        same: the file is of this architecture itself: tensors that the model lacks are an error.
    """

    what: str
    source_of: dict[str, str]
    required: frozenset[str]
    reads_image: frozenset[str] = frozenset()
    set_to_one: frozenset[str] = frozenset()
    left_out: dict[str, str] = field(default_factory=dict)
    same: bool = False

    def absent(self) -> list[str]:
        """Names of the model that the file lacks."""
        return sorted(name for name in self.required if name not in self.source_of)

    def surplus(self, source: Collection[str]) -> list[str]:
        """Names of the file that no model of this architecture has, whatever its classes and positional table."""
        used = set(self.source_of.values())
        free = (is_head, is_positional, is_computed)
        return [name for name in source if self.same and name not in used and not any(test(name) for test in free)]


def plan(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Plan:
    """Compares the tensors of a file with those of a model and says what fills what."""
    target = {name: value for name, value in target.items() if not is_computed(name)}
    if any(name.startswith("swin_unet.") for name in target):
        return _plan_swin_unet(list(source), list(target))
    wrapper = next((prefix for prefix in WRAPPERS if any(name.startswith(prefix) for name in target)), None)
    if wrapper is not None and not any(name.startswith(wrapper) for name in source):
        return _plan_wrapped(source, target, wrapper)
    theirs, ours = (
        next((prefix for prefix in ENCODERS if any(name.startswith(f"{prefix}blocks.") for name in names)), None)
        for names in (source, target)
    )
    pretrained = any(name.startswith(MASKED) for name in source) and not any(name.startswith(MASKED) for name in target)
    if theirs is not None and ours is not None and (theirs != ours or pretrained):
        planned = _plan_encoder(source, target, theirs, ours)
        return replace(planned, what="encoder of a masked pre-training") if pretrained else planned
    what = "weights of the same architecture"
    return Plan(what, _by_name(source, target), _strict(target), image_convolutions(target), same=True)


def image_convolutions(target: Mapping[str, Tensor]) -> frozenset[str]:
    """The weights of the convolutions that read the image.

    In networks of timm and MONAI: all that take as many channels as the first does. Those within the network that do
    so by chance have equal channels in every file.
    """
    ours = next((f"{name}.weight" for name in IMAGE_CONVOLUTIONS if f"{name}.weight" in target), None)
    if ours is not None:
        return frozenset({ours})
    kernels = {name: value.shape[1] for name, value in target.items() if value.dim() == 4}
    if not any(name.startswith(WRAPPERS) for name in kernels):
        return frozenset()
    return frozenset(name for name, channels in kernels.items() if channels == next(iter(kernels.values())))


def is_computed(name: str) -> bool:
    """Whether the model computes this tensor itself."""
    return name.rsplit(".", 1)[-1] in COMPUTED


def is_head(name: str) -> bool:
    """Whether the tensor has one row per class."""
    *_, outer, module, last = ["", "", *name.split(".")]
    if name.startswith(COARSE_HEADS) or OUTSIDE_HEAD.match(name):
        return True
    return last in ("weight", "bias") and (module in HEADS or (module in LAST_OF_HEADS and outer in HEADS))


def is_positional(name: str) -> bool:
    """Whether the tensor is the positional table of a compact encoder."""
    return name.rsplit(".", 1)[-1] == "positional_emb"


def is_tokenizer_norm(name: str) -> bool:
    """Whether the tensor is of the BatchNorm between a tokenizer's convolution and its ReLU."""
    return re.fullmatch(r"tokenizer\.conv_layers\.\d+\.1\.\w+", name) is not None


def pooling_of(names: Collection[str]) -> str:
    """How the classifier that holds these tensors pools its tokens."""
    modules = {part for name in names for part in name.split(".")}
    return "seqpool" if "attention_pool" in modules else "class_token" if "class_emb" in modules else "mean"


def has_blocks(names: Collection[str]) -> bool:
    """Whether blocks of a compact encoder are among the tensors."""
    return any(name.startswith(tuple(f"{prefix}blocks." for prefix in ENCODERS)) for name in names)


def is_front(name: str) -> bool:
    """Whether the tensor is of a module that makes tokens of the image."""
    return name.startswith(FRONTS)


def is_pooling(name: str) -> bool:
    """Whether the tensor is of a classifier's way of pooling."""
    return "attention_pool" in name.split(".") or name.rsplit(".", 1)[-1] == "class_emb"


def _by_name(source: Collection[str], target: Collection[str]) -> dict[str, str]:
    return {name: name for name in target if name in source}


def _strict(target: Collection[str]) -> frozenset[str]:
    """Everything but class heads (other classes) and positional tables (the file may have been trained without)."""
    return frozenset(name for name in target if not is_head(name) and not is_positional(name))


def _plan_encoder(source: Mapping[str, Tensor], target: Mapping[str, Tensor], theirs: str, ours: str) -> Plan:
    """A classifier's encoder into a segmenter, or back, and its tokenizer where both have the same.

    A segmenter adds little of a random encoder to its tokens; of a whole one that was trained on these tokens it adds
    all. Otherwise the encoder would count for a hundredth of what it did, and optimizers such as Adam, whose steps do
    not depend on that, would change it before it counts again.
    """
    renamed = {name: theirs + name.removeprefix(ours) for name in target if name.startswith(ours)}
    source_of = {name: source_name for name, source_name in renamed.items() if source_name in source}
    reads_image = image_convolutions(target)
    old, new = (_shapes_of_fronts(weights, reads_image) for weights in (source, target))
    left_out, set_to_one = dict[str, str](), frozenset[str]()
    if old == new:
        blocks = {name for name in source if name.startswith(f"{theirs}blocks.")}
        if source_of.keys() == renamed.keys() and blocks <= set(source_of.values()):
            set_to_one = frozenset({ENCODER_SCALE}) & target.keys()
        source_of |= {name: name for name in new}
    else:
        left_out = dict.fromkeys(old, "the model makes tokens in another way and keeps its initial tokenizer")
    what = "encoder of a classifier" if theirs == ENCODERS[0] else "encoder of a segmenter"
    # Encoders of other depth share their first blocks.
    required = frozenset(name for name in target if name.startswith(f"{ours}blocks.0."))
    return Plan(what, source_of, required, reads_image, set_to_one, left_out)


def _shapes_of_fronts(weights: Mapping[str, Tensor], reads_image: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of what makes the tokens, but for the channels of the image."""
    shapes = {name: tuple(value.shape) for name, value in weights.items() if name.startswith(FRONTS)}
    return {name: (*shape[:1], *shape[2:]) if name in reads_image else shape for name, shape in shapes.items()}


def _plan_wrapped(source: Mapping[str, Tensor], target: Mapping[str, Tensor], wrapper: str) -> Plan:
    """A network of timm or MONAI, under its own names, into the module that wraps it.

    timm names the stages of an encoder `stages_0` that it stores as `stages.0`.
    """

    def bare(name: str) -> str:
        return re.sub(r"_(?=\d+\.)", ".", name.removeprefix(wrapper).removeprefix("model."))

    source_names = {bare(name): name for name in source}
    wrapped = [name for name in target if name.startswith(wrapper)]
    source_of = {name: source_names[bare(name)] for name in wrapped if bare(name) in source_names}
    required = frozenset(name for name in wrapped if not is_head(name))
    return Plan("weights of the network within", source_of, required, image_convolutions(target))


def _plan_swin_unet(source: list[str], target: list[str]) -> Plan:
    """Swin-Unet weights, published or of a run, which put a prefix before their names; else those of a classifier."""
    prefix = "" if any(name.startswith("swin_unet.") for name in source) else "swin_unet."
    renamed = {prefix + name: name for name in source}
    if not any(name.startswith("swin_unet.layers_up.") for name in renamed):
        return _plan_swin(source, target)
    source_of = {name: renamed[name] for name in target if name in renamed}
    return Plan("Swin-Unet weights", source_of, _strict(target), _PATCHES, same=True)


def _plan_swin(source: list[str], target: list[str]) -> Plan:
    """Swin classifier weights into the encoder and, mirrored, the decoder: layers.k -> layers_up.(K - 1 - k)."""
    last = max((int(match[1]) for name in source if (match := re.match(r"layers\.(\d{1,4})\.", name))), default=0)
    # Swin-Unet and the official files merge patches at the end of stages 0, 1, 2; timm at the head of 1, 2, 3.
    merges_at_head = any(name.startswith(f"layers.{last}.downsample.") for name in source)
    source_of = {}
    names = set(source)
    for name in target:
        wanted = name.removeprefix("swin_unet.")
        up = re.match(r"layers_up\.(\d+)\.(blocks\..+)", wanted)
        down = re.match(r"layers\.(\d+)\.(downsample\..+)", wanted)
        if up is not None:
            wanted = f"layers.{last - int(up[1])}.{up[2]}"
        elif down is not None and merges_at_head:
            wanted = f"layers.{int(down[1]) + 1}.{down[2]}"
        if wanted in names and not is_head(name):
            source_of[name] = wanted
    encoder = ("swin_unet.patch_embed.", "swin_unet.layers.")
    required = frozenset(name for name in target if name.startswith(encoder))
    what = "Swin Transformer weights, into the encoder and mirrored into the decoder"
    return Plan(what, source_of, required, _PATCHES)
