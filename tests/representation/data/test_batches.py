from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from representation.data.batches import BatchOrder, some_episodes


def test_batch_order_visits_each_frame_once_an_epoch_and_can_start_anywhere():
    frames = np.arange(100, 121)
    order = BatchOrder(frames, 4, seed=3)
    batches = [order[number] for number in range(12)]
    epoch = np.concatenate(batches[:5])
    assert len(set(epoch)) == 20
    assert set(epoch) <= set(frames)
    assert not np.array_equal(batches[0], batches[5])
    np.testing.assert_array_equal(BatchOrder(frames, 4, seed=3)[11], batches[11])
    with pytest.raises(ValueError, match="batch_size"):
        BatchOrder(frames, 22, seed=0)


def test_weighted_batches_draw_each_frame_by_its_chance_and_can_start_anywhere():
    frames, weights = np.array([10, 20, 30]), np.array([0.6, 0.0, 0.2])
    order = BatchOrder(frames, 3, seed=3, weights=weights)
    drawn = np.concatenate([order[number] for number in range(1000)])
    shares = [np.mean(drawn == frame) for frame in frames]
    np.testing.assert_allclose(shares, [0.75, 0.0, 0.25], atol=0.03)
    np.testing.assert_array_equal(BatchOrder(frames, 3, seed=3, weights=weights)[11], order[11])
    assert not np.array_equal(order[0], order[1]) or not np.array_equal(order[1], order[2])


def test_a_share_of_the_episodes_keeps_whole_ones_of_every_dataset():
    columns = SimpleNamespace(episode=np.repeat(np.arange(30), 5), dataset=np.repeat([0, 1], [100, 50]))
    frames = np.arange(150)[7:]
    assert some_episodes(columns, frames, 1.0, np.random.default_rng(0)) is frames
    few = some_episodes(columns, frames, 0.2, np.random.default_rng(0))
    assert len(np.unique(columns.episode[few])) == 4 + 2
    assert all((columns.episode[frames] == e).sum() == (columns.episode[few] == e).sum() for e in columns.episode[few])
    one = some_episodes(columns, frames, 0.01, np.random.default_rng(1))
    assert np.unique(columns.dataset[one]).tolist() == [0, 1]
    assert not np.array_equal(few, some_episodes(columns, frames, 0.2, np.random.default_rng(2)))
