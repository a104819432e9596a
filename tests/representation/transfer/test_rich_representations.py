from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from representation.benchmarks.rich_representations import (
    MEMBERS,
    STRENGTH,
    DigitNet,
    accuracy,
    member_net,
    source_and_target,
)
from representation.data.frames import Frames, write_frames
from representation.embedding import embed
from representation.image_tower import TowerConfig, TowerEncoder
from representation.interface import Encoder
from representation.registry import load_encoder, module_of
from representation.transfer.concatenate import main
from representation.transfer.rich_representations import (
    CatEncoder,
    Classifier,
    DistillConfig,
    FinetuneConfig,
    LinearProbe,
    Member,
    MultiHeadDistiller,
    ParallelBranches,
    Samples,
    TrainConfig,
    all_vectors,
    concat_heads,
    cosine_head,
    few_shots,
    finetune_jointly,
    linear_probe,
    load_released,
    richness_report,
    train_members,
    train_parallel,
    two_stage_finetune,
)

SHORT = TrainConfig(epochs=4, batch=16)


@pytest.fixture
def hasty_probes(monkeypatch):
    """Probes that do few steps, for tests that are about something else."""
    monkeypatch.setattr(linear_probe, "LEAST_STEPS", 10)
    monkeypatch.setattr(linear_probe, "EPOCHS", 10)


class Normed(nn.Module):
    """An encoder with statistics that training mode would change."""

    modality = "image"

    def __init__(self, width, seed):
        super().__init__()
        self.width, self.norm, self.linear = width, nn.BatchNorm1d(6), nn.Linear(6, width)
        with torch.no_grad():
            self.linear.weight.normal_(generator=torch.Generator().manual_seed(seed))
            self.linear.bias.zero_()

    def encode(self, x):
        return self.linear(self.norm(x)).relu()


