"""Test-time augmentation: the mean of the probabilities of flipped or rotated images, each turned back."""

from __future__ import annotations

from torch import Tensor, nn

from segcct.inference.ensemble_network import log_of
from segcct.inference.inference_choices import ViewsName
from segcct.inference.views import VIEWS, View


class MeanOverViews(nn.Module):
    """(B, C, H, W) -> logarithm of the mean of the network's probabilities (B, K, H, W) or (B, K) over views."""

    def __init__(self, network: nn.Module, views: tuple[View, ...]) -> None:
        super().__init__()
        self.network = network
        self.views = views

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        first, *others = self.views
        total = self._probabilities(image, first)
        for view in others:
            total = total + self._probabilities(image, view)
        return log_of(total / len(self.views))

    def _probabilities(self, image: Tensor, view: View) -> Tensor:
        probabilities = self.network(view.of(image)).float().softmax(dim=1)
        return view.undo(probabilities) if probabilities.ndim == image.ndim else probabilities


def bare(network: nn.Module) -> nn.Module:
    """The network itself, without test-time augmentation."""
    return network.network if isinstance(network, MeanOverViews) else network


def over_views(network: nn.Module, name: ViewsName) -> nn.Module:
    """A network with the test-time augmentation of that name; as it is for `none`."""
    return network if name == "none" else MeanOverViews(network, VIEWS[name])
