from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from scipy.spatial.transform import Rotation
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames, write_frames
from representation.embedding import embed
from representation.memory.subjects import Selected, cut_out
from representation.memory.subjects import main as subjects_main
from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.encoder import CLIPEncoder
from representation.pretraining.clip.model import CLIP
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.customcontrast import (
    Config,
    MFIEncoder,
    SubjectCodes,
    SubjectIndex,
    SubjectInjector,
    crossmodal_semantic_loss,
    epsilon_loss,
    inject,
    mean_codes,
    multiscale_appearance_loss,
    new,
)
from representation.pretraining.customcontrast.encoder import phrase_mask
from representation.pretraining.customcontrast.eyes import phrase_tokens
from representation.pretraining.customcontrast.objective import on_other_backgrounds, rotation_matrices, subject_views
from representation.registry import load_encoder

SMALL = Config(vision_dim=16, text_dim=8, width=16, n_scales=2, codes_per_scale=2, depth=1, heads=2)
PLAIN = replace(SMALL, background_drop=0.0, background_swap=0.0, smallest_crop=1.0, jitter=0.0, flip=0.0)
PAIRS = torch.arange(8) // 2
KINDS = ("red mug", "red mug", "green ball", "blue box")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def seen_objects(views=6, masked=True):
    """Discs in four colours, before backgrounds of any colour; two are of one class."""
    rng, colours = np.random.default_rng(0), ((220, 30, 30), (150, 20, 90), (30, 200, 30), (40, 40, 230))
    objects = np.repeat(np.arange(4), views)
    images = np.empty((len(objects), 64, 64, 3), np.uint8)
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=2)
    masks = np.empty((len(objects), 64, 64), bool)
    for row, number in enumerate(objects):
        images[row] = rng.integers(0, 256, 3)
        masks[row] = np.linalg.norm(grid - rng.uniform(26, 38, 2), axis=2) < rng.uniform(14, 20)
        images[row][masks[row]] = colours[number]
    label = np.array([0, 0, 1, 2])[objects]
    columns = {"label": label, "rotation": Rotation.random(len(objects), random_state=0).as_quat()}
    columns |= {"mask": masks} if masked else {}
    return Frames(images, objects, columns, {"label": ("mug", "ball", "box")}, [f"a {KINDS[n]}" for n in objects])


def test_one_positive_of_uniform_relevance_gives_nt_xent():
    codes, expected = normal(8, 1, 16), 0.0
    unit = [row / row.norm() for row in codes[:, 0]]
    for i in range(8):
        partner = i + 1 if i % 2 == 0 else i - 1
        others = sum(torch.exp(unit[i] @ unit[j] / 0.07) for j in range(8) if j != i)
        expected -= float(torch.log(torch.exp(unit[i] @ unit[partner] / 0.07) / others)) / 8
    uniform = torch.ones(8, 8, dtype=torch.float64)
    assert float(multiscale_appearance_loss(codes, PAIRS, uniform, [[0]])) == pytest.approx(expected, abs=1e-10)
    assert float(multiscale_appearance_loss(codes, PAIRS, None, [[0]])) == pytest.approx(expected, abs=1e-10)


def test_relevant_positives_and_scales_count_as_plain_loops_say():
    codes, relevance, subject = normal(7, 4, 6), normal(7, 7, seed=1), torch.tensor([0, 0, 0, 1, 1, 1, 2])
    heads = [nn.Linear(6, 5, bias=False).double() for _ in range(2)]
    expected = 0.0
    for head, group in zip(heads, ((0, 1), (2, 3)), strict=True):
        unit = [head((codes[i, group[0]] + codes[i, group[1]]) / 2) for i in range(7)]
        unit = [(row / row.norm()).detach() for row in unit]
        rows = []
        for i in range(6):
            positives = [j for j in range(7) if j != i and subject[j] == subject[i]]
            shares = [np.exp(float(relevance[i, p]) / 0.5) for p in positives]
            others = sum(float(torch.exp(unit[i] @ unit[j] / 0.2)) for j in range(7) if j != i)
            logs = [float(unit[i] @ unit[p]) / 0.2 - np.log(others) for p in positives]
            weights = [len(positives) * share / sum(shares) for share in shares]
            rows.append(-sum(w * log for w, log in zip(weights, logs, strict=True)) / len(positives))
        expected += np.mean(rows) / 2
    found = multiscale_appearance_loss(codes, subject, relevance, ((0, 1), (2, 3)), temperature=0.2, heads=heads)
    assert float(found) == pytest.approx(expected, abs=1e-10)


