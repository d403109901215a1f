"""The typed experiment: frozen pydantic models, one section each; every key is documented where it is defined.

`settings.py` reads them from YAML and the command line, and words the errors.
"""

from segcct.config.base import Experiment, ModelSection, RunSection, ScheduleSection, parse_duration
from segcct.config.classification_config import (
    ClassificationConfig,
    ImageAugmentSection,
    ImageSplitSection,
    ImagesSection,
)
from segcct.config.data_section import AugmentSection, CaseSplitSection, DataSection, IntensitySection
from segcct.config.pretraining_config import PretrainingConfig
from segcct.config.reconstruction_config import M2IConfig, ReconstructionLossSection
from segcct.config.segmentation_config import LossSection, SegmentationConfig, TrainSection, UnlabeledSection
from segcct.config.split_section import SplitSection

__all__ = [
    "AugmentSection",
    "CaseSplitSection",
    "ClassificationConfig",
    "DataSection",
    "Experiment",
    "ImageAugmentSection",
    "ImageSplitSection",
    "ImagesSection",
    "IntensitySection",
    "LossSection",
    "M2IConfig",
    "ModelSection",
    "PretrainingConfig",
    "ReconstructionLossSection",
    "RunSection",
    "ScheduleSection",
    "SegmentationConfig",
    "SplitSection",
    "TrainSection",
    "UnlabeledSection",
    "parse_duration",
]
