from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from representation.data.frames import Frames, write_frames
from representation.registry import load_encoder, module_of
from representation.transfer.d2nwg import (
    ClassMeans,
    DatasetEncoder,
    GeneratorConfig,
    GeneratorTraining,
    MLPDenoiser,
    MLPWeightVAE,
    OrderedEncoder,
    UNetDenoiser,
    WeightDiffusion,
    WeightVAE,
    WeightVectorizer,
    ZooEntry,
    alignment_loss,
    build_zoo,
    draw_support,
    draw_tasks,
    generate_weights,
    head_logits,
    scaled_beta,
    sqrt_linear_betas,
    support_loss,
    task_rows,
    train_generator,
    trained_head,
    tune_head,
    with_classes_in_order,
)
from representation.transfer.heads import main

TINY = GeneratorTraining(vae_steps=5, align_steps=3, steps=6, warmup=2, batch=8)
SMALL = GeneratorConfig(latent=8, hidden=32, steps=50)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def points(classes=6, width=4, each=30, seed=0):
    """Features around random centres, and their classes."""
    labels = torch.arange(classes * each) % classes
    return 2 * drawn(classes, width, seed=seed)[labels] + drawn(classes * each, width, seed=seed + 1), labels


def small_zoo(count=40, seed=0):
    features, labels = points()
    rng = np.random.default_rng(seed)
    tasks, others = draw_tasks(range(6), 3, count, 3, rng)
    return build_zoo(features, labels, tasks, 10, 1.0, rng), others, (features, labels)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    model(torch.randn(8, 3, 4, 4))
    return model.state_dict()


def test_a_network_with_batch_norms_comes_back_equal_from_its_vector(network):
    vectorizer = WeightVectorizer(network, pad_to=200, scale=0.125)
    vector = vectorizer.flatten(network)
    again = vectorizer.unflatten(vector)
    assert list(again) == list(network)
    assert all(torch.equal(again[name], value) and again[name].dtype == value.dtype for name, value in network.items())
    assert vectorizer.length == sum(v.numel() for v in network.values()) - 1
    assert not vector[vectorizer.length :].any()
    assert torch.equal(vector[:4], 8 * network["0.weight"].flatten()[:4])
    chunks = vectorizer.chunks(vector[None], 7)
    assert chunks.shape == (1, 7, 29)
    assert torch.equal(vectorizer.join(chunks)[0], vector)
    wide = {"weight": drawn(2, 3).double()}
    assert torch.equal(WeightVectorizer(wide).unflatten(WeightVectorizer(wide).flatten(wide))["weight"], wide["weight"])
    without = WeightVectorizer(network, skip=("num_batches_tracked", "running_mean", "running_var"))
    assert without.length == vectorizer.length - 8


def test_wrong_states_and_vectors_are_refused(network):
    vectorizer = WeightVectorizer(network)
    with pytest.raises(ValueError, match=f"expected {vectorizer.length} numbers"):
        vectorizer.unflatten(torch.zeros(vectorizer.length + 1))
    with pytest.raises(ValueError, match="state: expected"):
        vectorizer.flatten({"0.weight": network["0.weight"]})
    with pytest.raises(ValueError, match="expected finite numbers"):
        vectorizer.flatten(network | {"0.bias": torch.full((4,), math.nan)})
    with pytest.raises(ValueError, match="tensors of real numbers"):
        WeightVectorizer({"number": torch.tensor(3)})
    with pytest.raises(ValueError, match="pad_to, scale: expected at least"):
        WeightVectorizer(network, pad_to=3)


def test_the_set_encoder_minds_no_order_and_every_sample():
    torch.manual_seed(0)
    encoder = DatasetEncoder(6, 10, width=8, points=4)
    support = drawn(4, 5, 6)
    told = encoder([support])
    assert told.shape == (1, 10)
    samples = torch.stack([one[torch.randperm(5)] for one in support])
    assert (encoder([samples]) - told).abs().max() < 1e-5
    assert (encoder([support[[2, 0, 3, 1]]]) - told).abs().max() < 1e-5
    changed = support.clone()
    changed[1, 2] += 1
    assert (encoder([changed]) - told).abs().max() > 1e-4
    uneven = encoder([support, support[:2, :3]])
    assert uneven.shape == (2, 10)
    assert (uneven[:1] - told).abs().max() < 1e-5


