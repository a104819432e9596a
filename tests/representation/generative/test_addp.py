from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames, write_frames
from representation.embedding import embed
from representation.generative.addp import (
    ADDP,
    ADDPEncoder,
    Config,
    DecoderConfig,
    EncoderConfig,
    MaskedTokenPredictor,
    MaskSchedule,
    VQTokenizer,
    new,
)
from representation.generative.addp.released import ReleasedOptions, released
from representation.generative.addp.sample import main as sample_main
from representation.generative.addp.surprise import main as surprise_main
from representation.interface import DenseEncoder
from representation.pretrain import main as pretrain_main
from representation.registry import load_encoder

CODES, SIDE, LENGTH = 16, 4, 16
SIZES = {"resolution": 16, "codebook": CODES, "dim": 6, "ch": 8, "ch_mult": (1, 1, 2), "groups": 4, "classes": 3}
SIZES |= {"predictor_width": 16, "predictor_depth": 1, "predictor_heads": 2}
SIZES |= {"predictor_decoder_depth": 1, "predictor_decoder_heads": 2}
SIZES |= {"width": 24, "depth": 2, "heads": 2, "decoder_depth": 1, "decoder_heads": 2}


@pytest.fixture
def addp():
    return ADDPEncoder(Config(stage="addp", **SIZES), seed=0).trained()


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def masks(count: int = 5, masked: int = 9, more: int = 12):
    order = torch.rand(count, LENGTH, generator=torch.Generator().manual_seed(1)).argsort(1).argsort(1)
    return order < masked, order < more


class Oracle(nn.Module):
    """A predictor that knows the tokens."""

    codes, side, mask_id = CODES, SIDE, CODES + 3

    def probs(self, ids, mask):
        return F.one_hot(ids, CODES).float().mT.unflatten(-1, (SIDE, SIDE))


def test_masks_are_nested_and_have_the_sizes_of_two_steps():
    schedule, generator = MaskSchedule(), torch.Generator().manual_seed(0)
    ratios = schedule.ratios
    assert len(ratios) == 66
    assert ratios[0] == pytest.approx(0.50904, abs=1e-5)
    assert ratios[-1] == pytest.approx(0.99988, abs=1e-5)
    sizes = np.array([math.ceil(256 * ratio) for ratio in ratios])
    drawn = np.zeros(len(ratios))
    for _ in range(1000):
        mask, later = schedule.sample(3, 256, generator)
        assert (later | ~mask).all()
        counts = mask.sum(1).unique().tolist(), later.sum(1).unique().tolist()
        assert [len(count) for count in counts] == [1, 1]
        steps, next_steps = (np.flatnonzero(sizes == count[0]) for count in counts)
        assert any(1 <= b - a <= 5 or b == 65 for a in steps for b in next_steps if b >= a)
        drawn[steps] += schedule.weights[steps] / schedule.weights[steps].sum()
    expected = 1000 * schedule.weights
    density = np.exp(-0.5 * ((ratios - 0.55) / 0.25) ** 2)
    np.testing.assert_allclose(schedule.weights, density / density.sum(), rtol=1e-9)
    groups = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    for group in groups:
        share = expected[group].sum()
        assert abs(drawn[group].sum() - share) < 4 * (share * (1 - share / 1000)) ** 0.5


def test_with_a_predictor_that_knows_pictures_are_decoded_true_and_the_loss_is_the_smoothed_cross_entropy(pictures):
    torch.manual_seed(0)
    tokenizer = VQTokenizer(CODES, 6, 8, (1, 1, 2), 1, 4)
    model = ADDP(EncoderConfig(16, 4, 24, 2, 2), DecoderConfig(1, 2), tokenizer, Oracle()).eval()
    mask, later = masks()
    noised = model.noised(pictures, mask, later)
    ids, codes = tokenizer.encode(pictures)
    assert (noised.images - tokenizer.decode(codes).clamp(0, 1)).abs().max() < 1e-6
    logs = model.logits(noised.images, ids, mask).log_softmax(-1)
    own = logs.gather(2, ids[..., None])[..., 0]
    by_hand = -(0.9 * own + 0.1 * logs.mean(-1))[mask].mean()
    assert model.masked_loss(pictures, mask, later).total.item() == pytest.approx(by_hand.item(), abs=1e-6)


