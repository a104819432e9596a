from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from representation.data.clouds import frames_of_clouds, unit_sphere
from representation.interface import DenseEncoder
from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.encoder import CLIPEncoder
from representation.pretraining.clip.model import CLIP
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.i2p_mae import RELEASED, Config, I2PMAEEncoder, load, new
from representation.pretraining.i2p_mae.classifier import PointClassifier
from representation.pretraining.i2p_mae.encoder import HierarchicalEncoder
from representation.pretraining.i2p_mae.model import I2PMAE
from representation.pretraining.i2p_mae.tokens import guided_mask, propagate_mask
from representation.training import LoopConfig, build_optimizer

SMALL = Config(points=96, groups=(48, 24, 10), neighbours=(8, 4, 4), widths=(24, 48, 96), view_size=32, temperature=0.5)


class WideTeacher(torch.nn.Module):
    """As wide as the published one."""

    def dense(self, images):
        return images.new_zeros(len(images), 512, 14, 14), images.new_ones(len(images), 14, 14)


def clip_teacher():
    sizes = CLIPConfig(32, 32, 1, 64, 8, 12, 600, 32, 2, 1)
    return CLIPEncoder(CLIP(sizes, torch.Generator().manual_seed(0)), Tokenizer.fit(["a red cube on a table"], 600))


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12, 128, 3)) * rng.uniform(0.2, 1.0, (12, 1, 3))
    return frames_of_clouds(points.astype(np.float32), {}, {})


def batch_of(objective, frames, seed=0):
    return objective.batch(frames, np.arange(6), torch.Generator().manual_seed(seed))


def test_sizes_are_the_published_ones():
    objective = I2PMAE(RELEASED, WideTeacher())
    total = sum(p.numel() for p in objective.parameters())
    inner = sum(p.numel() for p in objective.encoder.parameters())
    assert (round(total / 1e6, 2), round(inner / 1e6, 2)) == (17.62, 12.65)


def test_what_does_not_decay_are_biases_gains_and_tokens(frames):
    objective = I2PMAE(SMALL, clip_teacher())
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    decaying, others = build_optimizer(objective, LoopConfig(output=Path("run"), weight_decay=0.1)).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    decaying, others = ({names[id(parameter)] for parameter in group["params"]} for group in (decaying, others))
    assert decaying | others == {name for name, one in objective.named_parameters() if one.requires_grad}
    assert not decaying & others
    assert {"mask_token", "encoder.h_encoder.token_embed.0.first_conv.0.weight"} <= others
    assert {"encoder.h_encoder.encoder_blocks.0.blocks.0.attn.qkv.weight", "rec_head_3d.weight"} <= decaying
    assert not [name for name in decaying if name.endswith("bias") or "norm" in name or name.startswith("teacher")]


def test_padding_tells_nothing(frames):
    objective = new(SMALL, frames, seed=0).eval()
    points = batch_of(objective, frames)["points"]
    levels = objective.encoder.levels(points)
    visible = propagate_mask(guided_mask(torch.ones(6, 10), 0.8, torch.rand(6, 10)), levels)
    assert len(set(visible[1].sum(dim=1).tolist())) > 1
    together = objective.encoder.h_encoder(levels, visible)
    for b in range(6):
        alone = objective.encoder.h_encoder(
            objective.encoder.levels(points[b : b + 1]), [v[b : b + 1] for v in visible]
        )
        for a, t, seen in zip(alone, together, visible, strict=True):
            torch.testing.assert_close(a[0], t[b], atol=1e-4, rtol=0)
            assert (t[b][~seen[b]] == 0).all()


def test_hidden_points_do_not_change_visible_tokens(frames):
    objective = new(SMALL, frames, seed=0).eval()
    levels = objective.encoder.levels(batch_of(objective, frames)["points"])
    visible = propagate_mask(guided_mask(torch.ones(6, 10), 0.8, torch.rand(6, 10)), levels)
    noise = torch.randn_like(levels[0].offsets) * ~visible[0][:, :, None, None]
    changed = [levels[0]._replace(offsets=levels[0].offsets + noise), *levels[1:]]
    assert noise.abs().sum() > 0
    for a, b in zip(*(objective.encoder.h_encoder(own, visible) for own in (levels, changed)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_order_of_the_points_does_not_matter(frames):
    encoder = new(SMALL, frames, seed=0).encoder.eval()
    points = torch.from_numpy(frames.columns["points"][:4, :96])
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(95)])
    torch.testing.assert_close(encoder.encode(points[:, order]), encoder.encode(points), atol=1e-4, rtol=0)


