import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.transfer.atlas import (
    AnisotropicComposer,
    TaskVector,
    entropy_loss,
    learn_composition,
    negate,
    select_blocks,
    trusted_samples,
    ufm_loss,
)


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)).double().float()


def moved(module, scale=0.1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value + scale * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in module.state_dict().items()
    }


@pytest.fixture
def pool():
    base = network()
    tuned = [moved(base, seed=seed) for seed in (1, 2, 3)]
    return base, tuned, [TaskVector.from_state_dicts(base.state_dict(), one) for one in tuned]


def inputs(rows=20, seed=0):
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


def batches(count=3):
    return [(inputs(seed=seed), torch.arange(20) % 3) for seed in range(count)]


def loss(composer, batch):
    return F.cross_entropy(composer(batch[0]), batch[1])


def test_no_coefficients_are_the_base_and_one_is_what_was_tuned(pool):
    base, tuned, vectors = pool
    composer = AnisotropicComposer(base, vectors)
    assert composer.coef.shape == (3, 6)
    assert torch.equal(composer(inputs()), base(inputs()))
    for number, state in enumerate(tuned):
        with torch.no_grad():
            composer.coef.zero_()[number] = 1.0
        other = network(5)
        other.load_state_dict(state)
        assert (composer(inputs()) - other(inputs())).abs().max() < 1e-6


def test_the_gradient_of_a_coefficient_is_that_of_its_block_along_its_vector(pool):
    base, _, vectors = pool
    composer = AnisotropicComposer(base, vectors)
    loss(composer, batches()[0]).backward()
    F.cross_entropy(base(inputs()), torch.arange(20) % 3).backward()
    gradients = {name: parameter.grad for name, parameter in base.named_parameters()}
    for t, vector in enumerate(vectors):
        for j, name in enumerate(composer.blocks):
            wanted = float((gradients[name] * vector.deltas[name]).sum())
            assert float(composer.coef.grad[t, j]) == pytest.approx(wanted, abs=1e-5)
    assert all(parameter.grad is None for parameter in composer.module.parameters())


def test_granularities_agree_where_they_should(pool):
    base, _, vectors = pool
    tied, free = AnisotropicComposer(base, vectors, "global"), AnisotropicComposer(base, vectors)
    single = AnisotropicComposer(base, vectors, "partition", partitions=1)
    matrices = AnisotropicComposer(base, vectors, keys=["0.weight", "3.weight"])
    scale = torch.tensor([[0.3], [-0.2], [0.7]])
    with torch.no_grad():
        tied.coef.copy_(scale)
        free.coef.copy_(scale.expand_as(free.coef))
        matrices.coef.copy_(scale * torch.tensor([1.0, 2.0]))
        single.coef.copy_(matrices.coef[..., None])
    assert torch.allclose(tied(inputs()), free(inputs()), atol=1e-6)
    assert single.blocks == matrices.blocks == ["0.weight", "3.weight"]
    assert torch.allclose(single(inputs()), matrices(inputs()), atol=1e-6)
    grouped = AnisotropicComposer(base, vectors, "partition", partitions=4, every_shape=True)
    assert grouped.coef.shape == (3, 6, 4)
    with torch.no_grad():
        grouped.coef[0, 0, 2] = 1.0
    changed = grouped.merged_state_dict()["0.weight"] != base.state_dict()["0.weight"]
    again = AnisotropicComposer(base, vectors, "partition", partitions=4, every_shape=True)
    with torch.no_grad():
        again.coef[1, 0, 2] = 1.0
    assert torch.equal(changed, again.merged_state_dict()["0.weight"] != base.state_dict()["0.weight"])
    assert 0.1 < float(changed.double().mean()) < 0.45