def test_guesses_stand_only_at_masked_places_and_the_target_is_that_of_the_smaller_mask(addp, pictures):
    mask, later = masks()
    noised = addp.noised(pictures, mask, later)
    ids, codes = addp.tokenizer.encode(pictures)
    assert torch.equal(noised.ids, ids)
    torch.testing.assert_close(noised.target, addp.predictor.probs(ids, mask))
    guess = addp.tokenizer.mixed(addp.predictor.probs(ids, later))
    mixed = torch.where(mask.view(-1, 1, SIDE, SIDE), guess, codes)
    torch.testing.assert_close(noised.images, addp.tokenizer.decode(mixed).clamp(0, 1))


def test_the_decoder_reads_no_features_of_masked_places_but_the_tokens_of_others(addp, pictures):
    addp.eval()
    mask, _ = masks()
    ids, _ = addp.tokenizer.encode(pictures)
    features = addp.features(pictures)
    assert features.shape == (5, LENGTH + 1, 24)
    logits = addp.decoder(features, ids, mask)
    assert logits.shape == (5, LENGTH, CODES + 3 + 1)
    hidden = F.pad(mask, (1, 0), value=True)[..., None]
    assert torch.equal(addp.decoder(torch.where(hidden, 7.0, features), ids, mask), logits)
    assert torch.equal(addp.decoder(features, torch.where(mask, 0, ids), mask), logits)
    assert not torch.allclose(addp.decoder(features, torch.where(mask, ids, (ids + 1) % CODES), mask), logits)
    assert not torch.allclose(addp.decoder(torch.where(hidden, features, 7.0), ids, mask), logits)
    mask[0, mask[0].nonzero()[0]] = False
    with pytest.raises(ValueError, match=r"as many masked in each sample, found \[8, 9, 9, 9, 9\]"):
        addp.decoder(features, ids, mask)


def test_no_gradient_reaches_what_is_frozen_and_one_reaches_all_else(addp, pictures):
    before = {name: value.clone() for name, value in addp.state_dict().items()}
    addp.train()
    assert addp.encoder.training
    assert not any(part.training for frozen in (addp.tokenizer, addp.predictor) for part in frozen.modules())
    addp.masked_loss(pictures, *masks()).total.backward()
    optimizer = torch.optim.AdamW(addp.parameters(), 0.1)
    frozen = ("tokenizer.", "predictor.")
    for name, parameter in addp.named_parameters():
        if name.startswith(frozen):
            assert parameter.grad is None
        else:
            assert parameter.grad.abs().sum() > 0, name
    optimizer.step()
    changed = {name for name, value in addp.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in addp.named_parameters() if not name.startswith(frozen)}


def test_a_mixture_of_one_code_is_that_code():
    tokenizer = VQTokenizer(CODES, 6, 8, (1, 1, 2), 1, 4)
    ids = torch.randint(CODES, (3, LENGTH), generator=torch.Generator().manual_seed(0))
    sure = F.one_hot(ids, CODES).float().mT.unflatten(-1, (SIDE, SIDE))
    found = tokenizer.mixed(sure)
    assert (found - tokenizer.lookup(ids, (SIDE, SIDE))).abs().max() < 1e-6
    assert torch.equal(found[1, :, 2, 3], tokenizer.quantize.embedding.weight[ids[1, 2 * SIDE + 3]])


