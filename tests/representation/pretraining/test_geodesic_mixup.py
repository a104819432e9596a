from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames, write_frames
from representation.hypersphere import modality_gap
from representation.pair_report import main as report_main
from representation.pretrain import main as pretrain_main
from representation.pretraining import clip
from representation.pretraining.clip.model import clip_loss
from representation.pretraining.geodesic_mixup import (
    Config,
    MixupSettings,
    finetune,
    geodesic_mix,
    l_mix_loss,
    m2_mix_logits,
    m2_mix_loss,
    mixed_targets,
    mixup_loss,
    new,
    v_mix_loss,
    vl_mix_loss,
)
from representation.registry import load_encoder

COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
SMALL = {"embed_dim": 16, "vision_width": 8, "text_width": 16, "text_layers": 1, "text_heads": 1}


def units(count, width, seed):
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def angle(a, b):
    return torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1)) * 2


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    labels = np.arange(24) % len(COLORS)
    images = np.array(list(COLORS.values()))[labels][:, None, None] + rng.normal(0, 12, (24, 32, 32, 3))
    texts = [f"a {list(COLORS)[label]} wall" for label in labels]
    return Frames(images.clip(0, 255).astype(np.uint8), np.arange(24), texts=texts)


def test_mixtures_are_unit_vectors_at_their_share_of_the_angle():
    a, b = units(20, 8, 0), units(20, 8, 1)
    for lam in (0.1, 0.5, 0.8):
        mixed = geodesic_mix(a, b, lam)
        torch.testing.assert_close(mixed.norm(dim=1), torch.ones(20), atol=1e-6, rtol=0)
        torch.testing.assert_close(angle(mixed, b), lam * angle(a, b), atol=1e-5, rtol=0)
    torch.testing.assert_close(geodesic_mix(a, b, 1.0), a, atol=1e-6, rtol=0)
    torch.testing.assert_close(geodesic_mix(a, b, 0.0), b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_equal_and_opposite_vectors_give_finite_mixtures_and_gradients(sign):
    a = units(4, 8, 0).requires_grad_()
    mixed = geodesic_mix(a, sign * a, 0.3)
    mixed.square().sum().backward()
    assert torch.isfinite(mixed).all()
    assert torch.isfinite(a.grad).all()


def test_half_precision_pairs_that_are_nearly_the_same_are_mixed():
    a = units(4, 8, 0).half()
    torch.testing.assert_close(geodesic_mix(a, a, 0.3).norm(dim=1), torch.ones(4), atol=1e-3, rtol=0)


def test_positives_stay_unmixed_and_the_ends_are_plain_contrast():
    img, txt, tau = units(6, 8, 0), units(6, 8, 1), 0.07
    plain = img @ txt.T
    for logits in m2_mix_logits(img, txt, 0.4, tau):
        assert torch.equal(logits.diagonal(), plain.diagonal() / tau)
    torch.testing.assert_close(m2_mix_logits(img, txt, 0.0, tau)[0] * tau, plain, atol=1e-6, rtol=0)
    torch.testing.assert_close(m2_mix_logits(img, txt, 1.0, tau)[1] * tau, plain.T, atol=1e-6, rtol=0)


def test_m2_is_the_sum_of_both_directions_written_out():
    img, txt, lam, tau = units(5, 8, 0).double(), units(5, 8, 1).double(), 0.3, 0.07
    expected = []
    for i in range(5):
        row = 0.0
        for query in (img, txt):
            scores = []
            for j in range(5):
                theta = math.acos(float(img[j] @ txt[j]))
                mixed = (math.sin(lam * theta) * img[j] + math.sin((1 - lam) * theta) * txt[j]) / math.sin(theta)
                scores.append(float(img[i] @ txt[i] if i == j else query[i] @ mixed) / tau)
            row += math.log(sum(math.exp(score) for score in scores)) - scores[i]
        expected.append(row)
    found = m2_mix_loss(img.float(), txt.float(), lam, tau, reduction="none")
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)
    assert float(m2_mix_loss(img.float(), txt.float(), lam, tau)) == pytest.approx(np.mean(expected), abs=1e-4)


