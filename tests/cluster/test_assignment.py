"""Clusters as classes: the best assignment, and masks that are relabeled by other patients."""

from __future__ import annotations

import json
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segcct.cli import main
from segcct.cluster.assignment import best_assignment, overlap_table
from segcct.images.volume import Volume
from segcct.phantom import write_phantom

GRID = np.diag([2.0, 2, 3, 1])


def test_overlaps_are_counted_by_hand() -> None:
    clusters, reference = np.array([[0, 1, 1], [2, 2, 0]]), np.array([[0, 1, 0], [1, 1, 1]])
    assert overlap_table(clusters, reference, (3, 2)).tolist() == [[1, 1], [1, 1], [0, 2]]


@given(arrays(np.int64, (5, 2), elements=st.integers(0, 20)))
def test_the_union_for_one_class_is_the_best_of_all(table: np.ndarray) -> None:
    def dice(members: tuple[int, ...]) -> float:
        rows = table[list(members)]
        return 2 * rows[:, 1].sum() / max(rows.sum() + table[:, 1].sum(), 1)

    found = best_assignment(table)
    assert found[0] == 0
    unions = chain.from_iterable(combinations(range(1, 5), count) for count in range(5))
    assert dice(tuple(np.flatnonzero(found))) == pytest.approx(max(map(dice, unions)))


def test_several_classes_get_one_cluster_each() -> None:
    # cluster 1 overlaps both classes, but class 2 has no other; cluster 3 is left over
    table = np.array([[100, 0, 0], [0, 30, 20], [0, 25, 0], [50, 0, 0]])
    assert best_assignment(table) == [0, 2, 1, 0]
    assert best_assignment(np.zeros((3, 3), dtype=np.int64)) == [0, 0, 0]


def write_case(root: Path, name: str, seed: int) -> None:
    """Two tissues in an image of 0, the brighter of which is labeled 1."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((20, 16, 4), dtype=np.uint8)
    truth[3:9, 3:12], truth[10:17, 3:12] = 1, 2
    voxels = np.rint(np.choose(truth, (0, 50, 100)) + rng.normal(0, 3, truth.shape) * (truth > 0)).astype(np.int16)
    spacing = (2.0, 2.0, 3.0)
    Volume(voxels, GRID, spacing).save(root / name / f"{name}_ct.nii.gz")
    Volume((truth == 2).astype(np.uint8), GRID, spacing).save(root / name / f"{name}_seg.nii.gz")


def test_masks_of_classes_are_scored_by_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, clusters, masks = tmp_path / "data", tmp_path / "clusters", tmp_path / "masks"
    for seed in range(4):
        write_case(data, f"p{seed}", seed)
    assert main(["cluster-segment", "--input", str(data), "--output", str(clusters), "--clusters", "2"]) == 0
    proposed = f"next: segcct assign-clusters --prediction {clusters} --reference {data} --output "
    assert capsys.readouterr().out.endswith(f"{proposed}{tmp_path / 'classes'}\n")
    given = ["--prediction", str(clusters), "--reference", str(data), "--output", str(masks)]
    assert main(["assign-clusters", *given, "--folds", "2"]) == 0
    told = json.loads((masks / "assignment.json").read_text())["folds"]
    assert len(told) == 2
    assert sorted(case for fold in told for case in fold["cases"]) == [f"p{seed}" for seed in range(4)]
    assert all(fold["classes"] == {"cluster_1": "background", "cluster_2": "foreground"} for fold in told)
    scored = ["--prediction", str(masks), "--reference", str(data), "--output", str(tmp_path / "scores")]
    assert main(["evaluate", *scored]) == 0
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["overall"]["dice"]["mean"] > 0.99


def test_a_config_says_what_the_references_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for `evaluate --scheme`: the classes, and how the references are read, such as by `data.label_map`."""
    data, clusters, masks, config = (tmp_path / name for name in ("data", "clusters", "masks", "tissue.yaml"))
    for seed in range(3):
        write_case(data, f"p{seed}", seed)
    assert main(["cluster-segment", "--input", str(data), "--output", str(clusters), "--clusters", "2"]) == 0
    config.write_text(
        f"data: {{root: {data}, layout: folder, channels: {{ct: '{{id}}_ct.nii.gz'}}, label: '{{id}}_seg.nii.gz', "
        "scheme: custom, labels: {bright: 7}, label_map: {1: 7}, intensity: {rule: none}}\n"
        "model: {name: cct_unet_t}\n"
    )
    given = ["--prediction", str(clusters), "--reference", str(data), "--output", str(masks)]
    assert main(["assign-clusters", *given, "--scheme", str(config), "--folds", "3"]) == 0
    assert "tissue.yaml" in capsys.readouterr().out.partition("next: segcct evaluate ")[2]
    told = json.loads((masks / "assignment.json").read_text())["folds"]
    assert all(fold["classes"] == {"cluster_1": "background", "cluster_2": "bright"} for fold in told)
    assert set(np.unique(Volume.load(masks / "p0.nii.gz").array)) == {0, 7}