def test_both_losses_do_not_mind_the_order_of_a_batch_and_one_not_the_length_of_codes():
    codes, texts, relevance = normal(8, 2, 5), normal(8, 5, seed=1), normal(8, 8, seed=2)
    classes, order = PAIRS // 2, torch.randperm(8, generator=seeded())
    appearance = multiscale_appearance_loss(codes, PAIRS, relevance, [[0], [1]])
    again = multiscale_appearance_loss(codes[order], PAIRS[order], relevance[order][:, order], [[0], [1]])
    torch.testing.assert_close(again, appearance, atol=1e-6, rtol=0)
    longer = multiscale_appearance_loss(37.0 * codes, PAIRS, relevance, [[0], [1]])
    torch.testing.assert_close(longer, appearance, atol=1e-6, rtol=0)
    semantic = crossmodal_semantic_loss(codes[:, 0], texts, PAIRS, classes)
    again = crossmodal_semantic_loss(codes[order, 0], texts[order], PAIRS[order], classes[order])
    torch.testing.assert_close(again, semantic, atol=1e-6, rtol=0)


def test_gradients_of_both_losses_and_none_of_relevance():
    codes, texts = normal(6, 2, 3).requires_grad_(), normal(6, 3, seed=1).requires_grad_()
    relevance, subject = normal(6, 6, seed=2).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(
        lambda c: multiscale_appearance_loss(c, subject, relevance, [[0], [1]], temperature=0.5), codes
    )
    assert torch.autograd.gradcheck(
        lambda v, t: crossmodal_semantic_loss(v[:, 0], t, subject, torch.tensor([0, 0, 0, 0, 1, 1]), 0.5),
        (codes, texts),
    )
    multiscale_appearance_loss(codes, subject, relevance, [[0], [1]]).backward()
    assert relevance.grad is None


def test_subjects_of_one_class_do_not_push_each_other_from_their_text():
    pictures, texts = normal(6, 4), normal(6, 4, seed=1)
    subject, classes = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 0, 0, 1, 1])
    equal = normal(1, 4, seed=2).expand(4, 4)
    assert torch.isfinite(crossmodal_semantic_loss(pictures[:4], equal, subject[:4], classes[:4]))

    def pull(texts, classes):
        """Gradient of the loss by the pictures of the first subject."""
        leaf = pictures.clone().requires_grad_()
        crossmodal_semantic_loss(leaf, texts, subject, classes).backward()
        return leaf.grad[:2]

    moved = texts.clone()
    moved[2:4] += 1.0  # what the second subject is called does not reach the first one, unless it is of another class
    torch.testing.assert_close(pull(moved, classes), pull(texts, classes), atol=1e-12, rtol=0)
    assert (pull(moved, subject) - pull(texts, subject)).abs().max() > 1e-3
    moved[4:] += 1.0
    assert (pull(moved, classes) - pull(texts, classes)).abs().max() > 1e-3


def test_losses_refuse_what_teaches_nothing():
    codes, one = normal(4, 2, 3), torch.zeros(4, dtype=torch.long)
    each, pair = torch.arange(4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"subject_id: expected at least two subjects, found \[0\]"):
        multiscale_appearance_loss(codes, one, None, [[0]])
    with pytest.raises(ValueError, match="expected several views of some subject"):
        multiscale_appearance_loss(codes, each, None, [[0]])
    with pytest.raises(ValueError, match="groups: expected some of the codes 0 to 1"):
        multiscale_appearance_loss(codes, pair, None, [[0], [2]])
    with pytest.raises(ValueError, match=r"relevance: expected \(4, 4\)"):
        multiscale_appearance_loss(codes, pair, torch.ones(4), [[0]])
    with pytest.raises(ValueError, match="codes: expected finite numbers"):
        multiscale_appearance_loss(codes / 0.0, pair, None, [[0]])
    with pytest.raises(ValueError, match="subject_id: expected at least two subjects"):
        crossmodal_semantic_loss(codes[:, 0], codes[:, 1], one, one)
    with pytest.raises(ValueError, match=r"cls_t: expected \(4, 3\)"):
        crossmodal_semantic_loss(codes[:, 0], codes[:, 1, :2], pair, pair)