def test_mixed_negatives_are_harder_than_those_of_the_other_kind_behind_a_gap():
    center = torch.zeros(32)
    center[0] = 1.0
    noise = torch.Generator().manual_seed(0)
    img = F.normalize(center + 0.1 * torch.randn(64, 32, generator=noise), dim=1)
    txt = F.normalize(-center + 0.1 * torch.randn(64, 32, generator=noise), dim=1)
    assert float(angle(img.mean(0, keepdim=True), txt.mean(0, keepdim=True))) > math.radians(60)
    others = ~torch.eye(64, dtype=torch.bool)
    for mixed, plain in zip(m2_mix_logits(img, txt, 0.5, 1.0), (img @ txt.T, txt @ img.T), strict=True):
        harder = (mixed * others).sum(dim=1) > (plain * others).sum(dim=1)
        assert harder.float().mean() >= 0.95


def test_soft_targets_share_a_row_between_two_partners():
    for count in (4, 5):
        targets = mixed_targets(count, 0.3)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(count))
        torch.testing.assert_close(2 * mixed_targets(count, 0.5), torch.eye(count) + torch.eye(count).flip(0))
    torch.testing.assert_close(targets[2], torch.eye(5)[2])
    torch.testing.assert_close(targets[0], torch.tensor([0.3, 0, 0, 0, 0.7]))


def test_unmixed_uni_modal_terms_are_plain_contrast_and_kept_negatives_are_unmixed():
    img, txt, tau = units(6, 8, 0), units(6, 8, 1), 0.1
    for loss in (v_mix_loss, l_mix_loss):
        torch.testing.assert_close(loss(img, txt, 1.0, tau), clip_loss(img, txt, 1 / tau), atol=1e-5, rtol=0)
    mixed = geodesic_mix(img, img.flip(0), 0.3)
    plain, logits = img @ txt.T, mixed @ txt.T
    for i in range(6):
        for j in range(6):
            if j not in (i, 5 - i):
                logits[i, j] = plain[i, j]
    targets = mixed_targets(6, 0.3)
    by_hand = [-(targets * F.log_softmax(part / tau, dim=1)).sum(dim=1).mean() for part in (logits, logits.T)]
    found = v_mix_loss(img, txt, 0.3, tau, keep_original_negatives=True)
    torch.testing.assert_close(found, sum(by_hand) / 2, atol=1e-5, rtol=0)


def test_pairs_of_mixtures_have_two_positives_of_weight_one():
    img, txt, tau = units(6, 8, 0), units(6, 8, 1), 0.1
    logits = geodesic_mix(img, img.flip(0), 0.3) @ geodesic_mix(txt, txt.flip(0), 0.3).T / tau
    rows = [
        -(F.log_softmax(part, dim=1) * (torch.eye(6) + torch.eye(6).flip(0))).sum() / 6 for part in (logits, logits.T)
    ]
    torch.testing.assert_close(vl_mix_loss(img, txt, 0.3, tau), sum(rows) / 2, atol=1e-5, rtol=0)


def test_the_total_is_the_weighted_sum_and_both_towers_learn_from_the_mixtures():
    img, txt = units(6, 8, 0).requires_grad_(), units(6, 8, 1).requires_grad_()
    settings = MixupSettings(w_m2=0.3, w_v=0.2, w_l=0.1, w_vl=0.4)
    lambdas = settings.draw_lambdas(torch.Generator().manual_seed(0))
    loss = mixup_loss(img, txt, lambdas, settings, epoch_weight=0.5)
    parts = loss.parts
    mixtures = 0.3 * parts["m2"] + 0.2 * parts["v"] + 0.1 * parts["l"] + 0.4 * parts["vl"]
    torch.testing.assert_close(loss.total, parts["pairs"] + 0.5 * mixtures)
    for part in ("m2", "v", "l", "vl"):
        for gradient in torch.autograd.grad(parts[part], (img, txt), retain_graph=True):
            assert gradient.abs().max() > 0
    alone = mixup_loss(img, txt, lambdas, MixupSettings(w_m2=0.0))
    torch.testing.assert_close(alone.total, clip_loss(img, txt, 100.0))
    assert set(alone.parts) == {"pairs"}


