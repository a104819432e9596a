from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from representation.data.frames import Frames
from representation.interface import Progress, ProgressTracker
from representation.pretraining.tvts import RELEASED, Config, load, new
from representation.pretraining.tvts.encoder import assign
from representation.pretraining.tvts.model import SortTransformer, alignment_loss, sorting_loss
from representation.pretraining.tvts.video import VideoTransformer, random_keep_indices

SMALL = Config(resolution=16, width=32, depth=2, heads=2, projection=16)
SENTENCES = ("push the red block", "lift the red block", "turn the red block", "drop the red block", "touch the table")


def narrated(episodes=12, frames_per_step=2, steps=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (episodes * steps * frames_per_step, 16, 16, 3), dtype=np.uint8)
    texts = [SENTENCES[k] for _ in range(episodes) for k in rng.permutation(5)[:steps] for _ in range(frames_per_step)]
    return Frames(images, np.repeat(np.arange(episodes), steps * frames_per_step), {}, {}, texts)


@pytest.fixture(scope="module")
def frames():
    return narrated()


@pytest.fixture(scope="module")
def objective(frames):
    return new(SMALL, frames, seed=0)


def sorter(width=32):
    torch.manual_seed(0)
    model = SortTransformer(width, 2, 2, 4).eval()
    torch.nn.init.normal_(model.type_embed)
    return model


def test_permuted_sentences_get_permuted_places_and_the_order_of_video_tokens_tells_nothing():
    model, texts, video = sorter(), torch.randn(3, 4, 32), torch.randn(3, 20, 32)
    found, order = model(texts, video), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model(texts[:, order], video), found[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(model(texts, video[:, torch.randperm(20)]), found, atol=1e-5, rtol=0)


def test_sorting_teaches_the_video_encoder_alone_and_alignment_both(objective, frames):
    batch = objective.batch(frames, np.arange(0, 96, 8), torch.Generator().manual_seed(0))
    model = objective.encoder.model
    for parts, wanted in (("sort", False), ("align", True)):
        objective.zero_grad()
        texts, video = model.embed_texts(batch["tokens"]), model.video_model(batch["video"], batch["keep"])
        loss = (
            sorting_loss(model.sort(texts, video))
            if parts == "sort"
            else alignment_loss(model.align(texts, video), 0.05, batch["episodes"])
        )
        loss.backward()
        taught = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.text_model.parameters()]
        assert any(taught) == wanted
        assert model.video_model.patch_embed["proj"].weight.grad.abs().sum() > 0
        assert model.video_model.temporal_embed.grad.abs().sum() > 0


def test_losses_of_the_objective_are_those_of_the_definition(objective, frames):
    batch = objective.batch(frames, np.arange(0, 96, 8), torch.Generator().manual_seed(0))
    objective.train()
    loss, model = objective(batch), objective.encoder.model
    with torch.no_grad():
        texts, video = model.embed_texts(batch["tokens"]), model.video_model(batch["video"], batch["keep"])
        script = model.txt_proj(texts).mean(dim=1)
        clip = model.vid_proj(video[:, 0])
        cosine = torch.stack([torch.stack([torch.cosine_similarity(s, c, dim=0) for c in clip]) for s in script]) / 0.05
        chances = [-(cosine.log_softmax(dim=d).diagonal().mean()) for d in (0, 1)]
        places = model.pred_model(texts, video).log_softmax(dim=2)
        sort = -torch.stack([places[:, k, k] for k in range(4)]).mean()
    torch.testing.assert_close(loss.total.detach(), sum(chances) + 2 * sort)
    torch.testing.assert_close(loss.parts["wrong_place"], (places.argmax(dim=2) != torch.arange(4)).float().mean())


def test_alignment_of_perfect_pairs_has_its_closed_form():
    for count, temperature in ((8, 0.05), (16, 0.5)):
        wanted = 2 * math.log(1 + (count - 1) * math.exp(-1 / temperature))
        assert alignment_loss(torch.eye(count), temperature, torch.arange(count)).item() == pytest.approx(
            wanted, abs=1e-5
        )