def test_place_and_scale_of_a_cloud_do_not_matter_but_are_told(frames):
    encoder = new(SMALL, frames, seed=0).encoder.eval()
    points = torch.from_numpy(frames.columns["points"][:4])
    moved = 0.1 * points + torch.tensor([0.2, -0.3, 0.8])
    torch.testing.assert_close(encoder.encode(moved), encoder.encode(points), atol=1e-4, rtol=1e-3)
    features, centers = encoder.tokens(moved)
    assert features.shape == (4, 24, 48)
    nearest = torch.cdist(centers, moved, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=2)
    assert nearest.max() < 1e-5
    assert unit_sphere(moved)[0].norm(dim=2).max() == pytest.approx(1.0)


def test_both_losses_fall_under_a_teacher_that_is_left_alone(frames):
    objective = I2PMAE(SMALL, clip_teacher())
    assert isinstance(objective.teacher, DenseEncoder)
    before = {name: value.clone() for name, value in objective.teacher.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=2e-3)
    history = []
    for step in range(25):
        loss = objective(batch_of(objective, frames, step))
        history.append([float(value) for value in loss.parts.values()])
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert loss.total.item() == pytest.approx(sum(history[-1]), rel=1e-5)
    assert (np.mean(history[-3:], axis=0) < 0.8 * np.array(history[0])).all()
    assert all(torch.equal(value, before[name]) for name, value in objective.teacher.state_dict().items())
    assert all(p.grad is None for p in objective.teacher.parameters())


def test_targets_are_what_the_teacher_sees_at_each_neighbour(frames):
    """A teacher that sees rows and columns: targets are the pixels of the first level's centres in each view."""

    class Coordinates(torch.nn.Module):
        def dense(self, images):
            row, column = torch.meshgrid(*[torch.arange(32.0)] * 2, indexing="ij")
            return torch.stack([row, column]).expand(len(images), -1, -1, -1), (row > 16).float().expand_as(
                images[:, 0]
            )

    objective = I2PMAE(SMALL, Coordinates())
    points = batch_of(objective, frames)["points"]
    levels = objective.encoder.levels(points)
    saliency, targets = objective._guidance(points, levels)
    for view, (u, v) in enumerate(((0, 1), (2, 0), (1, 2))):
        for axis, column in ((u, 2 * view), (v, 2 * view + 1)):
            order = levels[0].centers[..., axis].argsort(dim=1)
            assert (targets[..., column].gather(1, order).diff(dim=1) >= 0).all()
    wanted = [(targets[..., 2 * view] > 16).float() for view in range(3)]
    at_last = (levels[0].centers[:, None] == levels[2].centers[:, :, None]).all(dim=3).int().argmax(dim=2)
    torch.testing.assert_close(saliency, (sum(wanted) / 3).gather(1, at_last))


def test_stochastic_depth_is_drawn_from_the_batch_and_ends_with_training(frames):
    objective = new(replace(SMALL, drop_path=0.5), frames, seed=0)
    batch = batch_of(objective, frames)
    gains = torch.stack(objective._gains(batch["path_noise"]))
    assert gains.shape == (5, 6, 2)
    assert (gains[0] == 1).all()
    assert set(gains[2].unique().tolist()) <= {0.0, 2.0}
    assert torch.equal(objective(batch).total, objective(batch).total)
    assert objective.eval()._gains(batch["path_noise"]) is None