def test_codes_hear_the_text_through_a_gate_that_is_closed_at_first():
    torch.manual_seed(0)
    encoder = MFIEncoder(12, 6, width=16, n_scales=2, codes_per_scale=3, depth=2, heads=2, vision_layers=3).eval()
    layers, text = [torch.randn(4, 10, 12) for _ in range(3)], torch.randn(4, 5, 6)
    without, found = encoder(layers), encoder(layers, text)
    assert without.codes.shape == (4, 6, 16)
    assert without.cls_t is None
    assert encoder.groups == ((0, 1, 2), (3, 4, 5))
    assert (found.codes - without.codes).abs().max() == 0
    with torch.no_grad():
        encoder.fusion.gate.fill_(0.5)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [False] * 5, [True] * 5])
    fused = torch.tensor([True, True, True, False])
    heard = encoder(layers, text, mask, fused)
    assert ((heard.codes - without.codes).abs().amax(dim=(1, 2)) > 0).tolist() == [True, True, False, False]
    torch.testing.assert_close(heard.cls_v, without.cls_v)
    changed = text.clone()
    changed[1, 2:] = 9.0
    torch.testing.assert_close(encoder(layers, changed, mask, fused).cls_t[1], heard.cls_t[1])
    number = torch.tensor([1, 0, 1, 1])
    shared = encoder(layers, text[:2], mask[:2], None, number)
    each = encoder(layers, text[:2][number], mask[:2][number])
    torch.testing.assert_close(shared.codes, each.codes)
    torch.testing.assert_close(shared.cls_t, each.cls_t)
    with pytest.raises(ValueError, match="vision_layers: expected 3, found 2"):
        encoder(layers[:2])
    with pytest.raises(ValueError, match=r"vision_layers\[1\]: expected \(4, N, 12\), found \(4, 10, 11\)"):
        encoder([layers[0], layers[1][..., 1:], layers[2]])
    with pytest.raises(ValueError, match=r"text: expected finite numbers"):
        encoder(layers, text / 0.0)


def test_codes_of_several_references_keep_their_length():
    codes = torch.randn(5, 3, 8, generator=seeded())
    found = mean_codes(codes)
    torch.testing.assert_close(found.norm(dim=1), codes.norm(dim=2).mean(dim=0))
    torch.testing.assert_close(F.cosine_similarity(found, codes.mean(dim=0)), torch.ones(3))
    torch.testing.assert_close(mean_codes(codes[:1]), codes[0])
    with pytest.raises(ValueError, match=r"codes: expected \(R, K, d\)"):
        mean_codes(codes[0])


def tiny_unet(width=16):
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()


def test_subjects_change_a_unet_by_their_scale_and_train_nothing_else():
    unet, injector = tiny_unet(), SubjectInjector(tiny_unet())
    layers = injector.layers
    assert layers[0].startswith("mid_block")
    assert len(layers) == 4
    x, text, step = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 16), torch.tensor(400)
    codes = torch.randn(2, len(layers), 12, generator=seeded())
    plain = unet(x, step, text).sample
    injector = inject(unet, codes, scale=0.0)
    assert (unet(x, step, text).sample - plain).abs().max() < 1e-6
    injector.scale = 1.0
    assert (unet(x, step, text).sample - plain).abs().max() > 1e-3
    names = {name.split(".")[0] for name, p in injector.named_parameters() if p.requires_grad}
    assert names == {"keys", "values"}
    assert not any(p.requires_grad for p in unet.parameters())
    injector.set_codes(torch.zeros_like(codes))
    assert (unet(x, step, text).sample - plain).abs().max() < 1e-6
    injector.set_codes(torch.stack([codes, codes], dim=1))
    twice = unet(x, step, text).sample
    injector.set_codes(codes)
    torch.testing.assert_close(unet(x, step, text).sample, twice)
    with pytest.raises(ValueError, match=r"codes: expected \(B, 4, 12\)"):
        injector.set_codes(codes[:, :3])
    injector.set_codes(codes[:1])
    with pytest.raises(ValueError, match="codes: expected 2 rows as the pictures, found 1"):
        unet(x, step, text)
    injector.detach()
    assert (unet(x, step, text).sample - plain).abs().max() == 0
    own = SubjectInjector(tiny_unet())
    assert torch.equal(own.keys[0].weight, own.unet.get_submodule(layers[0]).to_k.weight)