def test_the_other_encoders_keep_the_order_of_the_classes():
    torch.manual_seed(0)
    support, order = drawn(3, 5, 6), [1, 2, 0]
    means = ClassMeans(6, 3)([support])
    assert torch.equal(ClassMeans(6, 3)([support[order]])[0], means[0].unflatten(0, (3, 6))[order].flatten())
    encoder = OrderedEncoder(6, 10, classes=4)
    assert (encoder([support[order]]) - encoder([support])).abs().max() > 1e-3
    assert encoder([support[:2], support]).shape == (2, 10)
    with pytest.raises(ValueError, match="expected 5 samples of at most 4 classes"):
        encoder([support[:, :4]])
    with pytest.raises(ValueError, match=r"support: expected \(C >= 2, n, 6\)"):
        encoder([support[:1]])
    with pytest.raises(ValueError, match="expected 3 classes, found"):
        ClassMeans(6, 3)([support[:2]])


def test_betas_rise_linearly_in_their_roots_to_latents_that_are_noise():
    betas = sqrt_linear_betas(1024, (0.0015, 0.0155))
    assert float(betas[0]) == pytest.approx(0.0015)
    assert float(betas[-1]) == pytest.approx(0.0155)
    steps = betas.sqrt().diff()
    assert (steps - steps[0]).abs().max() < 1e-9
    assert WeightDiffusion(MLPDenoiser(2, 2, 8)).kept[-1].sqrt() < 0.03
    assert WeightDiffusion(MLPDenoiser(2, 2, 8), 200, scaled_beta(200)).kept[-1].sqrt() < 0.03


class Oracle(nn.Module):
    """Knows the one latent that there is."""

    def __init__(self, latent, diffusion_of):
        super().__init__()
        self.point, self.latent, self.diffusion_of = latent, latent.numel(), diffusion_of

    def forward(self, z, t, c):
        kept = self.diffusion_of().kept[t][:, None].float()
        return (z - kept.sqrt() * self.point) / (1 - kept).sqrt()


def test_a_sampler_without_noise_repeats_itself_and_returns_the_point_of_a_perfect_denoiser():
    point, found = drawn(6), []
    diffusion = WeightDiffusion(Oracle(point, lambda: found[0]))
    found.append(diffusion)
    for steps, eta in ((50, 0.0), (7, 0.0), (1024, 1.0)):
        sampled = diffusion.sample(torch.zeros(3), 4, steps, eta, torch.Generator().manual_seed(1))
        assert (sampled - point).abs().max() < 1e-3
    torch.manual_seed(0)
    learned = WeightDiffusion(MLPDenoiser(6, 3, 16))
    draws = [learned.sample(drawn(3), 2, 10, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])
    noisy = learned.sample(drawn(3), 2, 10, 1.0, torch.Generator().manual_seed(1))
    assert not torch.equal(noisy, draws[0])
    near = learned.sample(drawn(3), 2, 10, 0.0, torch.Generator().manual_seed(2), draws[0], strength=0.01)
    assert (near - draws[0]).norm() < 0.5 * draws[0].norm()
    with pytest.raises(ValueError, match="expected 1 to 1024"):
        learned.sample(drawn(3), 2, 2000)


def test_the_condition_is_heard_only_where_it_is_joined():
    torch.manual_seed(0)
    denoiser, z, t = MLPDenoiser(4, 3, 16), drawn(2, 4), torch.tensor([3, 9])
    for cond, heard in (("concat", True), ("none", False)):
        model = WeightDiffusion(denoiser, cond=cond)
        assert torch.equal(model.told(z, t, drawn(2, 3)), model.told(z, t, drawn(2, 3, seed=1))) != heard
    assert torch.isfinite(model.loss(z, drawn(2, 3), torch.Generator().manual_seed(0)))