def test_the_proposed_command_reads_the_classes_that_names_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, clusters = tmp_path / "heart", tmp_path / "clusters"
    write_phantom("acdc", data, cases=2, reduce=6)
    assert main(["cluster-segment", "--input", str(data), "--output", str(clusters)]) == 0
    proposed = capsys.readouterr().out.partition("next: segcct ")[2].split()
    assert main(proposed) == 0
    classes = json.loads((tmp_path / "classes" / "predictions.json").read_text())["scheme"]["classes"]
    assert list(classes) == ["RV", "MYO", "LV"]


def test_a_config_is_asked_for_where_labels_hold_other_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, clusters = tmp_path / "data", tmp_path / "clusters"
    for seed in range(2):
        write_case(data, f"p{seed}", seed)
        label = data / f"p{seed}" / f"p{seed}_seg.nii.gz"
        stored = Volume.load(label)
        stored.with_array(stored.array * 255).save(label)
    assert main(["cluster-segment", "--input", str(data), "--output", str(clusters)]) == 0
    assert capsys.readouterr().out.endswith(f" --reference {data} --output {tmp_path / 'classes'} --scheme CONFIG\n")


@pytest.mark.parametrize("place", ["clusters", "references"])
def test_neither_clusters_nor_references_are_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    data, clusters, references = (tmp_path / name for name in ("data", "clusters", "references"))
    for name in ("p0", "p1"):
        write_case(data, name, int(name[1]))
        Volume.load(data / name / f"{name}_seg.nii.gz").save(references / f"{name}.nii.gz")
    assert main(["cluster-segment", "--input", str(data), "--output", str(clusters), "--clusters", "2"]) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / place).iterdir()}
    given = ["--prediction", str(clusters), "--reference", str(references), "--output", str(tmp_path / place)]
    assert main(["assign-clusters", *given, "--overwrite"]) == 1
    assert "a mask would replace an input file" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in (tmp_path / place).iterdir()} == before


def test_one_patient_has_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for visit in ("sub-1_ses-1", "sub-1_ses-2"):
        write_case(tmp_path / "data", visit, 0)
    assert main(["cluster-segment", "--input", str(tmp_path / "data"), "--output", str(tmp_path / "clusters")]) == 0
    assert "next:" not in capsys.readouterr().out
    given = ["--prediction", str(tmp_path / "clusters"), "--reference", str(tmp_path / "data")]
    assert main(["assign-clusters", *given, "--output", str(tmp_path / "masks")]) == 1
    assert "cases of other patients are needed (found 1 patient" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()


def test_no_next_command_is_named_that_would_be_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """References are found by the names of cases."""
    for seed in range(2):
        write_case(tmp_path / "data", f"p{seed}", seed)
    folders = ["--input", str(tmp_path / "data"), "--output", str(tmp_path / "clusters")]
    assert main(["cluster-segment", *folders, "--clusters", "2", "--anonymize"]) == 0
    assert "next:" not in capsys.readouterr().out


def test_masks_of_unknown_origin_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path / "data", "p0", 0)
    Volume(np.ones((4, 4, 4), np.uint8), GRID, (2.0, 2.0, 3.0)).save(tmp_path / "masks" / "p0.nii.gz")
    given = ["--prediction", str(tmp_path / "masks"), "--reference", str(tmp_path / "data")]
    assert main(["assign-clusters", *given, "--output", str(tmp_path / "out")]) == 1
    assert "are not masks of segcct cluster-segment" in capsys.readouterr().err


def test_an_edited_index_of_clusters_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_case(tmp_path / "data", f"p{seed}", seed)
    clusters = tmp_path / "clusters"
    assert main(["cluster-segment", "--input", str(tmp_path / "data"), "--output", str(clusters)]) == 0
    index = json.loads((clusters / "predictions.json").read_text())
    (clusters / "predictions.json").write_text(json.dumps({**index, "architecture": "fuzzy-kmeans"}))
    given = ["--prediction", str(clusters), "--reference", str(tmp_path / "data")]
    assert main(["assign-clusters", *given, "--output", str(tmp_path / "masks")]) == 1
    assert "predictions.json: is not an index of predictions (found architecture: " in capsys.readouterr().err