def test_a_subject_stays_where_its_class_word_is_attended_to_and_more_sharply_early():
    unet = tiny_unet()
    codes = torch.randn(2, 4, 16, generator=seeded())
    injector = inject(unet, codes, class_token=torch.tensor([1, 3]))
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 16)
    attended = torch.tensor([[0.1, 0.2, 0.8, 0.25], [0.5, 0.05, 0.2, 0.1]])
    for step in (900, 100):
        unet(x, torch.tensor(step), text)
        assert int(injector.step) == step
        expected = attended / attended.amax(dim=1, keepdim=True)
        expected = (expected >= 0.3).float() if step > 600 else expected
        torch.testing.assert_close(injector.region(attended), expected)
    injector.step = torch.tensor([900, 100])
    assert injector.region(attended)[0].tolist() == [0, 0, 1, 1]
    assert injector.region(attended)[1, 2] == pytest.approx(0.4)
    layer = unet.get_submodule(injector.layers[-1])
    hidden = torch.randn(2, 16, 16, generator=seeded(1))
    guided = injector.added(3, layer, hidden, text)
    injector.set_codes(codes)
    everywhere = injector.added(3, layer, hidden, text)
    share = guided / everywhere  # one code only: what is added is the same everywhere but for the region
    query, key = (
        part.unflatten(2, (layer.heads, -1)).transpose(1, 2) for part in (layer.to_q(hidden), layer.to_k(text))
    )
    attention = (query @ key.mT * layer.scale).softmax(dim=-1).mean(dim=1)
    expected = injector.region(torch.stack([attention[0, :, 1], attention[1, :, 3]]))
    torch.testing.assert_close(share.median(dim=2).values, expected, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="class_token: expected one for each row of codes"):
        injector.set_codes(codes, torch.tensor([1]))


def test_the_loss_of_a_generator_reaches_codes_and_new_keys_and_values():
    unet, codes = tiny_unet(), torch.randn(2, 4, 16, generator=seeded()).requires_grad_()
    injector = inject(unet, codes)
    alphas = torch.linspace(0.99, 0.01, 50)
    x, text = torch.randn(2, 4, 8, 8, generator=seeded()), torch.randn(2, 5, 16, generator=seeded())
    loss = epsilon_loss(unet, x, text, alphas, seeded())
    loss.backward()
    assert codes.grad.abs().amax(dim=(0, 2)).min() > 0
    assert all(layer.weight.grad.abs().max() > 0 for layer in injector.values)
    generator = seeded()
    steps = torch.randint(50, (2,), generator=generator)
    noise, kept = torch.randn(x.shape, generator=generator), alphas[steps][:, None, None, None]
    told = unet(kept.sqrt() * x + (1 - kept).sqrt() * noise, steps, text).sample
    torch.testing.assert_close(loss, (told - noise).square().mean())


