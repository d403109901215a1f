"""`segcct init` on the names of public datasets: how they are grouped, from empty files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from segcct.datasets.layouts import find_cases
from segcct.files.file_names import IMAGE_SUFFIXES
from segcct.init.folder_inspection import data_section_of


def numbered(*patterns: str) -> list[str]:
    """File names of three cases: `{k}` is 1 to 3, `{next}` 4 to 6."""
    return [pattern.format(k=number, next=number + 3) for pattern in patterns for number in (1, 2, 3)]


TREES: dict[str, tuple[list[str], str, list[str], str, int]] = {
    "MSD": (
        [*numbered("imagesTr/la_00{k}.nii.gz", "labelsTr/la_00{k}.nii.gz"), "imagesTs/la_009.nii.gz"],
        "nnunet", ["{id}.nii.gz"], "{id}.nii.gz", 4,
    ),
    "BTCV": (
        numbered("Training/img/img000{k}.nii.gz", "Training/label/label000{k}.nii.gz"),
        "synapse", ["img{id}.nii.gz"], "label{id}.nii.gz", 3,
    ),
    "KiTS": (
        numbered("case_0000{k}/imaging.nii.gz", "case_0000{k}/segmentation.nii.gz"),
        "folder", ["imaging.nii.gz"], "segmentation.nii.gz", 3,
    ),
    "LiTS": (
        numbered("Training Batch 1/volume-{k}.nii", "Training Batch 1/segmentation-{k}.nii",
                 "Training Batch 2/volume-{next}.nii", "Training Batch 2/segmentation-{next}.nii"),
        "paired", ["volume-{id}.nii"], "segmentation-{id}.nii", 6,
    ),
    "PROMISE12": (
        numbered("Case0{k}.mhd", "Case0{k}.raw", "Case0{k}_segmentation.mhd", "Case0{k}_segmentation.raw"),
        "paired", ["{id}.mhd"], "{id}_segmentation.mhd", 3,
    ),
    "ISLES 2022": (
        numbered("sub-strokecase000{k}/ses-0001/dwi/sub-strokecase000{k}_ses-0001_dwi.nii.gz",
                 "derivatives/sub-strokecase000{k}/ses-0001/sub-strokecase000{k}_ses-0001_msk.nii.gz"),
        "paired", ["{id}_dwi.nii.gz"], "{id}_msk.nii.gz", 3,
    ),
    "MSD, in its folder": (
        numbered("Task02_Heart/dataset.json", "Task02_Heart/imagesTr/la_00{k}.nii.gz",
                 "Task02_Heart/labelsTr/la_00{k}.nii.gz"),
        "nnunet", ["{id}.nii.gz"], "{id}.nii.gz", 3,
    ),
    "BIDS with derivatives of fMRIPrep": (
        numbered("sub-0{k}/anat/sub-0{k}_FLAIR.nii.gz", "sub-0{k}/anat/sub-0{k}_T1w.nii.gz",
                 "derivatives/fmriprep/sub-0{k}/anat/sub-0{k}_desc-preproc_T1w.nii.gz",
                 "derivatives/manual/sub-0{k}/anat/sub-0{k}_desc-lesion_mask.nii.gz"),
        "paired", ["{id}_FLAIR.nii.gz", "{id}_T1w.nii.gz", "{id}_desc-preproc_T1w.nii.gz"],
        "{id}_desc-lesion_mask.nii.gz", 3,
    ),
    "folders of nnU-Net with two formats": (
        numbered("imagesTr/p{k}.nrrd", "labelsTr/p{k}.nii.gz"),
        "paired", ["imagesTr/{id}.nrrd"], "labelsTr/{id}.nii.gz", 3,
    ),
    "VerSe": (
        numbered("rawdata/sub-verse00{k}/sub-verse00{k}_ct.nii.gz",
                 "derivatives/sub-verse00{k}/sub-verse00{k}_seg-vert_msk.nii.gz"),
        "paired", ["{id}_ct.nii.gz"], "{id}_seg-vert_msk.nii.gz", 3,
    ),
    "ATLAS": (
        numbered("R001/sub-r001s00{k}/ses-1/anat/sub-r001s00{k}_ses-1_space-MNI_T1w.nii.gz",
                 "R001/sub-r001s00{k}/ses-1/anat/sub-r001s00{k}_ses-1_space-MNI_label-L_desc-T1lesion_mask.nii.gz"),
        "paired", ["{id}_space-MNI_T1w.nii.gz"], "{id}_space-MNI_label-L_desc-T1lesion_mask.nii.gz", 3,
    ),
    "WMH": (
        numbered("{k}/orig/FLAIR.nii.gz", "{k}/orig/T1.nii.gz", "{k}/pre/FLAIR.nii.gz", "{k}/pre/T1.nii.gz",
                 "{k}/wmh.nii.gz"),
        "folder", ["orig/FLAIR.nii.gz", "orig/T1.nii.gz", "pre/FLAIR.nii.gz", "pre/T1.nii.gz"], "wmh.nii.gz", 3,
    ),
    "MSSEG": (
        numbered("Center_01/Patient_0{k}/Preprocessed_Data/FLAIR_preprocessed.nii.gz",
                 "Center_01/Patient_0{k}/Preprocessed_Data/T1_preprocessed.nii.gz",
                 "Center_01/Patient_0{k}/Masks/Brain_Mask.nii.gz", "Center_01/Patient_0{k}/Masks/Consensus.nii.gz",
                 "Center_01/Patient_0{k}/Masks/ManualSegmentation_1.nii.gz"),
        "folder", ["Preprocessed_Data/FLAIR_preprocessed.nii.gz", "Preprocessed_Data/T1_preprocessed.nii.gz"],
        "Masks/Consensus.nii.gz", 3,
    ),
    "M&Ms": (
        numbered("A{k}S9V9/A{k}S9V9_sa_ED.nii.gz", "A{k}S9V9/A{k}S9V9_sa_ED_gt.nii.gz",
                 "A{k}S9V9/A{k}S9V9_sa_ES.nii.gz", "A{k}S9V9/A{k}S9V9_sa_ES_gt.nii.gz"),
        "paired", ["{id}.nii.gz"], "{id}_gt.nii.gz", 6,
    ),
    "SegTHOR": (
        numbered("train/Patient_0{k}/Patient_0{k}.nii.gz", "train/Patient_0{k}/GT.nii.gz"),
        "folder", ["{id}.nii.gz"], "GT.nii.gz", 3,
    ),
    "Montgomery": (
        numbered("CXR_png/MCUCXR_000{k}_0.png", "ManualMask/leftMask/MCUCXR_000{k}_0.png",
                 "ManualMask/rightMask/MCUCXR_000{k}_0.png"),
        "pictures", ["CXR_png/{id}.png"], "leftMask/{id}.png", 3,
    ),
    "SCR": (
        numbered("images/JPCLN00{k}.png", "fold1/masks/heart/JPCLN00{k}.gif", "fold1/masks/left lung/JPCLN00{k}.gif"),
        "pictures", ["images/{id}.png"], "heart/{id}.gif", 3,
    ),
    "DRIVE": (
        numbered("training/images/2{k}_training.tif", "training/1st_manual/2{k}_manual1.gif",
                 "training/mask/2{k}_training_mask.gif"),
        "pictures", ["images/{id}_training.tif"], "1st_manual/{id}_manual1.gif", 3,
    ),
    "DRIVE, both splits": (
        numbered("training/images/2{k}_training.tif", "training/1st_manual/2{k}_manual1.gif",
                 "training/mask/2{k}_training_mask.gif", "test/images/0{k}_test.tif",
                 "test/1st_manual/0{k}_manual1.gif", "test/mask/0{k}_test_mask.gif"),
        "pictures", ["images/{id}_*.tif"], "1st_manual/{id}_manual1.gif", 6,
    ),
    "HRF": (
        numbered("images/0{k}_dr.JPG", "images/0{k}_h.jpg", "manual1/0{k}_dr.tif", "manual1/0{k}_h.tif",
                 "mask/0{k}_dr_mask.tif", "mask/0{k}_h_mask.tif"),
        "pictures", ["images/{id}.*"], "manual1/{id}.tif", 6,
    ),
    "Kvasir-SEG": (
        numbered("Kvasir-SEG/images/cju{k}ab.jpg", "Kvasir-SEG/masks/cju{k}ab.jpg"),
        "pictures", ["images/{id}.jpg"], "masks/{id}.jpg", 3,
    ),
    "ISIC": (
        numbered("ISIC_000000{k}.jpg", "ISIC_000000{k}_segmentation.png"),
        "pictures", ["{id}.jpg"], "{id}_segmentation.png", 3,
    ),
    "ISIC, in folders": (
        numbered("ISIC2018_Task1-2_Training_Input/ISIC_000000{k}.jpg",
                 "ISIC2018_Task1_Training_GroundTruth/ISIC_000000{k}_segmentation.png"),
        "pictures", ["ISIC2018_Task1-2_Training_Input/{id}.jpg"],
        "ISIC2018_Task1_Training_GroundTruth/{id}_segmentation.png", 3,
    ),
    "a validation split in folders of its own": (
        numbered("train_images/{k}.png", "train_masks/{k}.png", "valid_images/{next}.png", "valid_masks/{next}.png"),
        "pictures", ["train_images/{id}.png"], "train_masks/{id}.png", 3,
    ),
    "BUSI": (
        [*numbered("benign/benign ({k}).png", "benign/benign ({k})_mask.png", "normal/normal ({k}).png",
                   "normal/normal ({k})_mask.png"), "benign/benign (1)_mask_1.png"],
        "pictures", ["{id}.png"], "{id}_mask.png", 6,
    ),
    "LGG": (
        numbered("TCGA_CS_494{k}_19960909/TCGA_CS_494{k}_19960909_1.tif",
                 "TCGA_CS_494{k}_19960909/TCGA_CS_494{k}_19960909_1_mask.tif",
                 "TCGA_CS_494{k}_19960909/TCGA_CS_494{k}_19960909_2.tif",
                 "TCGA_CS_494{k}_19960909/TCGA_CS_494{k}_19960909_2_mask.tif"),
        "pictures", ["{id}.tif"], "{id}_mask.tif", 6,
    ),
    "PH2": (
        numbered("IMD00{k}/IMD00{k}_Dermoscopic_Image/IMD00{k}.bmp", "IMD00{k}/IMD00{k}_lesion/IMD00{k}_lesion.bmp"),
        "pictures", ["{id}.bmp"], "{id}_lesion.bmp", 3,
    ),
    "a folder per 2-D image": (
        numbered("p{k}/image.png", "p{k}/mask.png"),
        "pictures", ["{id}/image.png"], "{id}/mask.png", 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_names_of_public_datasets(tmp_path: Path, name: str) -> None:
    files, layout, channels, label, cases = TREES[name]
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.lower().endswith(IMAGE_SUFFIXES):
            Image.new("L", (2, 2), 77).save(path)
        else:
            path.touch()
    data = data_section_of(tmp_path)
    assert (data.layout, [*data.channels.values()], data.label) == (layout, channels, label)
    assert len(find_cases(data)) == cases
