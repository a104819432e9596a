import json
import re

import numpy as np
import pytest

from representation.analysis.explain_page import bars
from representation.analysis.invariance_transfer import procedural_objects
from representation.analysis.invariance_transfer.objects import write_pictures
from representation.data.frames import SEGMENTATION, Frames, write_frames
from representation.explain import ExplainOptions, cut_outs, explain, main
from representation.pretraining import mochi
from tests.opened_page import opened_page

COLOURS = np.array([[220, 40, 40], [40, 200, 40], [40, 40, 220]])


def squares(count=90, side=16):
    """Pictures of a coloured square somewhere on grey, with all that is known of it."""
    rng = np.random.default_rng(0)
    colour, place = np.arange(count) % 3, rng.integers(1, 9, (count, 2))
    images = np.full((count, side, side, 3), 120, np.uint8)
    shown = np.zeros((count, side, side), np.uint8)
    for row in range(count):
        y, x = place[row]
        images[row, y : y + 6, x : x + 6] = COLOURS[colour[row]]
        shown[row, y : y + 6, x : x + 6] = 1 + colour[row]
    columns = {"color": colour, "position": place.astype(np.float64), "turn": rng.uniform(-3, 3, count)}
    columns[SEGMENTATION] = shown
    names = {"color": ("red", "green", "blue"), SEGMENTATION: ("other", "red", "green", "blue")}
    return Frames(images, np.arange(count), columns, names)


class MeanColour:
    """An encoder that gives the mean of each channel: it sees colours, and no places."""

    modality, width = "image", 3

    def encode(self, inputs):
        return inputs.mean(dim=(2, 3))

    def save(self, directory):
        raise NotImplementedError


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    place = tmp_path_factory.mktemp("explain")
    return explain(MeanColour(), squares(), ExplainOptions(place / "means", place, place, pairs=32, size=16))


def test_what_an_encoder_keeps_and_drops_is_told(found):
    rows = {row.factor: row for row in found.audit.rows}
    assert set(rows) == {"color", "position", "turn"}
    assert rows["color"].verdict(0.05) == "kept"
    assert rows["color"].share > 0.9
    assert rows["position"].verdict(0.05) == "dropped"
    pixels = {row.factor: row for row in found.pixels.rows}
    assert pixels["position"].above_chance > 0.5


def test_invariances_that_remove_a_factor_are_warned_of(found):
    assert found.invariances["translate"][0] < 0.25 < found.invariances["translate"][1]
    assert found.invariances["hue"][0] > 0.25
    text = "\n".join(found.warnings)
    assert "translate is hardly seen" in text
    assert "position is dropped" in text
    assert not re.search(r"color is|removes color", text)


def test_only_what_the_task_needs_is_warned_of(tmp_path):
    options = ExplainOptions(tmp_path, tmp_path, tmp_path, needs=("color",), pairs=8, size=16)
    assert not explain(MeanColour(), squares(), options).warnings
    with pytest.raises(ValueError, match="--needs: expected some of color, position, turn, found grip"):
        explain(MeanColour(), squares(), ExplainOptions(tmp_path, tmp_path, tmp_path, needs=("grip",)))


def test_cut_outs_come_from_folders_or_from_frames(tmp_path):
    write_pictures(tmp_path / "own" / "foregrounds", procedural_objects(2, 16, 0), ["a", "b"])
    write_pictures(tmp_path / "own" / "backgrounds", [np.zeros((16, 16, 3), np.uint8)], ["black"])
    objects, backgrounds, source = cut_outs(tmp_path / "own", 16, 0)
    assert (len(objects), len(backgrounds), source) == (2, 1, "2 objects of own")
    write_frames(squares(), tmp_path / "frames")
    with pytest.raises(ValueError, match="expected things of at least 60 pixels, found none"):
        cut_outs(tmp_path / "frames", 16, 0)
    with pytest.raises(FileNotFoundError, match="foregrounds"):
        cut_outs(tmp_path, 16, 0)


def test_the_command_writes_one_page_and_its_numbers(tmp_path, capsys):
    frames = squares()
    write_frames(frames, tmp_path / "data")
    mochi.new(mochi.Config(), frames, 0).encoder.save(tmp_path / "run" / "encoder")
    words = ["--encoder", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--output", str(tmp_path / "page")]
    main([*words, "--pairs", "8", "--rows", "60"])
    page = (tmp_path / "page" / "report.html").read_text()
    assert page.count("<svg") == 5
    assert page.count('src="data:image/png;base64,') == 36
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "the page needs no other file"
    numbers = json.loads((tmp_path / "page" / "report.json").read_text())
    assert len(numbers["invariances"]) == 18
    assert numbers["frames"] == 60
    assert "factor" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="expected a new or empty directory"):
        main(words)


def test_a_reader_sees_all_charts_of_the_page_which_asks_for_no_other_file(tmp_path, browser):
    frames = squares()
    write_frames(frames, tmp_path / "data")
    mochi.new(mochi.Config(), frames, 0).encoder.save(tmp_path / "run" / "encoder")
    words = ["--encoder", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--output", str(tmp_path / "page")]
    main([*words, "--pairs", "8", "--rows", "60"])
    seen = opened_page(browser, tmp_path / "page" / "report.html")
    assert (seen.console, seen.requests) == ([], [])
    assert len(seen.areas) == 5 + 36
    assert min(seen.areas) > 10 * 10
    assert seen.overflow == 0


def test_bars_of_values_that_are_not_known_are_left_out():
    drawn = bars([("hue", float("nan"), 0.5), ("<b>", 2.0, 1.0)], "two")
    assert drawn.count('class="ours"') == 1
    assert "&lt;b&gt;" in drawn
    assert "nan" in drawn