def test_clips_of_one_episode_are_no_contrasts():
    cosines = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    both = alignment_loss(cosines, 0.5, torch.tensor([0, 0, 1, 2]))
    chances = []
    for table in (cosines / 0.5, cosines.T / 0.5):
        for k, others in enumerate(([0, 2, 3], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3])):
            chances.append(table[k, others].logsumexp(dim=0) - table[k, k])
    torch.testing.assert_close(both, sum(chances) / 4)


def test_tokens_that_are_kept_are_those_of_their_tube():
    torch.manual_seed(0)
    model = VideoTransformer(16, 4, 8, 32, 2, 2).eval()
    torch.nn.init.normal_(model.temporal_embed)
    video = torch.randn(2, 8, 3, 16, 16)
    every = torch.arange(16).expand(2, 4, 16)
    torch.testing.assert_close(model(video, every), model(video), atol=1e-6, rtol=0)
    keep = random_keep_indices(2, 4, 16, 0.75, torch.Generator().manual_seed(0))
    assert keep.shape == (2, 4, 4)
    assert model(video, keep).shape == (2, 1 + 16, 32)
    # Without blocks, kept tokens are embeddings of their own tube's patches.
    model.blocks = torch.nn.ModuleList()
    whole = model(video)[:, 1:].unflatten(1, (4, 16))
    kept = model(video, keep)[:, 1:].unflatten(1, (4, 4))
    for b, tube, n in np.ndindex(2, 4, 4):
        torch.testing.assert_close(kept[b, tube, n], whole[b, tube, keep[b, tube, n]])
    constant = torch.arange(4.0).repeat_interleave(2)[None, :, None, None, None].expand(2, 8, 3, 16, 16)
    model.pos_embed.data.zero_()
    one = model(constant, keep)[:, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(one, one[:, :, :1].expand_as(one))
    assert (one[0, 0, 0] - one[0, 1, 0]).abs().max() > 1e-3


def test_shorter_clips_have_fewer_tubes_and_wrong_ones_are_refused():
    model = VideoTransformer(16, 4, 8, 32, 1, 2)
    assert model(torch.zeros(1, 4, 3, 16, 16)).shape == (1, 1 + 2 * 16, 32)
    for shape in ((1, 3, 3, 16, 16), (1, 4, 3, 16, 8)):
        with pytest.raises(ValueError, match=r"video: expected \(B, T, 3, 16, 16\)"):
            model(torch.zeros(shape))


def test_patches_are_drawn_for_each_tube_by_itself():
    keep = random_keep_indices(4, 8, 196, 0.75, torch.Generator().manual_seed(0))
    assert keep.shape == (4, 8, 49)
    assert all(len(set(tube.tolist())) == 49 for tube in keep.flatten(0, 1))
    assert not torch.equal(keep[:, 0], keep[:, 1])


def test_an_untrained_sorter_is_at_chance():
    many = narrated(episodes=400, frames_per_step=1)
    objective = new(SMALL, many, seed=0).eval()
    wrong, order = [], torch.Generator().manual_seed(1)
    with torch.no_grad():
        for start in range(0, 1600, 160):
            batch = objective.batch(many, np.arange(start, start + 160, 4), order)
            wrong.append(float(objective(batch).parts["wrong_place"]))
    assert 1 - np.mean(wrong) == pytest.approx(0.25, abs=0.05)


def test_a_batch_holds_the_step_of_its_row_and_sentences_in_order(frames):
    many = narrated(episodes=3, steps=5)
    objective = new(replace(SMALL, steps=2), many, seed=0)
    tokens = [objective.encoder.model.text_model.tokenize([text])[0] for text in many.texts]
    for row in range(len(many)):
        for seed in range(4):
            found = objective.batch(many, np.array([row]), torch.Generator().manual_seed(seed))["tokens"][0]
            episode = range(row // 10 * 10, row // 10 * 10 + 10, 2)
            pairs = [(tokens[a], tokens[a + 2]) for a in episode[:-1] if row // 2 * 2 in (a, a + 2)]
            assert any(torch.equal(found[0], a) and torch.equal(found[1], b) for a, b in pairs)


def test_the_batch_is_one_square_per_clip(frames):
    still = Frames(np.repeat(frames.images[::8], 8, axis=0), frames.episode, {}, {}, frames.texts)
    video = new(SMALL, still, seed=0).batch(still, np.array([0, 8]), torch.Generator().manual_seed(0))["video"]
    torch.testing.assert_close(video, video[:, :1].expand_as(video))
    assert (video[0, 0] - video[1, 0]).abs().max() > 0.1


def test_order_follows_the_sentences_and_progress_its_best_window(objective, frames, monkeypatch):
    encoder = objective.encoder.eval()
    clip = torch.rand(2, 16, 3, 24, 16)
    scripts = [list(SENTENCES[:4]), list(SENTENCES[1:])]
    chances = encoder.predict_order(clip, scripts)
    torch.testing.assert_close(chances.exp().sum(dim=2), torch.ones(2, 4))
    flipped = encoder.predict_order(clip, [script[::-1] for script in scripts])
    torch.testing.assert_close(flipped, chances.flip(1), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"scripts: expected 2 of 4, found \[4, 3\]"):
        encoder.predict_order(clip, [scripts[0], scripts[1][:3]])
    assert isinstance(encoder, ProgressTracker)

    def told(places, sure):
        table = torch.full((4, 4), (1 - sure) / 3).log()
        table[torch.arange(4), torch.tensor(places)] = math.log(sure)
        return table

    answers = torch.stack([told([0, 1, 2, 3], 0.5), told([1, 0, 2, 3], 0.9)])
    monkeypatch.setattr(encoder, "predict_order", lambda clips, windows: answers[: len(windows)])
    found = encoder.progress(clip[0], SENTENCES)
    a, b, c, d, e = SENTENCES
    assert found == Progress((a, c, b, d), e, None, False, pytest.approx(0.9**4))
    assert encoder.progress(clip[0], SENTENCES, least=0.7) is None
    assert encoder.progress(clip[0], SENTENCES[:4], least=0.01) == Progress(
        (a, b, c), d, None, True, pytest.approx(0.5**4)
    )
    with pytest.raises(ValueError, match="steps: expected at least 4, found 2"):
        encoder.progress(clip[0], SENTENCES[:2])


def test_the_assignment_is_the_best_of_all():
    table = np.random.default_rng(0).normal(size=(4, 4))
    best = max(permutations(range(4)), key=lambda p: sum(table[k, p[k]] for k in range(4)))
    assert assign(table).tolist() == list(best)


def test_a_saved_encoder_sorts_alike(objective, tmp_path):
    encoder = objective.encoder.eval()
    encoder.save(tmp_path)
    clip = torch.rand(1, 9, 3, 16, 16)
    with torch.no_grad():
        before, after = (own.predict_order(clip, [SENTENCES[:4]]) for own in (encoder, load(tmp_path)))
    assert torch.equal(before, after)


def test_wrong_settings_and_episodes_are_refused(frames):
    with pytest.raises(ValueError, match="episode 0: expected at least 5 narrated steps, found 4"):
        new(replace(SMALL, steps=5), frames, seed=0)
    with pytest.raises(ValueError, match="steps: expected at least 2"):
        replace(SMALL, steps=1)
    with pytest.raises(ValueError, match="resolution, frames: expected multiples"):
        replace(SMALL, frames=7)
    short = Frames(frames.images, frames.episode, {}, {}, ["lift it"] * len(frames))
    with pytest.raises(ValueError, match="at least 10 characters, found 'lift it'"):
        new(SMALL, short, seed=0)


def test_sizes_of_the_published_video_encoder():
    with torch.device("meta"):
        model = VideoTransformer(224, 16, RELEASED.frames, RELEASED.width, RELEASED.depth, RELEASED.heads)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["patch_embed.proj.weight"] == (768, 3, 2, 16, 16)
    assert shapes["pos_embed"] == (1, 197, 768)
    assert shapes["temporal_embed"] == (1, 8, 768)
    assert sum(math.prod(shape) for shape in shapes.values()) == 86_394_624