def test_the_linearised_composer_errs_by_the_second_order(pool):
    base, _, vectors = pool
    base = base.double()
    exact, linear = (AnisotropicComposer(base, vectors, linearized=one).double() for one in (False, True))
    direction = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = []
    for scale in (0.02, 0.01):
        with torch.no_grad():
            exact.coef.copy_(scale * direction)
            linear.coef.copy_(scale * direction)
        errors.append(float((exact(inputs().double()) - linear(inputs().double())).detach().norm()))
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.4)
    loss(linear, (inputs().double(), torch.arange(20) % 3)).backward()
    assert torch.isfinite(linear.coef.grad).all()
    assert linear.coef.grad.abs().min() > 0
    with pytest.raises(ValueError, match="linearized: expected a composer that is not"):
        linear.merged_state_dict()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(7, 4), nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids):
        return self.out(self.norm(self.table(ids)))


def test_a_merged_state_dict_gives_the_same_network_with_tied_weights_and_buffers():
    base = Tied()
    base.train()(torch.arange(7))
    base.eval()
    tuned = moved(base)
    tuned["out.weight"] = tuned["table.weight"]
    tuned["norm.running_var"] = tuned["norm.running_var"].abs()
    vector = TaskVector.from_state_dicts(base.state_dict(), tuned)
    for keys in (None, ["table.weight", "norm.running_mean", "norm.bias"]):
        composer = AnisotropicComposer(base, [vector], keys=keys)
        with torch.no_grad():
            composer.coef.fill_(0.6)
        fresh = Tied().eval()
        fresh.load_state_dict(composer.merged_state_dict())
        assert (fresh(torch.arange(7)) - composer(torch.arange(7))).abs().max() < 1e-6
        assert torch.equal(fresh.out.weight, fresh.table.weight)
        assert not torch.equal(fresh.table.weight, base.table.weight)
        moved_mean = not torch.equal(fresh.norm.running_mean, base.norm.running_mean)
        assert moved_mean == (keys is not None)
    before = base.norm.running_mean.clone()
    composer.train()(torch.arange(7))
    assert torch.equal(composer.module.norm.running_mean, before)


def test_task_vectors_add_scale_and_apply(pool):
    base, tuned, (first, second, _) = pool
    assert (first - first).norm() == 0
    assert (first + second).dot(first) == pytest.approx(first.norm() ** 2 + second.dot(first), rel=1e-5)
    assert (2 * first).norm() == pytest.approx(2 * first.norm(), rel=1e-6)
    applied = first.apply(base.state_dict(), 1.0)
    assert all(torch.allclose(applied[name], tuned[0][name], atol=1e-6) for name in applied)
    only = TaskVector.from_state_dicts(base.state_dict(), tuned[0], keys=["3.bias"])
    assert list(only.deltas) == ["3.bias"]


def test_coefficients_are_learned_selected_and_come_back(pool, tmp_path):
    base, tuned, vectors = pool
    target = network(5)
    target.load_state_dict(tuned[1])
    data = [(inputs(64, seed), target(inputs(64, seed)).argmax(dim=1)) for seed in range(3)]
    composer = AnisotropicComposer(base, vectors)
    losses = learn_composition(composer, loss, data, lr=0.05, weight_decay=0.0, steps=60, lp=1, gamma=1e-3)
    assert sum(losses[-3:]) < sum(losses[:3])
    composer.save(tmp_path)
    again = AnisotropicComposer(base, vectors)
    again.load(tmp_path)
    assert torch.equal(again(inputs()), composer(inputs()))
    with pytest.raises(ValueError, match=r"coef: expected \(2, 6\)"):
        AnisotropicComposer(base, vectors[:2]).load(tmp_path)
    chosen = AnisotropicComposer(base, vectors)
    learn_composition(chosen, loss, data, steps=20, select=lambda one: -float(one.coef.detach().norm()))
    worst = AnisotropicComposer(base, vectors)
    learn_composition(worst, loss, data, steps=20, select=lambda one: float(one.coef.detach().norm()))
    assert chosen.coef.norm() < worst.coef.norm()


def test_the_blocks_with_the_largest_gradients_are_kept(pool):
    base, _, vectors = pool
    composer = AnisotropicComposer(base, vectors)
    loss(composer, batches()[0]).backward()
    wanted = composer.coef.grad.abs() >= composer.coef.grad.abs().flatten().sort().values[-5]
    kept = select_blocks(composer, loss, batches(1), 5)
    assert torch.equal(kept, wanted)
    assert sum(len(deltas) for deltas in composer._deltas) == 5
    whole = AnisotropicComposer(base, vectors)
    with torch.no_grad():
        composer.coef.fill_(0.4)
        whole.coef.copy_(0.4 * kept)
    assert torch.allclose(composer(inputs()), whole(inputs()), atol=1e-6)
    assert select_blocks(composer, loss, batches(1), 2).sum() == 2
    with pytest.raises(ValueError, match="budget: expected 1 to"):
        select_blocks(composer, loss, batches(1), 0)


