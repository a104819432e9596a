import numpy as np
import pytest
import torch
from torch import nn

from representation.selection.benchx import Cases, ReportGenerator, ReportRecipe, Vocabulary
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.relational_memory import (
    ConditionalLayerNorm,
    PlainLayerNorm,
    RelationalMemory,
    draw_report_weights,
    sinusoidal_positions,
)
from representation.selection.benchx.report import fit_report, patch_features
from representation.selection.benchx.report_generator import ReportSizes, repeating
from representation.selection.benchx.vocabulary import words_of

SMALL = ReportSizes(width=16, feedforward=16, layers=2, longest=12)
CORPUS = [
    f"{colour} cube is {side} and {state} ."
    for colour in ("red", "blue")
    for side in ("near", "far")
    for state in ("open", "closed")
]


def plain_step(memory, y, module):
    """The equations for one sample, a head at a time."""
    weights = {name: value.detach().double().numpy() for name, value in module.named_parameters()}

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    width, heads = memory.shape[1], module.attention.heads
    size = width // heads
    seen = np.concatenate([memory, y[None]])
    q, k, v = linear(memory, "attention.query"), linear(seen, "attention.key"), linear(seen, "attention.value")
    found = np.zeros_like(memory)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / np.sqrt(size)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        found[:, part] = scores / scores.sum(axis=1, keepdims=True) @ v[:, part]
    grown = memory + linear(found, "attention.out")
    grown = grown + np.maximum(linear(np.maximum(linear(grown, "mlp.0"), 0), "mlp.2"), 0)
    gates = linear(y, "from_token") + linear(np.tanh(memory), "from_memory")
    return sigmoid(gates[:, :width]) * np.tanh(grown) + sigmoid(gates[:, width:]) * memory


def test_the_memory_follows_its_equations():
    torch.manual_seed(0)
    module = RelationalMemory(32).eval()
    memory, tokens = module.initial(1), torch.randn(1, 6, 32)
    plain = np.eye(3, 32)
    assert np.array_equal(memory[0].numpy(), plain)
    states = module(tokens).detach()
    for number in range(6):
        plain = plain_step(plain, tokens[0, number].double().numpy(), module)
        assert np.abs(states[0, number].view(3, 32).numpy() - plain).max() < 1e-6


def test_norms_divide_by_the_unbiased_deviation():
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    found = PlainLayerNorm(8)(x)
    expected = (x.numpy() - x.numpy().mean(-1, keepdims=True)) / (x.numpy().std(-1, ddof=1, keepdims=True) + 1e-6)
    assert np.allclose(found.detach().numpy(), expected, atol=1e-6)


def test_the_memory_changes_gain_and_shift_of_conditional_norms():
    norm = ConditionalLayerNorm(8, 24)
    draw_report_weights(norm)
    assert all(
        float(bias.detach()[0]) == pytest.approx(0.1) for bias in (norm.gain_mlp[0].bias, norm.shift_mlp[2].bias)
    )
    x, memory = torch.randn(2, 3, 8), torch.randn(2, 3, 24)
    expected = (norm.gain + norm.gain_mlp(memory)) * norm.standardised(x) + norm.shift + norm.shift_mlp(memory)
    assert torch.equal(norm(x, memory), expected)
    assert not torch.allclose(norm(x, memory), norm(x, torch.zeros(2, 3, 24)))


def test_positions_are_sines_and_cosines():
    found = sinusoidal_positions(5, 6)
    assert torch.allclose(found[0], torch.tensor([0.0, 1.0] * 3))
    assert found[3, 2] == pytest.approx(np.sin(3 / 10_000 ** (2 / 6)), abs=1e-6)


def generator_of(seed=0, sizes=SMALL):
    return ReportGenerator(Vocabulary(CORPUS, least=1), 6, sizes, seed)


def test_words_depend_on_earlier_words_and_patches_only():
    model, features = generator_of().eval(), torch.randn(2, 5, 6)
    words = torch.randint(1, len(model.vocabulary), (2, 9))
    told = model(features, words)
    assert torch.allclose(told.exp().sum(-1), torch.ones(2, 9), atol=1e-5)
    changed = words.clone()
    changed[:, 6:] = 1 + changed[:, 6:] % (len(model.vocabulary) - 1)
    assert torch.allclose(model(features, changed)[:, :6], told[:, :6], atol=1e-5)
    assert not torch.allclose(model(features + 1, words), told, atol=1e-3)


def test_writing_word_by_word_gives_what_the_whole_forward_pass_gives():
    model, features = generator_of(3), torch.randn(3, 5, 6)
    told = model.generate(features, beam=1, block_trigrams=False)
    for number, report in enumerate(told):
        numbers = [0]
        for _ in range(SMALL.longest):
            numbers.append(int(model(features[number : number + 1], torch.tensor([numbers]))[0, -1].argmax()))
            if numbers[-1] == 0:
                break
        assert model.vocabulary.decode(numbers[1:]) == report


