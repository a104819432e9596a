import pytest
import torch

from representation.benchmarks.peak_memory import peak_bytes


def several_tensors():
    first = torch.zeros(1_000_000)
    second = first + 1
    del first
    third = second * 2
    del second, third
    return torch.zeros(10)


def test_the_most_that_is_held_at_a_time_is_told():
    assert peak_bytes(several_tensors) == pytest.approx(8_000_000, rel=0.01)
    kept = torch.zeros(5_000_000)
    assert peak_bytes(lambda: kept.add_(1)) < 10_000
