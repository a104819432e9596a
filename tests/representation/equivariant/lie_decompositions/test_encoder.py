from dataclasses import replace

import numpy as np
import pytest
import torch

from representation.data.frames import Frames
from representation.equivariant.lie_decompositions import AffineEquivariantEncoder, Config, load, new

SMALL = Config(resolution=16, maps=4, channels=4, kernel_width=16, classes=3)


@pytest.fixture
def pictures():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def frames():
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    return Frames(rng.integers(0, 255, (12, 16, 16, 3), dtype=np.uint8), np.arange(12), {"label": labels}, {})


def test_vectors_stay_the_same_after_quarter_turns(pictures):
    torch.manual_seed(0)
    encoder = AffineEquivariantEncoder(SMALL).eval()
    with torch.no_grad():
        vectors = encoder.encode(pictures)
        assert vectors.shape == (3, 4)
        torch.testing.assert_close(encoder.encode(pictures.rot90(1, (2, 3))), vectors, atol=1e-4, rtol=0)
        assert float((encoder.encode(pictures.flip(3)) - vectors).abs().max()) > 1e-3
        assert encoder(pictures).shape == (3, 3)
        gray = pictures[:, :1]
        torch.testing.assert_close(encoder.embed(gray), encoder.embed(gray.expand(-1, 3, -1, -1)))


def test_other_maps_give_other_answers_and_the_same_maps_the_same(pictures):
    torch.manual_seed(0)
    encoder = AffineEquivariantEncoder(SMALL)
    with torch.no_grad():
        vectors = [encoder.embed(pictures, encoder.draw(torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert torch.equal(vectors[0], vectors[1])
    assert float((vectors[0] - vectors[2]).abs().max()) > 1e-3


def test_training_keeps_its_maps_unless_they_are_to_be_drawn_by_the_generator_of_its_batch():
    kept = new(SMALL, frames(), seed=0)
    still = [kept.batch(frames(), np.arange(4), torch.Generator().manual_seed(seed))["maps"] for seed in (0, 1)]
    assert torch.equal(still[0], still[1])
    objective = new(replace(SMALL, redraw=True), frames(), seed=0)
    batches = [objective.batch(frames(), np.arange(4), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(batches[0]["maps"], batches[1]["maps"])
    assert not torch.equal(batches[0]["maps"], batches[2]["maps"])
    with torch.no_grad():
        assert float(objective(batches[0]).total) != float(objective(batches[2]).total)


def test_wrong_settings_and_damaged_encoders_are_named(tmp_path):
    with pytest.raises(ValueError, match="expected an odd one, at least 12 and at least 1, found 4, 20 and 8"):
        Config(kernel_size=4)
    with pytest.raises(ValueError, match="classes: expected at least 3, found 2"):
        new(Config(classes=2), frames(), seed=0)
    new(SMALL, frames(), seed=0).encoder.save(tmp_path)
    file = tmp_path / "encoder.json"
    file.write_text(file.read_text().replace("spd_var", "spread"))
    with pytest.raises(ValueError, match="expected the configuration of lie_decompositions"):
        load(tmp_path)