def test_forgetting_stops_where_the_control_suffers(pool):
    base, _, vectors = pool
    target = [(x, base(x).argmax(dim=1)) for x, _ in batches(1)]
    measured = iter([(0.9, 1.0), (0.7, 0.97), (0.4, 0.96), (0.1, 0.5), (0.0, 1.0)])
    pairs = {}

    def measure(composer, data):
        if data is target:
            pairs["now"] = next(measured)
            return pairs["now"][0]
        return pairs["now"][1]

    composer = AnisotropicComposer(base, vectors[:1])
    seen = negate(composer, target, batches(), 0.95, loss, measure, lr=0.05, epochs=10)
    assert [one[0] for one in seen] == [0.9, 0.7, 0.4, 0.1]
    left = composer.coef.detach().clone()
    other = AnisotropicComposer(base, vectors[:1])
    quiet = iter([0.9, 0.8, 0.7])
    negate(other, target, batches(), 0.95, loss, lambda _, data: next(quiet) if data is target else 1.0, 0.05, epochs=2)
    assert torch.equal(left, other.coef.detach())  # as it was after two epochs


def test_fixmatch_counts_trusted_and_sure_samples_only():
    weak = torch.tensor([[9.0, 0.0], [0.0, 0.1], [0.1, 0.0]])
    strong = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels, trusted = torch.tensor([0, 0, 0]), torch.tensor([False, True, False])
    sure = weak[0].softmax(0)
    wanted = (-(sure * strong.log_softmax(1)[0]).sum() - strong.log_softmax(1)[1, 0]).detach() / 2
    assert float(ufm_loss(weak, strong, labels, trusted, 0.99).detach()) == pytest.approx(float(wanted), rel=1e-5)
    nothing = ufm_loss(weak[1:], strong[1:], labels[1:], torch.zeros(2, dtype=torch.bool))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert torch.equal(strong.grad, torch.zeros_like(strong))
    logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    found, marked = trusted_samples(logits)
    assert int(marked.sum()) <= 6
    top = logits.softmax(dim=1).topk(2, dim=0).indices
    assert set(marked.nonzero()[:, 0].tolist()) == set(top.flatten().tolist())
    assert all(int(found[row]) in {c for c in range(3) if row in top[:, c]} for row in marked.nonzero()[:, 0])
    even = torch.zeros(4, 2)
    assert float(entropy_loss(even)) == pytest.approx(0.6931472)


def test_what_does_not_fit_is_named(pool):
    base, tuned, vectors = pool
    with pytest.raises(ValueError, match=r"expected the same names, found \['3\.bias'\] missing"):
        TaskVector.from_state_dicts(base.state_dict(), {k: v for k, v in tuned[0].items() if k != "3.bias"})
    with pytest.raises(ValueError, match=r"3\.bias: expected shape \(3,\)"):
        TaskVector.from_state_dicts(base.state_dict(), tuned[0] | {"3.bias": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"0\.weight: expected finite"):
        TaskVector.from_state_dicts(base.state_dict(), tuned[0] | {"0.weight": torch.full((8, 6), torch.nan)})
    with pytest.raises(ValueError, match="granularity: expected block"):
        AnisotropicComposer(base, vectors, "layer")
    with pytest.raises(ValueError, match="task_vectors, partitions: expected some"):
        AnisotropicComposer(base, [])
    with pytest.raises(ValueError, match="nothing: expected a delta of shape None"):
        AnisotropicComposer(base, vectors, keys=["nothing"])
    with pytest.raises(ValueError, match="loss: expected finite"):
        learn_composition(AnisotropicComposer(base, vectors), lambda c, _: c.coef.sum() / 0.0, [0], steps=1)
