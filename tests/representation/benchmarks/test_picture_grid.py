import cv2
import pytest
import torch

from representation.benchmarks.picture_grid import LABEL, MARGIN, write_grid


def test_pictures_stand_in_their_row_in_their_colours(tmp_path):
    red, grey = torch.zeros(1, 3, 4, 4), torch.full((2, 1, 8, 8), 0.5)
    red[:, 0] = 1
    write_grid({"red": red, "grey": grey}, tmp_path / "new" / "sheet.png", side=16)
    sheet = cv2.imread(str(tmp_path / "new" / "sheet.png"))
    top = MARGIN + LABEL
    assert sheet[top + 3, MARGIN + 3].tolist() == [0, 0, 255]
    assert sheet[top + 3, MARGIN + 20 + 3].tolist() == [255, 255, 255]
    for left in (MARGIN, MARGIN + 20):
        assert sheet[top + LABEL + 20 + 3, left + 3].tolist() == [128, 128, 128]


def test_what_is_no_row_of_pictures_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"rows 'wrong': expected \(N, 1 or 3, H, W\), found \(2, 4, 4\)"):
        write_grid({"wrong": torch.zeros(2, 4, 4)}, tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="expected at least one"):
        write_grid({}, tmp_path / "sheet.png")