def test_shares_are_drawn_from_their_generator_and_distribution():
    generator = torch.Generator().manual_seed(0)
    drawn = [MixupSettings(beta_m=0.5, beta_u=50.0).draw_lambdas(generator) for _ in range(300)]
    sharp, middle = (np.array([float(one[name]) for one in drawn]) for name in ("lam_m", "lam_u"))
    assert sharp.std() == pytest.approx(math.sqrt(1 / 8), abs=0.03)  # of Beta(1/2, 1/2)
    assert middle.std() < 0.08
    again = MixupSettings().draw_lambdas(torch.Generator().manual_seed(0))
    assert again["lam_m"] == drawn[0]["lam_m"]
    with pytest.raises(ValueError, match="tau_mix: expected a positive number, found 0"):
        MixupSettings(tau_mix=0.0)


def test_a_clip_is_fine_tuned_with_its_statistics_kept_and_reported_before_and_after(frames, tmp_path, capsys):
    write_frames(frames, tmp_path / "data")
    before = clip.new(clip.Config(**SMALL), frames, 0).encoder.eval()
    before.save(tmp_path / "before")
    words = ["--system", "geodesic_mixup", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "run")]
    words += ["--steps", "6", "--batch-size", "8", "--warmup-steps", "1", "--average-decay", "0", "--threads", "1"]
    pretrain_main([*words, "--set", f"encoder={tmp_path / 'before'}", "w_m2=0.1", "w_vl=0.05"])
    after = load_encoder(tmp_path / "run")
    assert isinstance(after, clip.CLIPEncoder)
    state = before.model.state_dict()
    same = {name for name, value in after.model.state_dict().items() if torch.equal(value, state[name])}
    assert {name for name in state if "running" in name or "num_batches" in name} <= same
    assert "visual.conv1.weight" not in same
    assert after.model.scale().item() == pytest.approx(100.0, rel=1e-4)
    capsys.readouterr()
    report_main(["--encoders", str(tmp_path / "before"), str(tmp_path / "run"), "--data", str(tmp_path / "data")])
    rows = {line[:22].strip(): line[22:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert {"modality gap", "uniformity", "relative alignment", "calibration error"} <= set(rows)
    assert rows["modality gap"][0] != rows["modality gap"][1]


def test_an_epoch_weight_falls_with_the_batches_seen_in_training_alone(frames):
    config = Config(**SMALL, w_m2=1.0, epoch_batches=2)
    objective = new(config, frames, 0)
    batch = objective.batch(frames, np.arange(8), torch.Generator().manual_seed(0))
    objective.encoder.eval()
    weights = []
    for _ in range(5):
        loss = objective(batch)
        weights.append(round(float((loss.total - loss.parts["pairs"]) / loss.parts["m2"]), 3))
    assert weights == [1.0, 1.0, 0.5, 0.5, 0.333]
    objective.eval()
    objective(batch)
    assert int(objective.batches) == 5


def test_what_is_no_clip_or_has_no_texts_is_refused(frames, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="texts"):
        new(Config(), Frames(frames.images, frames.episode), 0)
    monkeypatch.setattr("representation.pretraining.geodesic_mixup.load_encoder", lambda directory: nn.Identity())
    with pytest.raises(ValueError, match=r"encoder: expected one of clip in .*, found Identity"):
        new(dataclasses.replace(Config(), encoder=tmp_path), frames, 0)


def test_mixtures_close_the_gap_of_two_encoders_of_other_things():
    shared = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
    pairs = (shared @ units(6, 10, 1), shared @ units(6, 12, 2))
    gaps = {}
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        towers = nn.Linear(10, 8), nn.Linear(12, 8)
        with torch.no_grad():
            towers[0].bias += 2.0
        generator = torch.Generator().manual_seed(0)
        finetune(towers, pairs, MixupSettings(w_m2=weight, tau=0.1), 20, 3e-3, generator, 0.0, 64)
        with torch.no_grad():
            gaps[weight] = modality_gap(*(F.normalize(towers[k](pairs[k]), dim=1) for k in (0, 1)))
    assert gaps[0.5] < 0.8 * gaps[0.0]
    with pytest.raises(ValueError, match="expected twice at least 128 rows, found 4 and 4"):
        finetune(towers, (pairs[0][:4], pairs[1][:4]), MixupSettings(), 1, 1e-3, generator)