def test_a_batch_has_views_of_each_subject_and_the_next_one_as_target():
    frames = seen_objects()
    objective = new(replace(PLAIN, background_drop=1.0, views=3, text_drop=0.0), frames, 0)
    places = subject_views(frames, np.array([0, 7, 20]), 3, seeded())
    assert places.shape == (3, 3)
    assert (frames.episode[places] == [0, 1, 3]).all()
    assert all(len(set(own)) == 3 for own in places.T)
    batch = objective.batch(frames, np.array([0, 7, 20]), seeded())
    order = places.flatten()
    masks = torch.from_numpy(frames.columns["mask"][order])
    assert (batch["images"].permute(0, 2, 3, 1)[~masks] - 0.5).abs().max() < 1e-5
    targets = np.concatenate([places[1], places[2], places[0]])
    expected = Rotation.from_quat(frames.columns["rotation"][targets]).as_matrix()
    np.testing.assert_allclose(batch["rotation"].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(
        batch["targets"].mean(dim=(2, 3)), 4 * frames.pixels(targets).mean(dim=(2, 3)) - 2, atol=0.05
    )
    assert batch["fused"].all()
    whole = new(PLAIN, seen_objects(masked=False), 0).batch(seen_objects(masked=False), np.array([0, 7]), seeded())
    torch.testing.assert_close(whole["images"], whole["judged"], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="subject 2: expected at least 7 views, found 6"):
        subject_views(frames, np.array([12]), 7, seeded())
    with pytest.raises(ValueError, match=r"expected \['texts'\]"):
        new(SMALL, Frames(frames.images, frames.episode, frames.columns), 0)
    with pytest.raises(ValueError, match="views: expected at least 2, found 1"):
        replace(SMALL, views=1)
    np.testing.assert_allclose(rotation_matrices(torch.tensor([[0.0, 0, 0, 1]]))[0], np.eye(3))


def test_objects_are_put_before_other_backgrounds():
    frames = seen_objects(views=1)
    images, masks = frames.pixels(np.arange(4)), torch.from_numpy(frames.columns["mask"])
    found = on_other_backgrounds(images, masks, torch.tensor([1, 2, 3, 0]))
    for row in range(4):
        assert torch.equal(found[row, :, masks[row]], images[row, :, masks[row]])
        floor = images[(row + 1) % 4][:, ~masks[(row + 1) % 4]][:, :1]  # of one colour
        torch.testing.assert_close(found[row, :, ~masks[row]], floor.expand(3, int((~masks[row]).sum())))


def test_contrast_makes_an_encoder_that_knows_objects_before_other_backgrounds():
    frames = seen_objects(views=10)
    view = np.arange(len(frames)) % 10
    known, asked, own = frames.subset(np.flatnonzero(view < 5)), np.flatnonzero(view >= 5), np.arange(4) * 5

    def known_again(objective):
        encoder, index = objective.encoder.eval(), SubjectIndex(2)
        index.add(encoder.codes(known.pixels(np.arange(20))), [str(n) for n in known.episode])
        hits = index.query(encoder.codes(frames.pixels(asked)), 1)
        return np.mean([hit[0].id == str(n) for hit, n in zip(hits, frames.episode[asked], strict=True)])

    objective = new(SMALL, frames, 0)
    assert known_again(objective) <= 0.5
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], 4e-3)
    for step in range(40):
        optimizer.zero_grad()
        objective(objective.batch(known, own + step % 5, seeded(step))).total.backward()
        optimizer.step()
    assert known_again(objective) >= 0.8


def test_an_index_gives_each_subject_once_by_its_best_view_and_comes_back(tmp_path):
    views, index = torch.eye(6)[:, None].repeat(1, 2, 1), SubjectIndex(2, "key")
    assert views.shape == (6, 2, 6)
    codes = SubjectCodes(torch.eye(6), None, views)
    index.add(SubjectCodes(codes.cls_v[:3], None, codes.codes[:3]), ["a", "b", "a"])
    index.add(SubjectCodes(codes.cls_v[3:4], None, codes.codes[3:4]), "c")
    assert index.ids == ("a", "b", "c")
    asked = torch.tensor([[0.0, 0.3, 0.9, 0.1, 0, 0]])
    found = index.query(SubjectCodes(asked, None, asked[:, None].repeat(1, 2, 1)), 5)[0]
    assert [match.id for match in found] == ["a", "b", "c"]
    assert found[0].similarity == pytest.approx(0.9 / 0.91**0.5)
    index.save(tmp_path / "stored")
    again = SubjectIndex.load(tmp_path / "stored")
    assert (again.ids, len(again), again.encoder) == (index.ids, 4, "key")
    assert again.query(codes, 1) == index.query(codes, 1)
    with pytest.raises(ValueError, match="id: expected 6, one for each picture, found 2"):
        index.add(codes, ["a", "b"])
    with pytest.raises(ValueError, match="codes: expected vectors of 18, found 12"):
        index.add(SubjectCodes(torch.eye(4), None, torch.ones(4, 2, 4)), "d")
    with pytest.raises(ValueError, match="expected some, found none stored"):
        SubjectIndex(2).query(codes)
    with pytest.raises(FileNotFoundError, match=r"found no subjects\.json"):
        SubjectIndex.load(tmp_path)


