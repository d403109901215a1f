"""Windows grow with the progress of the training alone, hold the structures, and crop everything alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcct.config import SegmentationConfig
from segcct.config import settings as configs
from segcct.errors import ConfigError
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation.growing_windows import take_windows, window_side
from segcct.training.trainer import fit
from tests.support import small_tasks

SCHEDULE = {160: 0.75, 128: 0.45}


@pytest.mark.parametrize(
    ("progress", "side"), [(0.0, 128), (0.449, 128), (0.45, 160), (0.749, 160), (0.75, None), (1.0, None)]
)
def test_a_side_lasts_until_its_fraction(progress, side):
    assert window_side(SCHEDULE, progress) == side
    assert window_side({}, progress) is None


def batch(height: int, width: int, boxes: list[tuple[int, int, int, int] | None]) -> dict[str, object]:
    """Slices whose image and map tell their own pixels; a box is class 1."""
    label = torch.zeros(len(boxes), height, width, dtype=torch.long)
    for each, box in zip(label, boxes, strict=True):
        if box is not None:
            each[box[0] : box[1], box[2] : box[3]] = 1
    pixels = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    image = pixels.expand(len(boxes), 2, height, width)
    return {
        "image": image,
        "label": label,
        "distance": image[:, :1],
        "case": ["a"] * len(boxes),
        "position": image[:, 0, 0, :1],
    }


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    side=st.integers(16, 24),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 1000),
)
def test_a_centered_window_holds_a_structure_of_half_its_side_and_all_are_cropped_alike(size, side, place, seed):
    height, width = size
    box = side // 2 - 1
    top, left = (int(fraction * (length - box)) for fraction, length in zip(place, size, strict=True))
    whole = batch(height, width, [(top, top + box, left, left + box), None])
    torch.manual_seed(seed)
    part = take_windows(whole, side, 1.0)
    rows, columns = min(side, height), min(side, width)
    assert part["image"].shape == (2, 2, rows, columns)
    assert part["label"].shape == (2, rows, columns)
    assert int(part["label"][0].sum()) == box * box
    assert int(part["label"][1].sum()) == 0
    assert torch.equal(part["distance"], part["image"][:, :1])
    first = part["image"][0, 0]
    assert torch.equal(first - first[0, 0], whole["image"][0, 0, :rows, :columns])
    assert part["case"] == ["a", "a"]
    assert torch.equal(part["position"], whole["position"])
    torch.manual_seed(seed)
    assert torch.equal(take_windows(whole, side, 1.0)["image"], part["image"])


def test_windows_reach_the_ends_of_long_structures():
    """Of a vessel of five window sides, and of two small organs in opposite corners, each as often as the other."""
    vessel = batch(80, 20, [(0, 80, 8, 12)])
    corners = batch(80, 80, [(0, 6, 0, 6)])
    corners["label"][0, 72:80, 72:80] = 2
    torch.manual_seed(0)
    rows, seen = torch.zeros(80), torch.zeros(3)
    for _ in range(400):
        part = take_windows(vessel, 16, 1.0)
        first = int(part["image"][0, 0, 0, 0]) // 20
        rows[first : first + 16] += 1
        assert int(part["label"].sum()) == 16 * 4, "the axis along which it is short is held whole"
        organs = take_windows(corners, 16, 1.0)["label"].unique()
        assert organs.tolist() in ([0, 1], [0, 2])
        seen[organs] += 1
    assert int(rows.min()) > 10
    assert abs(int(seen[1]) - 200) < 50


@pytest.mark.parametrize("structures", ["label", "structures"])
def test_centers_of_structures_that_fit_are_drawn_as_ever(structures):
    """One and the same window for one and the same seed: around the middle of the box, whatever lies in it."""
    whole = batch(40, 40, [(10, 22, 14, 20), None])
    whole["label"][0, 25, 29] = 3
    if structures != "label":
        whole |= {"structures": whole["label"] > 0, "label": torch.zeros_like(whole["label"])}
    torch.manual_seed(7)
    drawn = torch.rand(2, 3)
    torch.manual_seed(7)
    part = take_windows(whole, 16, 1.0)["image"][:, 0, 0, 0]
    middle = torch.tensor([18.0, 22.0])  # of rows 10 to 25 and columns 14 to 29
    row, column = (middle + (2 * drawn[0, 1:] - 1) * 4 - 8).round().int().tolist()
    assert divmod(int(part[0]), 40) == (row, column)
    assert divmod(int(part[1]), 40) == tuple((drawn[1, 1:] * 25).int().tolist())


def test_other_windows_are_anywhere():
    torch.manual_seed(0)
    starts = set()
    for _ in range(300):
        part = take_windows(batch(24, 20, [(0, 4, 0, 4)]), 16, 0.0)
        starts.add(divmod(int(part["image"][0, 0, 0, 0]), 20))
    assert starts == {(row, column) for row in range(9) for column in range(5)}


def test_a_training_sees_windows_first_and_whole_slices_at_the_end(tmp_path, monkeypatch):
    task = small_tasks.segmentation(0, tmp_path)
    side = task.config.data.image_size
    train = task.config.train.model_copy(update={"windows": {16: 0.5}, "epochs": 2})
    task.config = task.config.model_copy(update={"train": train})
    assert task.stages == [0.5, 1.0]
    seen = []
    forward = type(task.network).forward
    monkeypatch.setattr(
        type(task.network),
        "forward",
        lambda self, image: seen.append((self.training, image.shape[-1])) or forward(self, image),
    )
    fit(task, RunFolder.create(Path(tmp_path) / "run"), train, seed=0)
    trained = [width for training, width in seen if training]
    assert trained == [16] * 3 + [side] * 3
    assert min(width for training, width in seen if not training) >= side


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ({64: 0.5, 32: 0.6}, "until a later fraction"),
        ({512: 0.5}, "below data.image_size"),
        ({8: 0.5}, "at least 16"),
        ({64: 1.5}, "at most 1"),
    ],
)
def test_impossible_windows_are_refused(windows, message):
    data = {"layout": "folder", "root": "x", "channels": {"t1": "t1.nii"}, "scheme": "brats2021"}
    with pytest.raises(ConfigError, match=message):
        configs.build(SegmentationConfig, {"data": data, "train": {"windows": windows}}, {}, source="test")
    assert configs.build(
        SegmentationConfig,
        {"data": data},
        configs.parse_overrides(["--train.windows", "{128: 0.45, 160: 0.75}"]),
        source="t",
    ).train.windows == {128: 0.45, 160: 0.75}
