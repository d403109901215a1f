"""Names that the command line and `InferenceSettings` offer, where the parser can read them without PyTorch."""

from typing import Literal, get_args

ProtocolName = Literal["soft", "orientations", "transunet"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)
"""Of `--protocol`; the keys of `inferers.INFERERS`."""
ViewsName = Literal["none", "flips", "rotations"]
"""Of `--tta`; the keys of `views.VIEWS`."""
BackendName = Literal["torch", "onnx", "openvino"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
"""Of `--backend`; the networks of all but torch are in `segcct.export.backends.BACKENDS`."""