def likelihood(model, features, words):
    numbers = [0, *(model.vocabulary._numbers[word] for word in words), 0]
    told = model(features, torch.tensor([numbers[:-1]]))
    return float(told[0].gather(1, torch.tensor(numbers[1:])[:, None]).sum().detach())


def test_a_wider_beam_finds_no_less_likely_reports():
    model = generator_of(1, ReportSizes(width=16, feedforward=16, layers=1, longest=6))
    with torch.no_grad():
        model.classify.bias[0] += 1.0
    features = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    greedy, wide = (model.generate(features, beam, False) for beam in (1, 6))
    pairs = [(likelihood(model, f[None], a), likelihood(model, f[None], b)) for f, a, b in zip(features, greedy, wide, strict=True) if len(a) < 6 and len(b) < 6]  # fmt: skip # noqa: E501
    assert pairs
    assert all(b >= a - 1e-4 for a, b in pairs)


def test_blocked_trigrams_do_not_come_back():
    assert repeating([1, 2, 3, 1, 2]) == [3]
    assert repeating([1, 2]) == []
    assert repeating([1]) == []
    model = generator_of(2)
    with torch.no_grad():  # always the same two words: the likelier one for ever, unless it is forbidden
        model.classify.weight.zero_()
        model.classify.bias.fill_(-20.0)
        model.classify.bias[1:3] = torch.tensor([1.0, 0.0])
    features = torch.randn(1, 5, 6)
    (free,) = model.generate(features, beam=1, block_trigrams=False)
    (blocked,) = model.generate(features, beam=2, block_trigrams=True)
    assert len(set(free)) == 1
    assert len(free) == len(blocked) == SMALL.longest
    triples = [tuple(blocked[i : i + 3]) for i in range(len(blocked) - 2)]
    assert len(set(triples)) == len(triples)


def test_the_loss_counts_words_up_to_the_first_end():
    model, features = generator_of().eval(), torch.randn(1, 5, 6)
    words = torch.tensor([[0, 2, 3, 0]])
    likely = model(features, words[:, :-1])[0]
    expected = -(likely[0, 2] + likely[1, 3] + likely[2, 0]) / 3
    assert torch.allclose(model.loss(features, words), expected)
    longer = torch.tensor([[0, 2, 3, 0, 0, 0]])
    assert torch.allclose(model.loss(features, longer), expected, atol=1e-6)


def test_reports_become_numbers_and_words_again():
    vocabulary = Vocabulary(["The red cube.", "the red ball ."] * 2, least=3)
    assert vocabulary.words == (".", "<unk>", "red", "the")
    assert len(vocabulary) == 5
    assert vocabulary.encode("The RED cube!") == [0, 4, 3, 2, 1, 0]
    assert vocabulary.decode([4, 3, 2, 1, 0, 4]) == ["the", "red", "<unk>", "."]
    assert vocabulary.encode("the red " * 10, longest=3) == [0, 4, 3, 4, 0]
    assert words_of("No change; heart-size is normal.\n\nOk.") == [
        "no",
        "change",
        "heart",
        "size",
        "is",
        "normal",
        ".",
        "ok",
        ".",
    ]
    with pytest.raises(ValueError, match="reports: expected words that occur 3 times"):
        Vocabulary(["one two"])


class Corners(nn.Module):
    embed_dim = 3

    def feature_pyramid(self, images):
        return [nn.functional.adaptive_avg_pool2d(images, 20), nn.functional.adaptive_avg_pool2d(images, 2)]


def test_patches_of_both_views_lie_behind_each_other():
    images = torch.rand(2, 2, 3, 16, 16)
    found = patch_features(Corners(), images)
    assert found.shape == (2, 8, 3)
    assert torch.allclose(found[1, 4], images[1, 1, :, :8, :8].mean(dim=(1, 2)))


def coded_cases(count=64):
    """Reports that tell three bits, which the brightness of three corners of two views shows."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (count, 3))
    images = np.zeros((count, 2, 16, 16, 3), np.uint8)
    images[:, 0, :8, :8] = 250 * bits[:, 0, None, None, None]
    images[:, 0, 8:, 8:] = 250 * bits[:, 1, None, None, None]
    images[:, 1, :8, 8:] = 250 * bits[:, 2, None, None, None]
    return Cases(images, reports=[CORPUS[4 * a + 2 * b + c] for a, b, c in bits])


def test_a_generator_learns_to_report_what_two_views_show():
    recipe = ReportRecipe(
        lr=5e-3, batch_size=16, epochs=16, patience=16, beam=1, block_trigrams=False,
        sizes=ReportSizes(width=32, feedforward=32, layers=1, longest=7), pictures=PictureTransform(16, 1.0, False),
    )  # fmt: skip
    splits = (np.arange(48), np.arange(48, 56), np.arange(56, 64))
    found = fit_report(Corners(), coded_cases(), splits, recipe)
    assert found.measure == "bleu_4"
    assert set(found.metrics) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor"}
    assert found.evaluations[0][1] < 0.5
    assert found.value > 0.7