def test_an_encoder_comes_back_with_its_words_and_takes_masks_and_phrases(tmp_path):
    frames = seen_objects(views=2)
    encoder = new(SMALL, frames, 0).encoder.eval()
    encoder.save(tmp_path)
    again = load_encoder(tmp_path)
    np.testing.assert_array_equal(embed(again, frames), embed(encoder, frames))
    images, masks = frames.pixels(np.arange(8)), torch.from_numpy(frames.columns["mask"])
    told = again.codes(images, masks, ["a red mug", "", *["a blue box"] * 6])
    assert told.cls_t.shape == (8, 16)
    ids = phrase_tokens(again.eyes, ["a red mug", "", "mug"])
    mask = phrase_mask(ids, again.eyes.tokenizer.end)
    assert mask.sum(dim=1).tolist() == [5, 0, 3]
    other = torch.where(masks[:, None], images, 1 - images)
    assert torch.equal(again.codes(other, masks).codes, again.codes(images, masks).codes)
    assert not torch.equal(again.codes(other).codes, again.codes(images).codes)
    with pytest.raises(ValueError, match=r"masks: expected \(8, 64, 64\)"):
        again.codes(images, masks[:, 1:])
    with pytest.raises(ValueError, match="phrases: expected 8, found 1"):
        again.codes(images, None, ["a mug"])


def test_an_encoder_looks_through_a_frozen_clip(tmp_path):
    frames = seen_objects(views=2)
    sizes = CLIPConfig(16, 32, 4, 64, 8, 12, 600, 32, 2, 2)
    clip = CLIPEncoder(CLIP(sizes, seeded()), Tokenizer.fit(frames.texts, 600)).eval()
    clip.save(tmp_path / "clip")
    objective = new(replace(SMALL, clip=str(tmp_path / "clip")), frames, 0)
    loss = objective(objective.batch(frames, np.array([0, 2, 4, 6]), seeded())).total
    loss.backward()
    learning = {name.split(".")[1] for name, p in objective.encoder.named_parameters(prefix="e") if p.grad is not None}
    assert learning == {"mfi"}
    objective.encoder.eval().save(tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder")
    np.testing.assert_array_equal(embed(again, frames), embed(objective.encoder, frames))
    layers = again.eyes.look(frames.pixels(np.arange(2)))
    assert [tuple(layer.shape) for layer in layers] == [(2, 17, 64)] * 4


def test_the_command_stores_finds_and_scores(tmp_path, capsys):
    frames = seen_objects(views=3)
    write_frames(frames, tmp_path / "data")
    new(SMALL, frames, 0).encoder.eval().save(tmp_path / "encoder")
    new(SMALL, frames, 1).encoder.eval().save(tmp_path / "other")
    cv2.imwrite(str(tmp_path / "crop.png"), cv2.cvtColor(frames.images[4], cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(tmp_path / "mask.png"), 255 * frames.columns["mask"][4].astype(np.uint8))
    place, encoder = str(tmp_path / "stored"), ["--encoder", str(tmp_path / "encoder")]
    data = ["--data", str(tmp_path / "data"), "--masked"]
    assert subjects_main(["add", place, *encoder, *data]) == 0
    assert "12 views of 4 subjects" in capsys.readouterr().out
    picture = ["--image", str(tmp_path / "crop.png"), "--mask", str(tmp_path / "mask.png"), "--phrase", "a red mug"]
    assert subjects_main(["find", place, *encoder, *picture, "--k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [len(lines), lines[0].split("  ")[-1]] == [2, "object 1"]
    assert float(lines[0].split()[0]) == pytest.approx(1, abs=1e-4)
    assert subjects_main(["score", place, *encoder, *data]) == 0
    assert capsys.readouterr().out.startswith("1.000 of 12 sights known again, among 4 subjects")
    assert subjects_main(["score", place, "--encoder", str(tmp_path / "other"), *data]) == 1
    assert "expected subjects of the encoder customcontrast_" in capsys.readouterr().err


def test_things_are_cut_out_of_segmented_pictures(tmp_path):
    shown = np.zeros((1, 20, 30), np.uint8)
    shown[0, 2:8, 20:30] = 2
    images = np.arange(1800, dtype=np.uint32).reshape(1, 20, 30, 3).astype(np.uint8)
    names = {"segmentation": ("other", "red", "bin")}
    write_frames(Frames(images, np.zeros(1, int), {"segmentation": shown}, names), tmp_path)
    (sight,) = Selected(tmp_path).sights()
    assert sight.id == "bin"
    assert sight.image.shape == (14, 14, 3)
    assert sight.mask.sum() == 60
    np.testing.assert_array_equal(sight.image[sight.mask], images[0][shown[0] == 2])
    rows, columns = np.nonzero(sight.mask)
    assert (rows.mean(), columns.mean()) == pytest.approx((6.5, 6.5), abs=0.5)
    again = cut_out("bin", images[0], shown[0] == 2)
    np.testing.assert_array_equal(again.image, sight.image)