def blobs(count=60, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = 3 * torch.randn(classes, 6, generator=generator)
    return Samples(centres[labels] + torch.randn(count, 6, generator=generator), labels)


def test_a_concatenation_is_its_members_side_by_side_and_leaves_their_statistics_alone(hasty_probes):
    members = [Normed(4, 0), Normed(2, 1), Normed(5, 2)]
    for member in members:
        member.train()
        member.encode(torch.randn(32, 6, generator=torch.Generator().manual_seed(5)) + 2)
        member.eval()
    before = [copy.deepcopy(member.norm.running_mean) for member in members]
    samples = blobs()
    cat = CatEncoder(members).train()
    vectors = cat(samples.inputs)
    assert torch.equal(vectors, torch.cat([member.encode(samples.inputs) for member in members], dim=1))
    for member, place in zip(members, cat.slices, strict=True):
        assert torch.equal(vectors[:, place], member.encode(samples.inputs))
    LinearProbe(3).fit(all_vectors(cat, samples.inputs), samples.labels)
    fit = Classifier(cat, nn.Linear(cat.width, 3))
    fit.train()
    nn.functional.cross_entropy(fit(samples.inputs), samples.labels).backward()
    assert not any(member.training for member in members)
    assert all(torch.equal(member.norm.running_mean, old) for member, old in zip(members, before, strict=True))
    assert all(parameter.grad is None for parameter in cat.parameters())
    unit = CatEncoder(members, "l2")(samples.inputs)
    lengths = torch.stack([unit[:, place].norm(dim=1) for place in cat.slices])
    assert ((lengths - 1).abs() < 1e-6).logical_or(lengths == 0).all()


def test_joined_heads_give_the_mean_or_the_sum_of_the_members_logits():
    members, x = [Normed(width, width).eval() for width in (4, 2, 5)], torch.randn(7, 6)
    heads = [nn.Linear(member.width, 3) for member in members]
    logits = torch.stack([head(member.encode(x)) for head, member in zip(heads, members, strict=True)])
    vectors = CatEncoder(members)(x)
    assert (concat_heads(heads)(vectors) - logits.mean(dim=0)).abs().max() < 1e-6
    assert (concat_heads(heads, average=False)(vectors) - logits.sum(dim=0)).abs().max() < 1e-5
    with pytest.raises(ValueError, match=r"one number of classes, found \[3, 4\]"):
        concat_heads([nn.Linear(2, 3), nn.Linear(2, 4)])


def test_distillation_costs_nothing_where_all_teachers_are_told_and_teaches_only_the_student():
    teacher, x = Normed(4, 0).eval(), torch.randn(20, 6)
    heads = [nn.Linear(4, 3) for _ in range(2)]
    same = MultiHeadDistiller(copy.deepcopy(teacher), [teacher, teacher], heads)
    for own, head in zip(same.student_heads, heads, strict=True):
        own.load_state_dict(head.state_dict())
    assert same.loss(x).item() < 1e-7
    other = MultiHeadDistiller(Normed(4, 3), [teacher, teacher], heads)
    other.loss(x).backward()
    assert all(parameter.grad is None for parameter in [*other.teachers.parameters(), *other.heads.parameters()])
    trained = [*other.student.parameters(), *other.student_heads.parameters()]
    assert all(parameter.grad is not None for parameter in trained)


def test_at_high_temperature_distillation_is_half_the_mean_squared_difference_of_centred_logits():
    teacher, x = Normed(4, 0).eval().double(), torch.randn(50, 6, dtype=torch.float64)
    head = nn.Linear(4, 5).double()
    distiller = MultiHeadDistiller(Normed(4, 1).eval().double(), [teacher], [head], temperature=100.0).double()
    wanted, told = head(teacher.encode(x)), distiller.student_heads[0](distiller.student.encode(x))
    centred = [logits - logits.mean(dim=1, keepdim=True) for logits in (wanted, told)]
    limit = 0.5 * (centred[0] - centred[1]).square().mean()
    assert distiller.loss(x).item() == pytest.approx(limit.item(), rel=0.01)


def test_five_trainings_know_more_directions_than_one_and_copies_know_no_more():
    source, _ = source_and_target(0)
    members = train_members(member_net, source[0], 5, range(5), TrainConfig(epochs=8, batch=32))
    encoders = [member.encoder for member in members]

    def rank(encoder):
        vectors = all_vectors(encoder, torch.cat([part.inputs for part in source])[:1000]).double()
        spread = vectors.std(dim=0)
        kept = vectors[:, spread > 1e-6]
        return int(torch.linalg.matrix_rank((kept - kept.mean(dim=0)) / kept.std(dim=0)))

    single = np.mean([rank(encoder) for encoder in encoders])
    assert rank(CatEncoder(encoders)) >= 2 * single
    assert rank(CatEncoder([encoders[0]] * 5)) == rank(encoders[0])


def test_copies_of_one_training_tell_what_it_tells_where_they_cost_as_much():
    source, target = source_and_target(0)
    (member,) = train_members(member_net, source[0], 1, [0], TrainConfig(epochs=12, batch=32))
    copies = CatEncoder([member.encoder] * MEMBERS)
    assert accuracy(copies, target, STRENGTH / MEMBERS) == pytest.approx(accuracy(member.encoder, target), abs=0.01)


def test_five_trainings_tell_more_of_unseen_digits_than_one():
    gains = []
    for seed in range(2):
        source, target = source_and_target(seed)
        members = train_members(member_net, source[0], 5, range(5), TrainConfig(epochs=12, batch=32))
        single = np.mean([accuracy(member.encoder, target) for member in members])
        gains.append(accuracy(CatEncoder([member.encoder for member in members]), target) - single)
    assert np.mean(gains) > 0.03


def test_members_differ_by_seed_and_snapshots_lie_along_one_training():
    samples = blobs()
    first, second, again = (
        train_members(lambda seed: Normed(4, seed), samples, 1, [seed], SHORT)[0] for seed in (0, 1, 0)
    )
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, second.head.weight)
    states = train_members(lambda seed: Normed(4, seed), samples, 2, [0], SHORT, snapshots=True)
    assert torch.equal(states[-1].head.weight, first.head.weight)
    assert not torch.equal(states[0].head.weight, states[1].head.weight)


