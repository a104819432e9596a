import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from policies import compose
from representation.data.frames import Frames, write_frames
from representation.pretraining import mochi
from representation.registry import load_encoder
from representation.transfer.compose_encoders import TEMPERATURE, class_mean_loss, compose_encoders

COLORS = np.array([(220, 30, 30), (30, 200, 30), (30, 30, 220)])


def colored(count=48, size=16):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % len(COLORS)
    images = COLORS[labels][:, None, None] + rng.normal(0, 20, (count, size, size, 3))
    names = {"label": ("red", "green", "blue")}
    return Frames(images.clip(0, 255).astype(np.uint8), np.arange(count) // 6, {"label": labels}, names)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    root, frames = tmp_path_factory.mktemp("encoders"), colored()
    config = mochi.Config(resolution=16, width=16, dim=8, queue_size=64, n_hard=16, n_mix=8, n_query_mix=4)
    encoder = mochi.new(config, frames, 0).encoder
    encoder.save(root / "base")
    for number in range(2):
        generator, moved = torch.Generator().manual_seed(number), load_encoder(root / "base")
        with torch.no_grad():
            for parameter in moved.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        moved.save(root / f"tuned{number}")
    return root, frames


def test_a_frame_is_told_by_the_means_of_the_others():
    vectors = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 1, 0, 2])  # nothing is left of class 2 without its only frame
    units, wanted = F.normalize(vectors, dim=1), []
    for row in range(6):
        others = [i for i in range(6) if i != row]
        means = [units[[i for i in others if labels[i] == one]].mean(dim=0) for one in (0, 1)]
        logits = TEMPERATURE * torch.stack([F.cosine_similarity(units[row], mean, dim=0) for mean in means])
        wanted.append(F.cross_entropy(logits, labels[row]))
    assert float(class_mean_loss(vectors, labels)) == pytest.approx(float(torch.stack(wanted).mean()), rel=1e-5)
    with pytest.raises(ValueError, match="expected two classes of two frames"):
        class_mean_loss(vectors, torch.arange(7))


def test_a_composed_encoder_is_no_worse_than_its_base_and_comes_back(encoders, tmp_path, capsys):
    root, frames = encoders
    made = compose_encoders(root / "base", [root / "tuned0", root / "tuned1"], frames, "label", steps=10, batch_size=24)
    assert set(made.losses) == {"base", "tuned 0", "tuned 1", "composed"}
    assert made.losses["composed"] <= made.losses["base"]
    write_frames(frames, tmp_path / "frames")
    arguments = (
        f"--base {root}/base --tuned {root}/tuned0 {root}/tuned1 --dataset {tmp_path}/frames --label label --steps 10 "
        f"--batch-size 24 --output {tmp_path}/out --threads 1"
    )
    assert compose.main(arguments.split()) == 0
    assert "composed: held-out loss" in capsys.readouterr().out
    again = load_encoder(tmp_path / "out" / "encoder")
    pixels = frames.pixels(np.arange(4))
    assert torch.allclose(again.encode(pixels), made.encoder.encode(pixels), atol=1e-6)
    assert compose.main(arguments.replace("--label label", "--label colour").replace("/out", "/o").split()) == 1
    assert "expected ['colour']" in capsys.readouterr().err
