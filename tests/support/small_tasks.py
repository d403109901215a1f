"""A small training of each task, on synthetic data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from segcct.config import ClassificationConfig, PretrainingConfig, ReconstructionConfig, SegmentationConfig, settings
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.split_record import Splits
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import prepare_case
from segcct.tasks.classification.classification_task import ClassificationTask, load_dataset
from segcct.tasks.pretraining.pretraining_task import PretrainingTask
from segcct.tasks.reconstruction.reconstruction_task import ReconstructionTask
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.tasks.task import Task
from segcct.tasks.training_dataset import TrainingData
from tests.support.drawn_images import write_folder
from tests.support.toy_pair import CLASSES, data_section, loaded_case

TRAIN = {"epochs": 2, "batch_size": 4, "ema": 0.9, "lr": 0.01}


def volumes(workers: int) -> tuple[dict[str, Any], TrainingData]:
    """Data and training sections, and the dataset, of a training on one synthetic case."""
    data = data_section()
    scheme = Scheme("custom", CLASSES)
    cases = [prepare_case(loaded_case(), Preparation.of(data), scheme)]
    content = {"data": data.model_dump(mode="json") | {"workers": workers}, "train": TRAIN | {"slices_per_epoch": 12}}
    return content, TrainingData(scheme, Splits(("toy",), ()), cases, cases, "none", frozenset({"toy"}))


def segmentation(workers: int, folder: Path) -> Task:
    content, dataset = volumes(workers)
    content |= {"model": {"name": "cct_unet_t"}}
    return SegmentationTask(settings.build(SegmentationConfig, content, {}, source="test"), dataset)


def few_labels(workers: int, folder: Path) -> Task:
    """Segmentation with a teacher of any confidence; the only case is labeled and unlabeled."""
    content, dataset = volumes(workers)
    content["data"]["split"] |= {"unlabelled": "rest"}
    unlabeled = {"method": "teacher", "confidence": 0.0}
    content |= {"model": {"name": "cct_unet_t"}, "train": content["train"] | {"unlabelled": unlabeled}}
    dataset = replace(dataset, unlabeled=dataset.train)
    return SegmentationTask(settings.build(SegmentationConfig, content, {}, source="test"), dataset)


def reconstruction(workers: int, folder: Path) -> Task:
    content, dataset = volumes(workers)
    return ReconstructionTask(settings.build(ReconstructionConfig, content, {}, source="test"), dataset)


def pretraining(workers: int, folder: Path, method: str = "m2d") -> Task:
    content, dataset = volumes(workers)
    content |= {"model": {"name": "cct_unet_t"}, "train": content["train"] | {"method": method}}
    return PretrainingTask(settings.build(PretrainingConfig, content, {}, source="test"), dataset)


def classification(workers: int, folder: Path) -> Task:
    root = folder / "pictures"
    content = {
        "data": {"root": str(root if root.is_dir() else write_folder(root, 6)), "image_size": 16, "workers": workers,
                 "cache": str(folder / "cache"), "split": {"val": 3, "test": 0}},
        "augment": {"shift_px": 1, "randaugment": "rand-m5-n1", "erase": 0.5, "mixup": 0.8, "cutmix": 1.0},
        "model": {"name": "cct_2_3x2_32"},
        "train": TRAIN,
    }  # fmt: skip
    config = settings.build(ClassificationConfig, content, {}, source="test")
    return ClassificationTask(config, load_dataset(config))


SMALL = {"segmentation": segmentation, "classification": classification, "reconstruction": reconstruction,
         "pretraining": pretraining}  # fmt: skip
"""Task -> its small training, called with (number of loader processes, a folder)."""