def test_the_alignment_loss_is_that_computed_by_hand_and_least_where_similarities_match():
    w = torch.tensor([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0], [0.3, 0.1, 1.0]])
    d = torch.tensor([[0.5, 0.2, 0.0], [1.0, 1.0, 0.0], [0.0, 0.4, 2.0]])
    logits = [[sum(float(a * b) for a, b in zip(x, y, strict=True)) / 2 for y in d] for x in w]
    own = [
        [2 * sum(float(a * b) for pair in ((x, y), (p, q)) for a, b in zip(*pair, strict=True)) / 2
         for y, q in zip(d, w, strict=True)]
        for x, p in zip(d, w, strict=True)
    ]  # fmt: skip
    targets = [[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in own]
    total = 0.0
    for i in range(3):
        row = math.log(sum(math.exp(logits[i][j]) for j in range(3)))
        column = math.log(sum(math.exp(logits[j][i]) for j in range(3)))
        total += sum(targets[i][j] * (row - logits[i][j]) for j in range(3))
        total += sum(targets[j][i] * (column - logits[j][i]) for j in range(3))
    assert float(alignment_loss(w, d, temperature=2.0)) == pytest.approx(total / 6, rel=1e-5)
    matched = 2 * torch.eye(3)
    target = (matched @ matched.T).softmax(dim=1)
    entropy = -(target * target.log()).sum(dim=1).mean()
    assert float(alignment_loss(matched, matched)) == pytest.approx(float(entropy), rel=1e-5)
    for seed in range(5):
        turned = torch.linalg.qr(drawn(3, 3, seed=seed)).Q
        assert alignment_loss(matched, matched @ turned) > entropy
    with pytest.raises(ValueError, match="d_emb: expected"):
        alignment_loss(w, d[:2])


def test_both_autoencoders_learn_to_repeat_vectors_and_their_scale_stays():
    generator = torch.Generator().manual_seed(0)
    weights = drawn(16, 2, seed=3) @ drawn(2, 20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = [
            MLPWeightVAE(20, 4, 32),
            WeightVAE(10, 2, 32, (2, 4, 4), 1, channels=8, mult=(1, 2), attention=(4,), blocks=1),
        ]
    for model, steps in zip(models, (20, 8), strict=True):
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        first = model.loss(weights, generator)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model.loss(weights, generator)
            loss.total.backward()
            optimizer.step()
        assert loss.parts["squares"] < 0.8 * first.parts["squares"]
        mean, log_variance = model.encode(weights)
        assert mean.shape == log_variance.shape == (16, model.latent)
        assert model.decode(mean).shape == weights.shape
        assert float(model.log_variance) == 0
        assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(ValueError, match="expected 2 chunks to fill 1 x 8 x 8"):
        WeightVAE(10, 2, 30, (2, 4, 4), mult=(1, 2), channels=8)


def test_the_sizes_of_the_paper_fit_together():
    with torch.device("meta"):
        small = WeightVAE(2864)
        large = WeightVAE(12143, 924, 8192, (4, 16, 16), 462, channels=64, mult=(1, 1, 1, 2))
        unet = UNetDenoiser(1024, 1024)
        assert small.encode(torch.zeros(2, 2864))[0].shape == (2, 1024)
        assert large.decode(torch.zeros(1, 1024)).shape == (1, 924 * 12143)
        assert unet(torch.zeros(2, 1024), torch.zeros(2), torch.zeros(2, 1024)).shape == (2, 1024)


def test_the_loss_of_an_autoencoder_is_its_three_parts():
    torch.manual_seed(0)
    model, weights = MLPWeightVAE(6, 2, 8), drawn(4, 6)
    loss = model.loss(weights, torch.Generator().manual_seed(0))
    mean, log_variance = model.encode(weights)
    noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    error = weights - model.decode(mean + torch.exp(log_variance / 2) * noise)
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / 4
    wanted = error.abs().sum() / 4 + 1e-6 * kl + 1000 * (error**2).mean()
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        GeneratorConfig(latent=4, hidden=16, steps=20, condition="ordered", condition_width=8, layers=2),
        GeneratorConfig(latent=8, hidden=16, steps=20, condition="set", set_width=8),
        GeneratorConfig(vae="conv", fdim=64, latent_shape=(1, 4, 4), channels=8, mult=(1, 2), steps=20,
                        denoiser="unet", unet_channels=8, unet_mult=(1, 2), condition="set", set_width=8),
    ],
)  # fmt: skip
def test_every_make_of_generator_trains_comes_back_equal_and_gives_heads(config, tmp_path):
    zoo, others, (features, labels) = small_zoo(12)
    model = train_generator(zoo, config, TINY, seed=0)
    again = train_generator(zoo, config, TINY, seed=0)
    support = draw_support(features, labels, others[0], 5, np.random.default_rng(0))
    heads = generate_weights(model, support, 4, 2, rounds=2, steps=10)
    assert [head["weight"].shape for head in heads] == [(3, 4)] * 2
    losses = [support_loss(head, support) for head in heads]
    assert losses == sorted(losses)
    assert torch.equal(generate_weights(again, support, 4, 2, rounds=2, steps=10)[0]["weight"], heads[0]["weight"])
    model.save(tmp_path)
    kept = module_of("d2nwg").load(tmp_path)
    assert torch.equal(generate_weights(kept, support, 4, 2, rounds=2, steps=10)[0]["bias"], heads[0]["bias"])
    near = kept.nearest(zoo[0].support)
    states = [entry.state for entry in zoo]
    assert min((near["weight"] - state["weight"]).abs().max() for state in states) < 1e-5


