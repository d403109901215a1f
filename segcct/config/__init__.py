"""The typed experiment: frozen pydantic models, one section each; every key is documented where it is defined.

`settings.py` reads them from YAML and the command line, and words the errors.
"""

from segcct.config.base import Experiment, ModelSection, RunSection, TrainSection, parse_duration
from segcct.config.classification_config import (
    ClassificationConfig,
    ImageAugmentSection,
    ImageSplitSection,
    ImagesSection,
)
from segcct.config.data_section import AugmentSection, CaseSplitSection, DataSection, IntensitySection
from segcct.config.pretraining_config import PretrainingConfig
from segcct.config.reconstruction_config import ReconstructionConfig, ReconstructionLossSection
from segcct.config.segmentation_config import (
    LossSection,
    SegmentationConfig,
    SegmentationTrainSection,
    UnlabeledSection,
)
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
    "ModelSection",
    "PretrainingConfig",
    "ReconstructionConfig",
    "ReconstructionLossSection",
    "RunSection",
    "SegmentationConfig",
    "SegmentationTrainSection",
    "SplitSection",
    "TrainSection",
    "UnlabeledSection",
    "parse_duration",
]
