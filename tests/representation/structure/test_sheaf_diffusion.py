from types import SimpleNamespace

import pytest
import torch

from representation.registry import load_model
from representation.structure.sheaf_diffusion import (
    SheafConfig,
    SheafDiffusion,
    SheafLearner,
    coboundary,
    dirichlet_energy,
    heat_flow,
    heterophilic_graph,
    laplacian_blocks,
    orthogonal_maps,
    reverse_edges,
    sheaf_laplacian,
)

KINDS = ("diag", "orthogonal", "general")


def drawn_maps(kind, edges, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(edges, d, d, generator=generator, dtype=torch.float64)
    if kind == "diag":
        return maps[:, 0]
    return torch.linalg.qr(maps).Q if kind == "orthogonal" else maps


def dense_coboundary(maps, edge_index, n):
    """δ written out, row by row of blocks."""
    full = maps.diag_embed() if maps.ndim == 2 else maps
    d, rows = full.shape[1], []
    places = {(int(v), int(u)): place for place, (v, u) in enumerate(edge_index.T)}
    for (v, u), place in places.items():
        if v < u:
            row = torch.zeros(d, n * d, dtype=full.dtype)
            row[:, v * d : v * d + d] = full[place]
            row[:, u * d : u * d + d] = -full[places[u, v]]
            rows.append(row)
    return torch.cat(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_the_laplacian_is_the_coboundary_squared(kind):
    n, d = 12, 3
    edge_index, _ = heterophilic_graph(n, 3, 0.2, 4, seed=1)
    maps = drawn_maps(kind, edge_index.shape[1], d)
    delta = dense_coboundary(maps, edge_index, n)
    laplacian = sheaf_laplacian(maps, edge_index, n, normalise=None).to_dense()
    assert (laplacian - delta.T @ delta).abs().max() < 1e-10
    assert (laplacian - laplacian.T).abs().max() < 1e-12
    assert torch.linalg.eigvalsh(laplacian).min() > -1e-10
    x = torch.randn(n * d, 2, dtype=torch.float64)
    energy = dirichlet_energy(laplacian, x)
    pairs = coboundary(maps, edge_index, x.unflatten(0, (n, d)))
    assert float(energy) == pytest.approx(float(pairs.square().sum()), rel=1e-10)
    values = torch.linalg.eigvalsh(sheaf_laplacian(maps, edge_index, n).to_dense())
    assert values.min() > -1e-10
    assert values.max() < 2
    blocks = laplacian_blocks(maps, edge_index, n)
    if kind == "orthogonal":
        scaled = laplacian_blocks(maps, edge_index, n, orthogonal=True)
        assert torch.allclose(scaled.sparse().to_dense(), blocks.sparse().to_dense())
    assert torch.allclose((blocks @ x.unflatten(0, (n, d))).flatten(0, 1), blocks.sparse().to_dense() @ x)


def test_identity_maps_give_the_laplacian_of_the_graph():
    edge_index, _ = heterophilic_graph(10, 2, 0.5, 4, seed=0)
    maps = torch.eye(3, dtype=torch.float64).expand(edge_index.shape[1], 3, 3)
    adjacency = torch.zeros(10, 10, dtype=torch.float64).index_put(tuple(edge_index), torch.tensor(1.0).double())
    graph = adjacency.sum(dim=1).diag() - adjacency
    assert torch.equal(sheaf_laplacian(maps, edge_index, 10, None).to_dense(), torch.kron(graph, torch.eye(3).double()))


@pytest.mark.parametrize(("method", "sign"), [("cayley", 1), ("exp", 1), ("householder", -1), ("euler", 1)])
def test_orthogonal_maps_are_orthogonal(method, sign):
    for d in (2, 3) if method == "euler" else (2, 3, 4):
        params = torch.randn(20, d * (d - 1) // 2, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
        maps = orthogonal_maps(params, d, method)
        assert (maps.mT @ maps - torch.eye(d)).abs().max() < 1e-6
        expected = sign**d if method == "householder" else sign
        assert torch.allclose(torch.linalg.det(maps), torch.full((20,), float(expected), dtype=torch.float64))
        zero = torch.zeros_like(params, requires_grad=True)
        (orthogonal_maps(zero, d, method) * torch.randn(d, d).double()).sum().backward()
        assert torch.isfinite(zero.grad).all()
        assert (zero.grad != 0).any()


def test_weights_of_edges_scale_both_ends_alike_and_need_no_decomposition():
    torch.manual_seed(0)
    edge_index, _ = heterophilic_graph(12, 3, 0.2, 4, seed=1)
    learner, x = SheafLearner(5, 3, "orthogonal", weights=True).double(), torch.randn(12, 5, dtype=torch.float64)
    maps = learner(x, edge_index)
    squares = maps.mT @ maps
    weights = squares[:, 0, 0]
    assert torch.allclose(squares, weights[:, None, None] * torch.eye(3, dtype=torch.float64))
    assert torch.allclose(weights, weights[reverse_edges(edge_index, 12)])
    assert 0 < weights.min() < weights.max() < 1
    assert weights.std() > 1e-3
    plain, scaled = (
        laplacian_blocks(maps, edge_index, 12, orthogonal=way).sparse().to_dense() for way in (False, True)
    )
    assert torch.allclose(plain, scaled)
    with pytest.raises(ValueError, match="edge_weights: expected orthogonal maps beside them, found diag"):
        SheafConfig(5, 3, kind="diag", edge_weights=True)


OPTIONS = [{}, {"low_pass": True}, {"sparse_learner": True, "second_linear": True}]


@pytest.mark.parametrize("kind", [*KINDS, "weighted"])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_network_follows_its_nodes_and_not_the_order_of_edges(kind, options):
    torch.manual_seed(0)
    edge_index, labels = heterophilic_graph(30, 3, 0.2, 4, seed=2)
    if kind == "weighted":
        kind, options = "orthogonal", {**options, "edge_weights": True}
    config = SheafConfig(5, 3, d=2, hidden=4, layers=3, kind=kind, dropout=0.3, **options)
    model, x = SheafDiffusion(config).eval(), torch.randn(30, 5)
    told = model(x, edge_index)
    assert torch.allclose(told.exp().sum(dim=1), torch.ones(30), atol=1e-5)
    order = torch.randperm(30)
    place = order.argsort()
    assert torch.allclose(model(x[order], place[edge_index]), told[order], atol=1e-5)
    shuffled = edge_index[:, torch.randperm(edge_index.shape[1])]
    assert torch.allclose(model(x, shuffled), told, atol=1e-5)
    assert torch.equal(model.classify(SimpleNamespace(x=x, edge_index=edge_index)), told)
    model.train()(x, edge_index)[torch.arange(30), labels].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all((p.grad != 0).any() for p in model.parameters())


def test_heat_flow_keeps_classes_apart_only_where_the_maps_have_signs():
    generator = torch.Generator().manual_seed(0)
    sides = torch.arange(40) // 20
    pairs = {(int(torch.randint(20, (), generator=generator)), 20 + u) for u in range(20) for _ in range(4)}
    pairs |= {(v, 20 + v) for v in range(20)} | {(v, 20 + (v + 1) % 20) for v in range(20)}  # connected
    once = torch.tensor(sorted(pairs)).T
    edge_index = torch.cat([once, once.flip(0)], dim=1)
    degree = torch.bincount(edge_index[0], minlength=40).double()
    x = torch.randn(40, 8, generator=generator, dtype=torch.float64)
    trivial = torch.ones(edge_index.shape[1], 1, dtype=torch.float64)
    signs = torch.where(sides[edge_index[0]] == 0, 1.0, -1.0).double()[:, None]
    flown = {
        name: heat_flow(sheaf_laplacian(maps, edge_index, 40, augmented=False), x, 200) / degree.sqrt()[:, None]
        for name, maps in (("trivial", trivial), ("signs", signs))
    }
    assert (flown["trivial"] - flown["trivial"].mean(dim=0)).abs().max() < 1e-6
    column = flown["signs"][:, 0]
    told = (column > 0).long()
    assert float((told == sides).double().mean()) in (0.0, 1.0)


def test_a_network_comes_back_equal_and_wrong_graphs_are_refused(tmp_path):
    model = SheafDiffusion(SheafConfig(4, 2, d=2, hidden=3, layers=2, high_pass=True)).eval()
    edge_index, _ = heterophilic_graph(10, 2, 0.1, 3, seed=0)
    model.save(tmp_path)
    x = torch.randn(10, 4)
    assert torch.equal(load_model(tmp_path)(x, edge_index), model(x, edge_index))
    assert model.last_maps.shape == (edge_index.shape[1], 2, 2)
    assert model(x, edge_index[:, :0]).shape == (10, 2)
    for wrong in ([[0], [1]], [[0, 0], [0, 0]], [[0, 1, 0, 1], [1, 0, 1, 0]]):
        with pytest.raises(ValueError, match="every edge once in each direction, no loops"):
            model(x, torch.tensor(wrong))
    with pytest.raises(ValueError, match="expected nodes from 0 to 9"):
        reverse_edges(torch.tensor([[0, 10], [10, 0]]), 10)
    with pytest.raises(ValueError, match="kind: expected diag"):
        SheafConfig(4, 2, kind="flat")


def test_a_drawn_graph_has_the_homophily_that_was_asked_for():
    edge_index, labels = heterophilic_graph(200, 4, 0.1, 8, seed=0)
    same = (labels[edge_index[0]] == labels[edge_index[1]]).float().mean()
    assert float(same) == pytest.approx(0.1, abs=0.05)
    assert edge_index.shape[1] == 200 * 8
    beside = (labels[edge_index[0]] - labels[edge_index[1]]).abs() % 2
    assert float(beside.float().mean()) == pytest.approx(1 - float(same))