def test_with_a_set_encoder_heads_follow_the_order_of_the_classes_that_were_asked_for():
    zoo, others, (features, labels) = small_zoo(12)
    model = train_generator(zoo, GeneratorConfig(latent=4, hidden=16, steps=20, condition="set", set_width=8), TINY, 0)
    support, order = draw_support(features, labels, others[0], 5, np.random.default_rng(0)), torch.tensor([2, 0, 1])
    straight = generate_weights(model, support, 2, 1, steps=5)[0]
    turned = generate_weights(model, support[order], 2, 1, steps=5)[0]
    for name, value in with_classes_in_order(straight, order).items():
        assert (turned[name] - value).abs().max() < 1e-5


def test_generated_heads_tell_unseen_combinations_and_not_those_of_another_task():
    zoo, others, (features, labels) = small_zoo(200)
    training = GeneratorTraining(vae_steps=300, steps=600, lr=3e-3, warmup=20, average=0.98)
    model = train_generator(zoo, GeneratorConfig(latent=8, hidden=64, steps=50), training, seed=0)
    rng, right = np.random.default_rng(0), {"own": [], "turned": [], "best": []}
    for classes in others:
        support = draw_support(features, labels, classes, 5, rng)
        rows, numbers = task_rows(labels, classes)
        for name, given, n in (("own", support, 1), ("turned", support.roll(1, 0), 1), ("best", support, 20)):
            head = generate_weights(model, given, n, 1)[0]
            right[name].append(float((head_logits(head, features[rows]).argmax(dim=1) == numbers).float().mean()))
    own, turned, best = (np.mean(right[name]) for name in ("own", "turned", "best"))
    assert own > 0.7
    assert turned < 0.45
    assert best >= own - 0.02


def test_trained_heads_classify_and_tuning_lowers_the_loss():
    features, labels = points(classes=2)
    head = trained_head(features, labels)
    assert head["weight"].shape == (2, 4)
    assert float((head_logits(head, features).argmax(dim=1) == labels).float().mean()) > 0.8
    support = torch.stack([features[labels == 0][:5], features[labels == 1][:5]])
    start = {"weight": 0.1 * drawn(2, 4), "bias": torch.zeros(2)}
    assert support_loss(tune_head(start, support, 5), support) < support_loss(start, support)
    deep = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert torch.allclose(head_logits(deep.state_dict(), features), deep(features))
    with pytest.raises(ValueError, match="at least 2 classes"):
        trained_head(features, torch.zeros_like(labels))
    with pytest.raises(ValueError, match="expected linear layers"):
        head_logits({"weight": torch.zeros(2, 3, 3)}, features)


