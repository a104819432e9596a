from __future__ import annotations

import pytest
import torch
from torch.func import jacrev

from representation.registry import load_model
from representation.structure.ponet import (
    PoNetConfig,
    PoNetEncoder,
    PoolingMixer,
    chunk_ids,
    marked_segments,
    segment_max,
)

BATCH, LENGTH, DIM, HEADS = 2, 9, 8, 2


def mixer_of(window: int = 3) -> PoolingMixer:
    torch.manual_seed(0)
    return PoolingMixer(DIM, HEADS, window).double()


def steps_of(length: int = LENGTH) -> torch.Tensor:
    return torch.randn(BATCH, length, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_loops(mixer: PoolingMixer, x, ids, mask, special) -> torch.Tensor:
    """The formula of the paper, step by step."""
    found = torch.zeros_like(x)
    size = DIM // HEADS
    for b in range(len(x)):
        valid = [n for n in range(x.shape[1]) if mask[b, n]]
        q, k, o, near, inside = (
            layer(x[b]) for layer in (mixer.query, mixer.key, mixer.fusion, mixer.local, mixer.segment)
        )
        whole = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            mean = torch.stack([q[n, part] for n in valid]).mean(dim=0)
            weights = torch.stack([(mean @ k[n, part]) / size**0.5 for n in valid]).softmax(dim=0)
            whole.append(sum(w * k[n, part] for w, n in zip(weights, valid, strict=True)))
        for n in valid:
            found[b, n] = torch.cat(whole) * o[n]
            if special[b, n]:
                continue
            same = [m for m in valid if ids[b, m] == ids[b, n]]
            around = [m for m in valid if abs(m - n) <= 1 and not special[b, m]]
            found[b, n] += inside[same].amax(dim=0) * o[n] + near[around].amax(dim=0)
    return found


def test_it_is_the_formula_of_the_paper_with_masks_ragged_segments_and_special_steps():
    x, mixer = steps_of(), mixer_of()
    ids = torch.tensor([[0, 1, 1, 1, 1, 2, 3, 3, 3], [0, 1, 1, 2, 2, 2, 2, 3, 4]])
    mask = torch.arange(LENGTH) < torch.tensor([[9], [7]])
    special = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    special[:, 0] = special[0, 5] = True
    expected = by_loops(mixer, x, ids, mask, special)
    assert (mixer(x, ids, mask, special) - expected).abs().max() < 1e-10


def test_padding_changes_nothing_and_nothing_at_all_is_no_nan():
    x, mixer = steps_of(), mixer_of()
    mask = torch.ones(BATCH, LENGTH + 4, dtype=torch.bool)
    mask[:, LENGTH:] = False
    padded = torch.cat([x, 100 * steps_of(4)], dim=1)
    found = mixer(padded, chunk_ids(LENGTH + 4, 3).expand(BATCH, -1), mask)
    alone = mixer(x, chunk_ids(LENGTH + 4, 3)[:LENGTH].expand(BATCH, -1))
    torch.testing.assert_close(found[:, :LENGTH], alone)
    assert (found[:, LENGTH:] == 0).all()
    mask[1] = False
    assert (mixer(padded, None, mask)[1] == 0).all()
    encoder = PoNetEncoder(PoNetConfig(in_features=DIM, dim=16)).double()
    loss = sum(part.square().sum() for part in encoder(padded, mask=mask))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_what_is_local_is_local_and_what_is_not_does_not_mind_the_order():
    mixer, x = mixer_of(), steps_of()[:1]
    torch.nn.init.zeros_(mixer.fusion.weight)
    torch.nn.init.zeros_(mixer.fusion.bias)
    seen = jacrev(lambda y: mixer(y[None])[0])(x[0]).abs().sum(dim=(1, 3)) > 0
    far = (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs() > 1
    assert not seen[far].any()
    assert seen.any(dim=1).all()
    mixer, order = mixer_of(window=1), torch.randperm(LENGTH, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(mixer(x[:, order]), mixer(x)[:, order])
    assert not torch.allclose(mixer_of()(x[:, order]), mixer_of()(x)[:, order])


def test_segments_are_cut_as_published_and_keep_to_themselves():
    assert chunk_ids(64, 8).tolist() == [n // 9 for n in range(64)]
    ids = torch.tensor([[0, 0, 1, 1, 1]])
    x = torch.tensor([[[1.0], [3.0], [-5.0], [-2.0], [-9.0]]])
    assert segment_max(x, ids).ravel().tolist() == [3, 3, -2, -2, -2]


def test_marks_and_sentences_are_segments_of_their_own():
    special = torch.tensor([[1, 0, 0, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0, 1, 1]]).bool()
    assert marked_segments(special).tolist() == [[0, 1, 1, 1, 2, 3, 3, 4], [0, 0, 1, 2, 2, 2, 3, 4]]
    starts = torch.tensor([[0, 1, 0, 1, 0, 1, 0, 0], [1, 0, 0, 1, 0, 1, 0, 0]]).bool()
    assert marked_segments(special, starts).tolist() == [[0, 1, 1, 2, 3, 4, 4, 5], [0, 0, 1, 2, 2, 3, 4, 5]]


def test_it_comes_back_equal_and_wrong_input_is_named(tmp_path):
    encoder = PoNetEncoder(PoNetConfig(in_features=3, max_len=20, segments=4)).eval()
    encoder.save(tmp_path / "encoder")
    steps = torch.randn(2, 20, 3)
    for found, expected in zip(load_model(tmp_path / "encoder")(steps), encoder(steps), strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="steps: expected at most 20, found 21"):
        encoder(torch.randn(1, 21, 3))
    with pytest.raises(ValueError, match="expected one of them, found 0 and 0"):
        PoNetConfig()
