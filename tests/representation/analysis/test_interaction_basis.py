import pytest
import torch
from torch import nn

from representation.analysis.interaction_basis import (
    ablate,
    ablate_edges,
    ablation_curve,
    build,
    collect_grams,
    compress,
    edges,
    effective_parameters,
    fold_bias,
    interaction_basis,
    jacobian_gram,
    map_parameters,
    modularity,
    required_directions,
    required_edges,
    synchronized_units,
)
from representation.benchmarks.digit_encoders import perceptron, split_digits, train


def network(widths=(6, 9, 8, 3), activation=nn.ReLU, seed=0):
    return perceptron(widths, seed, activation).double()


def drawn(rows=300, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64) * torch.linspace(0.5, 2, width) + 0.3


@pytest.fixture(scope="module")
def digit_network():
    (x, y), (x_test, _) = split_digits(0)
    model = perceptron((64, 100, 10), 0)
    train(model.parameters(), lambda rows: nn.functional.cross_entropy(model(x[rows]), y[rows]), len(y), 0, 4)
    return model.double(), x_test[:400].double()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh])
def test_folding_biases_changes_no_output_and_keeps_the_constant(activation):
    seq, data = network(activation=activation), drawn()
    folded = fold_bias(seq)
    ones = torch.ones(len(data), 1).double()
    assert (folded(torch.cat([data, ones], dim=1)) - seq(data)).abs().max() < 1e-12
    for layer in (2, 4):
        hidden = folded[:layer](torch.cat([data, ones], dim=1))
        assert (hidden[:, -1] - 1).abs().max() < 1e-12
        assert (hidden[:, :-1] - seq[:layer](data)).abs().max() < 1e-12
    nested = nn.Sequential(seq[:3], nn.LayerNorm(8).double(), seq[3:])
    assert (fold_bias(nested)(torch.cat([data, ones], dim=1)) - nested(data)).abs().max() < 1e-12
    with pytest.raises(ValueError, match="expected at least one nn"):
        fold_bias(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize("mode", ["global", "local", "pca"])
@pytest.mark.parametrize("center", [True, False])
def test_activations_are_uncorrelated_and_gradients_are_one_in_the_basis(mode, center):
    seq, data = network(), drawn()
    bases = build(seq, data, [0, 2, 4], mode, center)
    grams, net = collect_grams(seq, data, [0, 2, 4]), fold_bias(seq)
    rows = torch.cat([data, torch.ones(len(data), 1).double()], dim=1)
    for layer, basis in bases.items():
        moments = basis.C.T @ grams[layer] @ basis.C
        scale = basis.importance.max()
        assert ((moments - basis.importance.diag()).abs() / scale).max() < 1e-8
        assert (basis.C_pinv @ basis.C - torch.eye(basis.C.shape[1])).abs().max() < 1e-8
        assert (basis.importance[int(center) :].diff() <= 0).all()
        if mode == "global":
            gradients = jacobian_gram(net[layer:], net[:layer](rows))
            inner = (basis.C_pinv @ gradients @ basis.C_pinv.T)[int(center) :, int(center) :]
            assert (inner - torch.eye(len(basis))).abs().max() < 1e-8


def test_the_layer_before_ten_logits_has_at_most_ten_directions(digit_network):
    seq, data = digit_network
    (basis,) = build(seq, data, [2]).values()
    (components,) = build(seq, data, [2], "pca").values()
    assert len(basis) == 10
    assert len(components) > 60
    assert basis.rank_act == components.rank_act


def test_a_change_of_coordinates_in_the_network_changes_no_importance(digit_network):
    seq, data = digit_network
    generator = torch.Generator().manual_seed(1)
    turn = torch.randn(100, 100, generator=generator, dtype=torch.float64)
    there, back = nn.Linear(100, 100, bias=False).double(), nn.Linear(100, 100, bias=False).double()
    there.weight.data, back.weight.data = turn, torch.linalg.inv(turn)
    changed = nn.Sequential(*seq[:2], there, back, seq[2])
    (old,), (new,) = (build(net, data, [layer], eps=1e-12).values() for net, layer in ((seq, 2), (changed, 3)))
    assert ((new.importance[1:9] - old.importance[1:9]) / old.importance[1:9]).abs().max() < 1e-8
    hidden = fold_bias(seq)[:2](torch.cat([data, torch.ones(len(data), 1).double()], dim=1))
    moved = torch.cat([hidden[:, :-1] @ turn.T, hidden[:, -1:]], dim=1)
    assert ((moved @ new.C).abs() - (hidden @ old.C).abs())[:, 1:9].abs().max() < 1e-5
    spectra = [build(net, data, [layer], "pca")[layer].importance[1:9] for net, layer in ((seq, 2), (changed, 3))]
    assert ((spectra[1] - spectra[0]) / spectra[0]).abs().min() > 0.1


def test_duplicate_and_unused_neurons_add_no_direction():
    seq, data = network((6, 9, 3)), drawn()
    wider = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).double()
    with torch.no_grad():
        wider[0].weight[:9], wider[0].bias[:9] = seq[0].weight, seq[0].bias
        wider[0].weight[9], wider[0].bias[9] = seq[0].weight[0], seq[0].bias[0]  # a duplicate
        wider[0].weight[10:], wider[0].bias[10:] = 0.0, 0.0  # dead
        wider[2].weight[:, :9], wider[2].weight[:, 9:], wider[2].bias[:] = seq[2].weight, 0.7, seq[2].bias
        wider[2].weight[:, 0] -= 0.7
    assert torch.allclose(wider(data), seq(data))
    old, new = build(seq, data, [2])[2], build(wider, data, [2])[2]
    assert len(new) == len(old) == 3
    assert torch.allclose(new.importance, old.importance, rtol=1e-8)


