"""Networks of segmentation_models.pytorch in the zoo, without pretrained weights.

Their names are `smp/ARCHITECTURE/ENCODER`, such as `smp/Unet/resnet34`. Needs the `bench` extra.
"""

from __future__ import annotations

from torch import nn

from segcct.errors import ModelError, did_you_mean
from segcct.extras import import_extra
from segcct.models.options import ModelOptions
from segcct.models.zoo import MODELS, Entry, register_model

PREFIX = "smp/"


def register_peer(name: str) -> None:
    """Add the network of a name that begins with `PREFIX` to the zoo.

    Raises:
        PackageError: segmentation_models.pytorch is not installed.
        ModelError: the library has no such architecture or encoder.
    """
    if name in MODELS:
        return
    library = import_extra("segmentation_models_pytorch", "bench")
    architecture, _, encoder = name.removeprefix(PREFIX).partition("/")
    for word, valid in ((architecture, library.__all__), (encoder, library.encoders.get_encoder_names())):
        if word not in valid:
            raise ModelError("no such network", found=name, remedy=did_you_mean(word, valid))
    network = getattr(library, architecture)

    def build(*, in_channels: int, num_classes: int, image_size: int, options: ModelOptions) -> nn.Module:
        del image_size, options
        built: nn.Module = network(encoder, encoder_weights=None, in_channels=in_channels, classes=num_classes)
        return built

    register_model(Entry(name, "segmenter", build))