def test_released_weights_are_read(tmp_path):
    network = HierarchicalEncoder(SMALL)
    for value in network.state_dict().values():
        if value.is_floating_point():
            torch.nn.init.uniform_(value, 0.1, 1.0)
    state = {f"module.h_encoder.{name}": value for name, value in network.state_dict().items()}
    names = {name.removeprefix("module.") for name in state}
    assert {
        "h_encoder.token_embed.1.first_conv.0.weight",
        "h_encoder.token_embed.0.second_conv.1.running_mean",
        "h_encoder.encoder_pos_embeds.2.2.bias",
        "h_encoder.encoder_blocks.2.blocks.0.attn.qkv.weight",
        "h_encoder.encoder_blocks.0.blocks.0.mlp.fc1.weight",
        "h_encoder.encoder_norms.1.weight",
    } <= names
    assert not any("qkv.bias" in name for name in names)
    others = {"module.mask_token": torch.zeros(1, 96), "module.rec_head_3d.bias": torch.zeros(12)}
    torch.save({"base_model": state | others, "epoch": 300}, tmp_path / "pretrain.pth")
    encoder = I2PMAEEncoder.from_released(tmp_path / "pretrain.pth", SMALL)
    points = torch.randn(2, 96, 3)
    wanted = I2PMAEEncoder(SMALL, network.eval()).encode(points)
    torch.testing.assert_close(encoder.encode(points), wanted)
    del state["module.h_encoder.encoder_norms.1.weight"]
    torch.save({"base_model": state}, tmp_path / "pretrain.pth")
    with pytest.raises(ValueError, match=r"(?s)pretrain\.pth: expected the encoder .*encoder_norms\.1\.weight"):
        I2PMAEEncoder.from_released(tmp_path / "pretrain.pth", SMALL)


def test_a_near_radius_keeps_tokens_from_seeing_far_ones(frames):
    encoder = new(replace(SMALL, radii=(0.3, 0.3, 0.3)), frames, seed=0).encoder.eval()
    levels = encoder.levels(unit_sphere(torch.from_numpy(frames.columns["points"][:1, :96]))[0])
    far = torch.cdist(levels[0].centers, levels[0].centers)[0, 0] >= 0.3
    changed = levels[0]._replace(offsets=levels[0].offsets + far[None, :, None, None])
    before, after = (encoder.h_encoder([level, *levels[1:]])[0][0, 0] for level in (levels[0], changed))
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("pooling", ["add", "concat"])
def test_a_classifier_is_fine_tuned_on_the_encoder(frames, pooling):
    model = PointClassifier(new(SMALL, frames, seed=0).encoder, 3, pooling)
    logits = model(torch.from_numpy(frames.columns["points"][:4]))
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert model.encoder.h_encoder.token_embed[0].first_conv[0].weight.grad.abs().sum() > 0


def test_a_saved_clip_is_found_as_teacher_and_what_cannot_teach_is_refused(frames, tmp_path):
    clip_teacher().save(tmp_path / "teacher")
    objective = new(replace(SMALL, teacher=str(tmp_path / "teacher")), frames, seed=0)
    loss = objective(batch_of(objective, frames))
    assert set(loss.parts) == {"points", "pictures"}
    objective.encoder.save(tmp_path / "own")
    assert load(tmp_path / "own").config == objective.config
    with pytest.raises(ValueError, match="teacher: expected an encoder that tells what is where, found I2PMAEEncoder"):
        new(replace(SMALL, teacher=str(tmp_path / "own")), frames, seed=0)


def test_wrong_clouds_and_sizes_are_refused(frames):
    with pytest.raises(ValueError, match="points: expected at least 512, found 128"):
        new(Config(), frames, seed=0)
    encoder = new(SMALL, frames, seed=0).encoder
    with pytest.raises(ValueError, match=r"points: expected \(B, 48 or more, 3\), found \(1, 20, 3\)"):
        encoder.encode(torch.zeros(1, 20, 3))
    with pytest.raises(ValueError, match="points: expected finite"):
        encoder.encode(torch.full((1, 96, 3), torch.nan))
    with pytest.raises(ValueError, match="groups: expected fewer at each level"):
        replace(SMALL, groups=(48, 60, 10))
    with pytest.raises(ValueError, match="mask_ratio: expected hidden and visible"):
        replace(SMALL, mask_ratio=0.05)