def test_the_tokenizer_takes_the_nearest_code_and_the_released_sizes_have_the_released_shapes(pictures):
    tokenizer = VQTokenizer(CODES, 6, 8, (1, 1, 2), 1, 4)
    ids, codes = tokenizer.encode(pictures)
    latents = tokenizer.encoder(pictures)
    distances = torch.cdist(latents.movedim(1, -1).flatten(0, 2), tokenizer.quantize.embedding.weight)
    assert torch.equal(ids.flatten(), distances.argmin(1))
    assert tokenizer.decode(codes).shape == pictures.shape
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in VQTokenizer().state_dict().items()}
    assert shapes["quantize.embedding.weight"] == (1024, 256)
    assert shapes["encoder.conv_in.weight"] == (128, 3, 3, 3)
    assert shapes["encoder.down.4.block.0.nin_shortcut.weight"] == (512, 512, 1, 1)
    assert shapes["encoder.conv_out.weight"] == (256, 512, 1, 1)
    assert shapes["decoder.up.0.block.1.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["decoder.up.4.upsample.conv.bias"] == (512,)
    assert "decoder.up.0.upsample.conv.weight" not in shapes
    assert "encoder.mid.block_1.conv1.bias" not in shapes


def test_the_predictor_does_not_see_masked_tokens_and_learns_by_them_alone(pictures):
    torch.manual_seed(0)
    predictor = MaskedTokenPredictor(CODES, SIDE, 16, 1, 2, 1, 2, 3).eval()
    assert (predictor.fake_class, predictor.mask_id) == (18, 19)
    assert (MaskedTokenPredictor(1024, 2, 8, 1, 2, 1, 2).fake_class, 2025) == (1100, 1024 + 1000 + 1)
    mask, _ = masks()
    ids = torch.randint(CODES, (5, LENGTH), generator=torch.Generator().manual_seed(0))
    found = predictor.probs(ids, mask)
    assert found.shape == (5, CODES, SIDE, SIDE)
    torch.testing.assert_close(found.sum(1), torch.ones(5, SIDE, SIDE))
    assert torch.equal(predictor.probs(torch.where(mask, 0, ids), mask), found)
    logs = predictor.logits(ids, mask).log_softmax(-1).gather(2, ids[..., None])[..., 0]
    assert predictor.loss(ids, mask).item() == pytest.approx(-logs[mask].mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match=r"expected \(B, 16\) each, found \(5, 9\)"):
        predictor.probs(ids[:, :9], mask[:, :9])


def test_samples_keep_what_was_settled_and_follow_their_seed(addp):
    addp.eval()
    seen, decode = [], addp.tokenizer.decode
    addp.tokenizer.decode = lambda z: seen.append(z) or decode(z)
    found = addp.sample(3, steps=4, generator=torch.Generator().manual_seed(1))
    assert found.shape == (3, 3, 16, 16)
    assert found.min() >= 0
    assert found.max() <= 1
    words = addp.tokenizer.quantize.embedding.weight
    settled = [(z[:, :, None] == words.T[None, :, :, None, None]).all(1).any(1) for z in seen]
    left = [max(1, math.ceil(LENGTH * math.cos(math.pi / 2 * step / 4) - 1e-9)) for step in range(1, 5)]
    assert [(LENGTH - places.flatten(1).sum(1)).unique().tolist() for places in settled] == [[n] for n in left]
    for before, after, places in zip(seen, seen[1:], settled, strict=False):
        kept = places[:, None].expand_as(before)
        assert torch.equal(before[kept], after[kept])
    assert torch.equal(addp.sample(3, steps=4, generator=torch.Generator().manual_seed(1)), found)
    assert not torch.equal(addp.sample(3, steps=4, generator=torch.Generator().manual_seed(2)), found)
    with pytest.raises(ValueError, match="expected 1 or more, cosine or linear, found 0"):
        addp.sample(1, steps=0)


def bars(count: int = 96) -> Frames:
    """Pictures of one bright column of four; what stands at a place tells what else there is."""
    columns, images = np.arange(count) % 4, np.full((count, 16, 16, 3), 20, np.uint8)
    for image, column in zip(images, columns, strict=True):
        image[:, 4 * column : 4 * column + 4] = 230
    return Frames(images, np.arange(count), {"label": columns}, {"label": tuple("abcd")})


def test_three_runs_leave_an_encoder_that_the_commands_take(tmp_path, capsys):
    frames = bars(24)
    write_frames(frames, tmp_path / "data")
    common = ["--system", "addp", "--data", str(tmp_path / "data"), "--batch-size", "8", "--steps", "3"]
    common += ["--threads", "1", "--validation-frames", "8"]
    sizes = [f"{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in SIZES.items()]
    start: list[str] = []
    for stage in ("tokenizer", "predictor", "addp"):
        run = tmp_path / stage
        pretrain_main([*common, "--output", str(run), "--set", f"stage={stage}", *start, *sizes])
        start = [f"start={run}"]
        encoder = load_encoder(run)
        assert isinstance(encoder, DenseEncoder)
        assert encoder.dense(frames.pixels(np.arange(2)))[0].shape == (2, encoder.width, SIDE, SIDE)
        assert embed(encoder, frames).shape == (24, encoder.width)
    capsys.readouterr()
    words = ["--encoder", str(run), "--data", str(tmp_path / "data"), "--reference", str(tmp_path / "data")]
    words += ["--passes", "2", "--shown", "3"]
    surprise_main([*words, "--picture", str(tmp_path / "odd.png"), "--output", str(tmp_path / "odd.json")])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("0 of 24 frames surprise more than")
    assert len(out) == 4
    content = json.loads((tmp_path / "odd.json").read_text())
    scores = [np.max(frame["map"]) for frame in content["frames"]]
    assert max(scores) == pytest.approx(content["threshold"], abs=1e-3)
    assert scores[int(out[1].split("row ")[1].split(":")[0])] == max(scores)
    assert cv2.imread(str(tmp_path / "odd.png")).shape == (256, 3 * 128, 3)
    sample_main(["--encoder", str(run), "--output", str(tmp_path / "new.png"), "--count", "3", "--steps", "2"])
    assert cv2.imread(str(tmp_path / "new.png")).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="expected one of stage addp, found one of stage predictor"):
        sample_main(["--encoder", str(tmp_path / "predictor"), "--output", str(tmp_path / "new.png")])


def test_each_patch_is_told_once_a_pass_from_the_other_half_and_compared(addp, pictures):
    addp.eval()
    found = addp.surprise(pictures, passes=2, generator=torch.Generator().manual_seed(3))
    ids, codes = addp.tokenizer.encode(pictures)
    generator, total = torch.Generator().manual_seed(3), torch.zeros(5, LENGTH)
    for _ in range(2):
        half = torch.randperm(LENGTH, generator=generator) < LENGTH // 2
        for mask in (half.expand(5, -1), ~half.expand(5, -1)):
            shares = addp.logits(addp.noised(pictures, mask, mask).images, ids, mask)[..., :CODES].softmax(-1)
            expected = (shares @ addp.tokenizer.quantize.embedding.weight).mT.unflatten(-1, (SIDE, SIDE))
            decoded = addp.tokenizer.decode(torch.where(mask.view(5, 1, SIDE, SIDE), expected, codes)).clamp(0, 1)
            error = (decoded - pictures).square()
            for row, place in mask.nonzero().tolist():
                y, x = 4 * (place // SIDE), 4 * (place % SIDE)
                total[row, place] += error[row, :, y : y + 4, x : x + 4].mean().item() / 2
    torch.testing.assert_close(found, total.sqrt().view(5, SIDE, SIDE), atol=1e-5, rtol=1e-5)
    alone = addp.surprise(pictures[2:3], passes=2, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(alone, found[2:3])
    with pytest.raises(ValueError, match="passes: expected 1 or more, found 0"):
        addp.surprise(pictures, passes=0)


def test_tokens_bring_pictures_back_after_some_steps():
    images = bars(4).pixels(np.arange(4))
    tokenizer = ADDPEncoder(Config(**SIZES), seed=0).tokenizer
    optimizer = torch.optim.AdamW(tokenizer.parameters(), 4e-3)
    for _ in range(60):
        optimizer.zero_grad()
        tokenizer.loss(images).total.backward()
        optimizer.step()
    _, codes = tokenizer.encode(images)
    assert (tokenizer.decode(codes) - images).square().mean() < 0.2 * images.var()


def test_a_stage_needs_the_stage_before_it_and_keeps_it(tmp_path):
    first = new(Config(**SIZES), None, 0).encoder
    first.save(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="start: expected the run of stage=tokenizer with stage=predictor, found none"):
        new(Config(stage="predictor"), None, 0)
    with pytest.raises(ValueError, match="expected a run of addp with stage=predictor, found stage=tokenizer"):
        new(Config(stage="addp", start=str(tmp_path / "tokenizer")), None, 0)
    with pytest.raises(ValueError, match="start: expected none with stage=tokenizer"):
        new(Config(start="x"), None, 0)
    with pytest.raises(ValueError, match="expected one of stage addp, found one of stage tokenizer"):
        first.features(torch.zeros(1, 3, 16, 16))
    small = {name: value for name, value in SIZES.items() if name.startswith("predictor_") or name == "classes"}
    objective = new(Config(stage="predictor", start=str(tmp_path / "tokenizer"), **small), None, 1)
    assert objective.encoder.config.codebook == CODES
    for name, value in first.tokenizer.state_dict().items():
        assert torch.equal(objective.encoder.tokenizer.state_dict()[name], value)
    objective.encoder.save(tmp_path / "predictor")
    objective = new(Config(stage="addp", start=str(tmp_path / "predictor")), None, 2)
    frames, generator = bars(8), torch.Generator().manual_seed(0)
    batch = objective.train().batch(frames, np.arange(8), generator)
    losses = [objective(batch) for _ in range(2)]
    assert torch.equal(losses[0].total, losses[1].total)
    losses[0].total.backward()
    for name, parameter in objective.named_parameters():
        assert (parameter.grad is None) == (not parameter.requires_grad), name
    objective.encoder.save(tmp_path / "addp")
    images = frames.pixels(np.arange(8))
    again = load_encoder(tmp_path / "addp")
    assert torch.equal(again.features(images), objective.encoder.eval().features(images))
    with pytest.raises(ValueError, match="stage: expected one of tokenizer, predictor, addp, found 'last'"):
        Config(stage="last")


def test_published_weights_are_read_and_others_refused(tmp_path, addp, pictures):
    state = {**addp.encoder.state_dict(), **addp.decoder.state_dict()}
    unused = {
        "decoder_pred.weight": torch.zeros(3),
        "pos_token_embed": torch.zeros(2),
        "pos_mask_embed": torch.zeros(2),
    }
    predictor = {
        **addp.predictor.state_dict(),
        "mask_token": torch.zeros(1),
        "token_emb.position_ids": torch.zeros(1, 2),
    }
    files = [tmp_path / f"{name}.safetensors" for name in ("model", "tokenizer", "predictor")]
    for file, tensors in zip(files, (state | unused, addp.tokenizer.state_dict(), predictor), strict=True):
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    options = ReleasedOptions(*files, tmp_path / "out", heads=2, decoder_heads=2, groups=4)
    found = released(options)
    torch.testing.assert_close(found.features(pictures), addp.eval().features(pictures))
    assert found.config.ch_mult == (1, 1, 2)
    save_file({**state, "blocks.0.odd": torch.zeros(1)}, files[0])
    with pytest.raises(ValueError, match=r"model.safetensors: blocks.0.odd: expected shape None, found \(1,\)"):
        released(options)
    save_file({name: value for name, value in state.items() if name != "cls_token"}, files[0])
    with pytest.raises(ValueError, match=r"model.safetensors: cls_token: expected shape \(1, 1, 24\), found None"):
        released(options)


def test_sizes_that_do_not_fit_are_refused(addp, pictures):
    tokenizer = VQTokenizer(CODES, 6, 8, (1, 1, 2), 1, 4)
    with pytest.raises(ValueError, match="expected patches of 8 pixels"):
        ADDP(EncoderConfig(16, 8, 24, 2, 2), DecoderConfig(1, 2), tokenizer, addp.predictor)
    with pytest.raises(ValueError, match=r"x: expected \(B, 3, 16, 16\), found \(5, 3, 12, 16\)"):
        addp.features(pictures[:, :, :12])
    with pytest.raises(ValueError, match=r"x: expected .* sides of multiples of 4"):
        tokenizer.encode(pictures[..., :15])
    with pytest.raises(ValueError, match="lo, hi, sigma"):
        MaskSchedule(lo=0.9, hi=0.9)
    with pytest.raises(ValueError, match="multiple of the groups"):
        VQTokenizer(ch=20)
