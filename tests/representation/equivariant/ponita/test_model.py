from types import SimpleNamespace

import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.equivariant.ponita import Ponita
from representation.equivariant.ponita.layers import SeparableFiberConv
from representation.equivariant.ponita.orientations import orientation_grid

POINTS = 12


def network(dim=3, num_ori=12, radius=None, task="node", grid=None, seed=0, dtype=torch.float64):
    """A PONITA with random weights, calibrated."""
    torch.manual_seed(seed)
    vectors = 0 if num_ori == 0 else 2
    model = Ponita(1, vectors, 32, 3, vectors, 3, dim=dim, num_ori=num_ori, radius=radius, task=task, grid=grid)
    model = model.to(dtype)
    with torch.no_grad():
        model(*cloud(dim, num_ori != 0, dtype=dtype))
    return model.eval()


def cloud(dim=3, with_vectors=True, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    pos, scalars, vectors = (
        torch.randn(POINTS, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((dim,), (1,), (2, dim))
    )
    return pos, scalars, vectors if with_vectors else None


def turn_error(model, inputs, turn):
    """Largest error of scalars, and the relative one of vectors, after a rotation."""
    pos, scalars, vectors = inputs
    turned = vectors @ turn.T if vectors is not None else None
    with torch.no_grad():
        before, after = model(pos, scalars, vectors), model(pos @ turn.T + 3.0, scalars, turned)
    error = float((after[0] - before[0]).norm() / before[0].norm())
    if before[1] is None:
        return error, 0.0
    moved = before[1] @ turn.T
    return error, float((after[1] - moved).norm() / moved.norm())


def rotations(count, seed=0):
    return torch.from_numpy(Rotation.random(count, rng=seed).as_matrix())


@pytest.mark.parametrize(("dim", "num_ori"), [(2, 8), (3, 12), (2, 0), (3, 0), (2, -1), (3, -1)])
def test_moved_and_renumbered_clouds_give_the_same(dim, num_ori):
    model = network(dim, num_ori, dtype=torch.float32)
    pos, scalars, vectors = cloud(dim, num_ori != 0, dtype=torch.float32)
    order = torch.randperm(POINTS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(pos, scalars, vectors)
        moved = model(pos + 0.7, scalars, vectors)
        mixed = model(pos[order], scalars[order], None if vectors is None else vectors[order])
    for one, other, shuffled in zip(plain, moved, mixed, strict=True):
        if one is not None:
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(shuffled, one[order], atol=1e-5, rtol=1e-5)


def test_the_symmetries_of_a_grid_are_exact():
    in_plane, in_space = network(2, 8), network(3, 12)
    for number in range(8):
        angle = torch.tensor(number * torch.pi / 4, dtype=torch.float64)
        turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        assert max(turn_error(in_plane, cloud(2), turn)) < 1e-6
    group = Rotation.create_group("I").as_matrix()
    # The group of SciPy may be about other axes than our vertices: bring it there.
    grid = orientation_grid(3, 12)
    fitting = [turn for turn in torch.from_numpy(group) if float((grid @ turn.T @ grid.T).amax(dim=1).min()) > 1 - 1e-9]
    assert len(fitting) == 60
    for turn in fitting:
        assert max(turn_error(in_space, cloud(), turn)) < 1e-6


def test_other_rotations_are_as_exact_as_the_grid_is_fine():
    coarse, fine = network(num_ori=12), network(num_ori=96)
    errors = {
        name: sum(turn_error(model, cloud(), turn)[1] for turn in rotations(20)) / 20
        for name, model in (("coarse", coarse), ("fine", fine))
    }
    assert 1e-6 < errors["coarse"] < 0.08
    assert 1e-6 < errors["fine"] < 0.02


@pytest.mark.parametrize("num_ori", [0, -1])
def test_without_a_grid_every_rotation_is_exact(num_ori):
    model = network(num_ori=num_ori)
    for turn in rotations(5):
        assert max(turn_error(model, cloud(with_vectors=num_ori != 0), turn)) < 1e-10


def test_a_neighbour_fades_out_before_it_is_gone():
    model = network(radius=1.5)
    base, scalars, vectors = cloud()
    found = []
    for reach in (1.5 - 1e-7, 1.5 + 1e-7):
        pos = torch.cat([0.05 * base[:1], torch.zeros(1, 3, dtype=torch.float64)])
        pos[1, 0] = pos[0, 0] + reach
        pos[1, 1:] = pos[0, 1:]
        with torch.no_grad():
            found.append(model(pos, scalars[:2], vectors[:2]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_clouds_of_a_batch_are_apart_and_graphs_are_sums_of_points():
    node, graph = network(), network(task="graph")
    graph.load_state_dict(node.state_dict())
    first, second = cloud(seed=1), cloud(seed=2)
    both = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    number = torch.arange(2).repeat_interleave(POINTS)
    with torch.no_grad():
        alone, together, summed = node(*first), node(*both, batch=number), graph(*both, batch=number)
    for one, many, total in zip(alone, together, summed, strict=True):
        torch.testing.assert_close(many[:POINTS], one)
        torch.testing.assert_close(total[0], one.sum(dim=0))


def test_given_edges_are_used_and_graphs_are_taken_as_they_come():
    model = network()
    pos, scalars, vectors = cloud()
    edges = torch.tensor([[0, 1, 2], [1, 2, 3]])
    with torch.no_grad():
        given = model(pos, scalars, vectors, edges)
        graph = SimpleNamespace(pos=pos, x=scalars, vec=vectors, edge_index=edges)
        torch.testing.assert_close(model.of_graph(graph)[1], given[1])
        moved = pos.clone()
        moved[11] += 1.0  # a point that nobody is told of
        torch.testing.assert_close(model(moved, scalars, vectors, edges)[0][:4], given[0][:4])
        moved[0] += 1.0
        assert not torch.allclose(model(moved, scalars, vectors, edges)[0][1], given[0][1])


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="num_ori: expected orientations"):
        Ponita(1, 1, 8, 1, 0, 1, num_ori=0)
    model = network()
    pos, scalars, _ = cloud()
    with pytest.raises(ValueError, match="pos, scalars, vectors"):
        model(pos, scalars)


def test_the_first_pass_in_training_calibrates_and_no_other():
    torch.manual_seed(0)
    conv, grid = SeparableFiberConv(16, 8), orientation_grid(3, 12).float()
    edges = torch.randint(20, (2, 100))
    basis, fiber = torch.rand(100, 12, 8), torch.rand(len(grid), len(grid), 8)
    x = 3 * torch.randn(20, 12, 16)
    untouched = conv.eval().kernel.weight.clone()
    conv(x, edges, basis, fiber)
    assert torch.equal(conv.kernel.weight, untouched)
    out = conv.train()(x, edges, basis, fiber)
    assert float(out.detach().std() / x.std()) == pytest.approx(1, abs=0.01)
    weights = [parameter.clone() for parameter in conv.parameters()]
    torch.testing.assert_close(conv(x, edges, basis, fiber), out)
    conv(5 * x, edges, basis, fiber)
    assert all(torch.equal(a, b) for a, b in zip(weights, conv.parameters(), strict=True))