def test_a_probe_is_one_layer_that_learns_under_the_decay_that_holds_out_best(monkeypatch):
    monkeypatch.setattr(linear_probe, "LEAST_STEPS", 40)
    samples = blobs(120)
    inputs = samples.inputs * torch.tensor([1, 100, 0.01, 1, 1, 1]) + 5
    probe = LinearProbe(3, weight_decays=(1e-4, 5e-2)).fit(inputs[:90], samples.labels[:90])
    assert probe.score(inputs[90:], samples.labels[90:]) > 0.9
    assert probe.weight_decay in (1e-4, 5e-2)
    assert isinstance(probe.head(), nn.Linear)
    strong = LinearProbe(3, weight_decays=(1.0,)).fit(inputs, samples.labels)
    assert strong.logits(inputs).std() < 0.5 * probe.logits(inputs).std()
    val = (inputs[90:], samples.labels[90:])
    assert LinearProbe(3, weight_decays=(30.0, 5e-4)).fit(inputs[:90], samples.labels[:90], val).weight_decay == 5e-4
    one_each = LinearProbe(3, weight_decays=(1e-4, 4e-4)).fit(inputs[:3], samples.labels[:3])
    assert one_each.weight_decay == 4e-4
    cosine = LinearProbe(3, batch_norm=False, cosine=10.0).fit(samples.inputs, samples.labels)
    assert cosine.score(samples.inputs, samples.labels) > 0.9
    assert (cosine.logits(7 * samples.inputs) - cosine.logits(samples.inputs)).abs().max() < 1e-4
    assert cosine_head(6, 3, 2.0)(samples.inputs).abs().max() <= 2 + 1e-5


def test_tuning_in_two_stages_leaves_the_members_and_beats_guessing():
    samples = blobs(90)
    members = train_members(lambda seed: Normed(4, seed), samples, 2, [0, 1], SHORT)
    before = copy.deepcopy(members[0].encoder.state_dict())
    config = FinetuneConfig(TrainConfig(epochs=8, batch=16, lr=0.02), weight_decays=(0.0, 1e-4))
    for model in (two_stage_finetune(members, samples, config), finetune_jointly(members, samples, config.each)):
        assert float((model(samples.inputs).argmax(dim=1) == samples.labels).float().mean()) > 0.8
    assert all(torch.equal(value, before[name]) for name, value in members[0].encoder.state_dict().items())


def test_branches_of_one_training_all_learn_together():
    branches = ParallelBranches([Normed(4, 0), Normed(2, 1)], 3, torch.Generator().manual_seed(0))
    samples = blobs()
    nn.functional.cross_entropy(branches(samples.inputs), samples.labels).backward()
    assert all(parameter.grad is not None for parameter in branches.parameters())
    model = train_parallel(lambda seed: Normed(4, seed), samples, 2, 0, SHORT)
    assert model.encoder.width == 8
    assert not torch.equal(model.encoder.encoders[0].linear.weight, model.encoder.encoders[1].linear.weight)


def test_the_report_compares_members_all_together_and_others(hasty_probes):
    members = train_members(lambda seed: Normed(4, seed), blobs(), 2, [0, 1], SHORT)
    student = MultiHeadDistiller(Normed(4, 7), [m.encoder for m in members], [m.head for m in members]).fit(
        [blobs().inputs] * 3, DistillConfig(epochs=3)
    )
    report = richness_report(members, (blobs(), blobs(seed=0)), blobs(seed=3), 5, {"distilled": student}, draws=2)
    assert list(report.index) == ["single (mean)", "single (best)", "cat", "distilled"]
    assert report.loc["cat", "width"] == 8
    assert report.loc["cat", "gain"] == pytest.approx(
        report.loc["cat", "target"] - report.loc["single (mean)", "target"]
    )
    assert ((report[["source", "target"]] > 0.33) & (report[["source", "target"]] <= 1)).all(axis=None)


def test_pictures_and_clouds_are_one_encoder_which_comes_back_equal(tmp_path):
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(6, 512, 3)).astype(np.float32)
    images = rng.integers(0, 255, (6, 32, 32, 3)).astype(np.uint8)
    frames = Frames(images, np.arange(6), {"points": clouds})
    parts = [module_of(name).new(module_of(name).Config(), frames, 0).encoder for name in ("mochi", "i2p_mae")]
    alone = [embed(part.eval(), frames) for part in parts]
    cat = CatEncoder(parts).eval()
    assert isinstance(cat, Encoder)
    assert cat.modality == "several"
    cat.save(tmp_path)
    again = load_encoder(tmp_path)
    np.testing.assert_array_equal(embed(again, frames), np.concatenate(alone, axis=1))
    with pytest.raises(ValueError, match=r"inputs: expected \['image', 'points'\]"):
        again.encode(torch.zeros(1, 3, 32, 32))


