from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks import ponet
from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.ponet import (
    ATTENTION,
    MIXERS,
    NO_LOCAL,
    NO_SEGMENT,
    PONET,
    Task,
    WrittenOutAttention,
    accuracy,
    pass_bytes,
)
from representation.structure.ponet import PoNetConfig, segment_max


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_learns_which_token_is_there(mixer):
    labels = torch.arange(60) % 2
    steps = torch.randint(2, 5, (60, 12), generator=torch.Generator().manual_seed(0))
    steps[torch.arange(60), torch.arange(60) % 12] = labels
    task = Task(steps, labels, 40, PoNetConfig(vocab=5, dim=16, max_len=12, segments=3, dropout=0.0), 30, 10)
    assert accuracy(task, mixer, 0, BenchOptions()) > 0.7


@pytest.mark.parametrize(("name", "part"), [(NO_LOCAL, "local"), (NO_SEGMENT, "segment")])
def test_what_is_taken_out_of_a_mixer_adds_nothing_and_is_not_learned(name, part):
    torch.manual_seed(0)
    mixer, x, ids = MIXERS[name](8, 2), torch.randn(1, 6, 8), torch.tensor([[0, 0, 1, 1, 1, 2]])
    assert {key for key, one in mixer.named_parameters() if not one.requires_grad} == {f"{part}.weight", f"{part}.bias"}
    pooled = F.max_pool1d(mixer.local(x).transpose(1, 2), 3, 1, 1).transpose(1, 2)
    inside = segment_max(mixer.segment(x), ids)
    both = mixer(x, ids) - mixer._global(x, torch.ones(1, 6, dtype=torch.bool)) * mixer.fusion(x)
    torch.testing.assert_close(both, inside * mixer.fusion(x) if part == "local" else pooled)


def test_attention_that_is_written_out_gives_the_same_and_takes_memory_by_the_square():
    written_out, other = WrittenOutAttention(64, 2), MIXERS[ATTENTION](64, 2)
    other.load_state_dict(written_out.state_dict())
    x = torch.randn(2, 7, 64)
    torch.testing.assert_close(written_out(x, None, None, None), other(x, None, None, None))
    times = {mixer: pass_bytes(mixer, 2048) / pass_bytes(mixer, 1024) for mixer in (written_out, MIXERS[PONET](64, 2))}
    assert list(times.values()) == pytest.approx([4, 2], rel=0.15)


def test_both_are_timed_at_every_length(monkeypatch):
    assert max(ponet.SIZES) == 100_000
    monkeypatch.setattr(ponet, "SIZES", (1000, 10_001))
    monkeypatch.setattr(ponet, "pass_seconds", lambda mixer, size: 1e-6 * size)
    page = ponet.growth().table("it.png")
    assert "| steps | PoNet | attention |" in page
    assert "| 10001 | 10 | 10 |" in page