def test_parameters_of_a_linear_network_are_counted_by_hand():
    torch.manual_seed(0)
    seq = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 3, bias=False)).double()
    data = drawn(40, 5) @ torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])).double()
    # What the two maps do is a matrix (3, 5) on 3 directions of inputs; all of it can be changed.
    assert effective_parameters(seq, data) == 3 * 3
    narrow = nn.Sequential(nn.Linear(5, 2, bias=False), nn.Linear(2, 3, bias=False)).double()
    assert effective_parameters(narrow, drawn(40, 5)) == 2 * (5 + 3 - 2)  # matrices of rank 2
    parameters = list(narrow.parameters())

    def loss(*weights):
        outputs = drawn(40, 5) @ weights[0].T @ weights[1].T
        return (outputs - narrow(drawn(40, 5)).detach()).square().sum(dim=1).mean()

    blocks = torch.autograd.functional.hessian(loss, tuple(p.detach() for p in parameters))
    whole = torch.cat([torch.cat([b.flatten(2).flatten(0, 1) for b in row], dim=1) for row in blocks])
    values = torch.linalg.eigvalsh(whole)
    assert int((values > 1e-8 * values.max()).sum()) == effective_parameters(narrow, drawn(40, 5))
    single = nn.Sequential(nn.Linear(5, 3, bias=False)).double()
    (basis,) = build(single, data, [0], center=False, fold=False).values()
    assert effective_parameters(single, data) == map_parameters(basis.rank_act, 3) == 9


@pytest.mark.parametrize("rule", [("gradient", 1), ("ig", 3), ("trapezoid", 4), ("trapezoid", 0)])
def test_edges_of_a_linear_layer_are_mean_squares_of_what_it_adds(rule):
    seq, data = network((6, 5, 4), nn.Identity), drawn()
    bases = build(seq, data, [0, 2], rule=rule[0], n=rule[1])
    found, last = edges(seq, bases, data, *rule)
    rows = torch.cat([data, torch.ones(len(data), 1).double()], dim=1) @ bases[0].C
    through = fold_bias(seq)[:2](bases[0].C_pinv) @ bases[2].C  # (r, r of the next)
    wanted = (rows[:, :, None] * through).square().mean(dim=0).T[1:, 1:]
    assert (found - wanted).abs().max() < 1e-10
    assert last.shape == (4, len(bases[2]))
    plain = build(seq, data, [0, 2])
    assert torch.allclose(plain[0].importance, bases[0].importance)


def test_random_probes_find_the_gradients_on_average():
    seq, data = network(), drawn(4000)
    exact, guessed = jacobian_gram(seq, data), jacobian_gram(seq, data, probes=4, seed=3)
    assert ((guessed - exact).norm() / exact.norm()) < 0.1


def test_directions_are_left_out_from_the_least_important(digit_network):
    seq, data = digit_network
    basis, components = (build(seq, data, [0], mode)[0] for mode in ("global", "pca"))
    curve = ablation_curve(seq, 0, basis, data)
    assert curve[-1] > 1 - 1e-6
    assert curve[0] < 0.1
    needed = required_directions(seq, 0, basis, data, 0.05)
    assert needed < required_directions(seq, 0, components, data, 0.05)
    assert curve[needed] >= 0.95 - 1e-9 > curve[needed - 1]
    outputs = ablate(seq, 0, basis, len(basis))(data)
    assert (outputs - seq(data)).abs().max() < 0.01
    with pytest.raises(ValueError, match="expected 0 to"):
        ablate(seq, 0, basis, 1000)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("fold", [True, False])