def test_wrong_zoos_and_supports_are_refused():
    zoo, _, (features, labels) = small_zoo(4)
    model = train_generator(zoo, SMALL, GeneratorTraining(1, align_steps=1, steps=2, warmup=1, batch=4), 0)
    with pytest.raises(ValueError, match="support: expected 3 classes, found 2"):
        generate_weights(model, zoo[0].support[:2])
    with pytest.raises(ValueError, match="keep, rounds: expected 1 to 3"):
        generate_weights(model, zoo[0].support, 3, 4)
    with pytest.raises(ValueError, match="expected finite numbers"):
        generate_weights(model, zoo[0].support / 0)
    with pytest.raises(ValueError, match="at least two heads, found 1"):
        train_generator(zoo[:1], SMALL, TINY, 0)
    other = ZooEntry({"weight": torch.zeros(3, 5), "bias": torch.zeros(3)}, zoo[0].support)
    with pytest.raises(ValueError, match="state: expected"):
        train_generator([zoo[0], other], SMALL, TINY, 0)
    with pytest.raises(ValueError, match="at least 5 samples of each class, found 4"):
        train_generator([ZooEntry(one.state, one.support[:, :4]) for one in zoo], SMALL, TINY, 0)
    with pytest.raises(ValueError, match="at least 99 samples of class 0"):
        draw_support(features, labels, [0, 1], 99, np.random.default_rng(0))


def test_the_command_trains_a_generator_and_emits_heads_for_folders_of_pictures(tmp_path, capsys):
    rng = np.random.default_rng(0)
    colors = np.array([(220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 230), (20, 20, 20)])
    labels = np.arange(100) % 5
    images = (colors[labels][:, None, None] + rng.normal(0, 12, (100, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    frames = Frames(images, np.arange(100), {"label": labels}, {"label": ("red", "green", "blue", "white", "black")})
    write_frames(frames, tmp_path / "data")
    system = module_of("mixed_barlow_twins")
    encoder = system.new(system.Config(width=8, resolution=16), frames, 0).encoder
    encoder.save(tmp_path / "encoder")
    words = ["train", "--encoder", str(tmp_path / "encoder"), "--data", str(tmp_path / "data")]
    words += ["--output", str(tmp_path / "generator"), "--ways", "2", "--heads", "12", "--new-classes", "2"]
    words += ["--tasks", "1", "--cached", "6", "--draws", "2", "--threads", "1", "--training.no-progress"]
    words += ["--training.vae-steps", "30", "--training.steps", "30", "--generator.steps", "20"]
    main([*words, "--generator.latent", "4", "--generator.hidden", "16"])
    printed = capsys.readouterr().out
    assert "unseen combinations:" in printed
    assert "new classes:" in printed
    for place in ("support", "test"):
        for row in range(12 if place == "test" else 6):
            name = ("red", "blue")[row % 2]
            (tmp_path / place / name).mkdir(parents=True, exist_ok=True)
            picture = images[labels == 2 * (row % 2)][row + 3 * (place == "test")]
            cv2.imwrite(str(tmp_path / place / name / f"{row}.png"), picture[..., ::-1])
    words = ["emit", "--generator", str(tmp_path / "generator"), "--encoder", str(tmp_path / "encoder")]
    words += ["--support", str(tmp_path / "support"), "--test", str(tmp_path / "test"), "--draws", "3", "--keep", "2"]
    main([*words, "--output", str(tmp_path / "heads"), "--threads", "1", "--tune", "50"])
    assert "trained on the support" in capsys.readouterr().out
    content = json.loads((tmp_path / "heads" / "heads.json").read_text())
    assert content["classes"] == ["blue", "red"]
    head = load_file(tmp_path / "heads" / "0.safetensors")
    kinds = [2, 0]
    rows = np.flatnonzero(np.isin(labels, kinds))
    vectors = load_encoder(tmp_path / "encoder").encode(frames.pixels(rows))
    told = head_logits(head, vectors).argmax(dim=1).numpy()
    assert (np.array(kinds)[told] == labels[rows]).mean() > 0.9
    encoder.layers[0].bias.data += 1
    encoder.save(tmp_path / "encoder")
    with pytest.raises(ValueError, match="--encoder: expected mixed_barlow_twins_"):
        main([*words, "--output", str(tmp_path / "more")])
