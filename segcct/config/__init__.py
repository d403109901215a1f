"""The typed experiment: frozen pydantic models, one section each; every key is documented where it stands.

`settings.py` reads them from YAML and the command line, and words the errors.
"""

from segcct.config.base import ModelSection, RunSection, ScheduleSection, parse_duration
from segcct.config.classification import (
    ClassificationConfig,
    PictureAugmentSection,
    PictureSplitSection,
    PicturesSection,
)
from segcct.config.data import AugmentSection, DataSection, IntensitySection, SplitSection
from segcct.config.reconstruction import M2IConfig, ReconstructionLossSection
from segcct.config.segmentation import LossSection, SegmentationConfig, TrainSection

__all__ = [
    "AugmentSection",
    "ClassificationConfig",
    "DataSection",
    "IntensitySection",
    "LossSection",
    "M2IConfig",
    "ModelSection",
    "PictureAugmentSection",
    "PictureSplitSection",
    "PicturesSection",
    "ReconstructionLossSection",
    "RunSection",
    "ScheduleSection",
    "SegmentationConfig",
    "SplitSection",
    "TrainSection",
    "parse_duration",
]