def test_a_compressed_network_is_the_ablated_one_with_fewer_numbers(center, fold):
    if center and not fold:
        with pytest.raises(ValueError, match="center: expected False without a constant"):
            build(network(), drawn(), [0], center=True, fold=False)
        return
    seq, data = network((6, 40, 3)), drawn()
    bases = build(seq, data, [2], center=center, fold=fold)
    small = compress(seq, bases, {2: 2})
    assert (small(data) - ablate(seq, 2, bases[2], 2)(data)).abs().max() < 1e-8
    whole = compress(seq, bases, {2: len(bases[2])})
    assert (whole(data) - seq(data)).abs().max() < 1e-6
    assert [type(part).__name__ for part in small] == ["Linear", "ReLU", "Linear", "Linear"]
    with pytest.raises(ValueError, match=r"enter an nn\.Linear, found 1"):
        compress(seq, build(seq, data, [1]), {1: 2})


def test_two_networks_side_by_side_are_two_modules():
    parts = [network((3, 4, 2), seed=seed) for seed in (0, 1)]
    both = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).double()
    with torch.no_grad():
        for place in (0, 2):
            both[place].weight.copy_(torch.block_diag(*(part[place].weight for part in parts)))
            both[place].bias.copy_(torch.cat([part[place].bias for part in parts]))
    data = drawn(20_000)
    bases = build(both, data, [0, 2], eps=1e-6)
    found = edges(both, bases, data)
    quality, labels = modularity(found, [0.01 * float(one.max()) for one in found], gamma=0.3)
    assert quality > 0.3
    assert not set(labels[-1][:2].tolist()) & set(labels[-1][2:].tolist())
    assert modularity([one.new_zeros(one.shape) for one in found], 1.0)[0] == 0
    with pytest.raises(ValueError, match="expected 2 positive numbers"):
        modularity(found, 0.0)


def test_edges_are_ablated_and_the_needed_ones_counted():
    seq, data = network((6, 5, 3)), drawn()
    bases = build(seq, data, [0, 2])
    strengths = edges(seq, bases, data)[0]
    everything = ablate_edges(seq, 0, bases, torch.ones_like(strengths, dtype=torch.bool), data)
    assert (everything - seq(data)).abs().max() < 1e-6

    def closeness(outputs):
        return -float((outputs - seq(data)).detach().square().mean())

    count, weakest = required_edges(seq, 0, bases, strengths, data, closeness, -0.01)
    kept = strengths >= weakest
    assert int(kept.sum()) == count < strengths.numel()
    assert closeness(ablate_edges(seq, 0, bases, kept, data)) >= -0.01


def test_planted_synchronised_units_are_found_and_random_ones_are_not():
    layer, data = network((6, 12, 3))[:1], drawn(2000)
    assert synchronized_units(layer(data)).groups == []
    with torch.no_grad():
        for unit in (4, 9):
            layer[0].weight[unit], layer[0].bias[unit] = 2 * layer[0].weight[1], 2 * layer[0].bias[1]
        layer[0].weight[[0, 2]], layer[0].bias[[0, 2]] = 0.0, -1.0  # never fire
    found = synchronized_units(layer(data))
    assert found.groups == [[1, 4, 9]]
    assert found.free_parameters == 6
    noisy = layer(data)
    noisy[0, 4] *= -1
    assert synchronized_units(noisy).groups == [[1, 9]]
    assert synchronized_units(noisy, delta=0.001).groups == [[1, 4, 9]]


def test_wrong_arguments_are_named():
    seq, data = network(), drawn()
    with pytest.raises(ValueError, match="layers: expected numbers from 0 to 5"):
        build(seq, data, [6])
    with pytest.raises(ValueError, match="mode: expected global, local or pca"):
        build(seq, data, [0], "all")
    with pytest.raises(ValueError, match="data: expected finite"):
        build(seq, data * float("nan"), [0])
    with pytest.raises(ValueError, match=r"G, K: expected two finite \(d, d\)"):
        interaction_basis(torch.eye(3), torch.eye(4))
    with pytest.raises(ValueError, match="ends with the constant 1"):
        interaction_basis(torch.eye(3), torch.eye(3), mean=torch.zeros(3))
    with pytest.raises(ValueError, match="rule, n: expected"):
        jacobian_gram(seq, data, rule="simpson")