def test_weights_of_the_reference_are_read_as_members_and_one_head(tmp_path):
    torch.manual_seed(0)
    config = TowerConfig("resnet18", 2, 224, "large", pool=True)
    towers = [TowerEncoder(config, "rich_representations").eval() for _ in range(2)]
    norm, last = nn.BatchNorm1d(32).eval(), nn.Linear(32, 3)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    state = {
        f"module.model{number}.{k}": v
        for number, tower in enumerate(towers)
        for k, v in tower.tower.state_dict().items()
    }
    state |= {
        f"module.classifier.{n}.{k}": v for n, part in enumerate((norm, last)) for k, v in part.state_dict().items()
    }
    torch.save({"state_dict": state | {"module.model0.fc.weight": torch.zeros(2, 16)}}, tmp_path / "cat.pth")
    cat, head = load_released(tmp_path / "cat.pth")
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        vectors = torch.cat([tower.encode(x) for tower in towers], dim=1)
        assert torch.equal(cat.encode(x), vectors)
        assert (head(vectors) - last(norm(vectors))).abs().max() < 1e-5
        cat.save(tmp_path / "cat")
        assert torch.equal(load_encoder(tmp_path / "cat").encode(x), vectors)
    torch.save({"model1.conv1.weight": torch.zeros(2, 3, 7, 7)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: expected residual networks side by side.*found \[1\]"):
        load_released(tmp_path / "other.pth")


def test_the_command_leaves_encoders_to_load_and_a_report(hasty_probes, tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    colors = np.array([(220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 230)])
    images = (colors[labels][:, None, None] + rng.normal(0, 12, (80, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    names = {"label": ("red", "green", "blue", "white")}
    write_frames(Frames(images, np.arange(80), {"label": labels}, names), tmp_path / "data")
    words = ["--data", str(tmp_path / "data"), "--system", "mixed_barlow_twins", "--set", "width=8"]
    words += ["--set", "width=8", "resolution=16", "--members", "2", "--epochs", "2", "--distill-epochs", "1"]
    words += ["--shots", "3", "--draws", "1", "--threads", "1", "--finetune.each.epochs", "2"]
    main([*words, "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "as large, trained as one" in printed
    assert "two stages" in printed
    assert load_encoder(tmp_path / "out" / "cat").width == 16
    assert load_encoder(tmp_path / "out" / "distilled").width == 8
    assert load_encoder(tmp_path / "out" / "finetuned").width == 16
    assert (tmp_path / "out" / "report.csv").read_text().startswith(",width,source,target,spread,gain")
    runs = [str(tmp_path / "out" / "cat" / "members" / str(number)) for number in range(2)]
    words = ["--data", str(tmp_path / "data"), "--distill-epochs", "1", "--shots", "3", "--draws", "1"]
    main(
        [*words, "--finetune.each.epochs", "2", "--threads", "1", "--runs", *runs, "--output", str(tmp_path / "again")]
    )
    assert load_encoder(tmp_path / "again" / "distilled").width == 8


def test_wrong_encoders_samples_and_seeds_are_refused():
    x = torch.zeros(4, 6)
    with pytest.raises(ValueError, match="at least one, found none"):
        CatEncoder([])
    with pytest.raises(ValueError, match=r"expected modality, width and encode"):
        CatEncoder([nn.Linear(2, 2)])
    with pytest.raises(ValueError, match=r"expected at least two classes, found \[1\]"):
        train_members(lambda seed: Normed(4, seed), Samples(x, torch.ones(4, dtype=torch.int64)), 1, [0], SHORT)
    with pytest.raises(ValueError, match="expected finite numbers"):
        Samples(x / 0, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected 3 rows as there are labels, found 4"):
        Samples(x, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected 2 different ones for 2 members"):
        train_members(lambda seed: Normed(4, seed), blobs(), 2, [1, 1], SHORT)
    with pytest.raises(ValueError, match="expected fewer than the 20 samples of class 0, found 20"):
        few_shots(blobs().labels, 20, torch.Generator())
    with pytest.raises(ValueError, match="heads: expected one for each of 1 teachers, found 2"):
        MultiHeadDistiller(Normed(4, 0), [Normed(4, 0)], [nn.Linear(4, 2)] * 2)
    with pytest.raises(ValueError, match="head: expected 4 inputs as its teacher gives"):
        MultiHeadDistiller(Normed(4, 0), [Normed(4, 0)], [nn.Linear(5, 2)])
    with pytest.raises(ValueError, match="labels: expected 0 to 1"):
        LinearProbe(2).fit(x, torch.tensor([0, 1, 2, 0]))
    one = Samples(x[:3], torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="at least two samples of class 0"):
        two_stage_finetune([Member(Normed(4, 0), nn.Linear(4, 2))], one, FinetuneConfig())
    assert DigitNet(4, 2, 0).width == 2
