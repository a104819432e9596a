import copy

import mujoco
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from representation.generative.progae import (
    ChainCode,
    Chains,
    LatentSampler,
    ProGAE,
    ProGAEConfig,
    bond_orientations,
    chain_from_mujoco,
    contact_map,
    disentanglement,
    frenet_chains,
    helix_hinge,
    kabsch,
    open_chains,
    read_backbone,
    read_chains,
    reconstruction,
    shape_goals,
    train,
    transfer,
    write_chains,
)
from representation.generative.progae.ensembles import main as draw_ensemble
from representation.generative.progae.fit import main as fit
from representation.generative.progae.geometry import mean_curvature, mean_direction, random_rotations
from representation.generative.progae.shape_goals import main as write_goals
from representation.registry import load_model

NODES = 16


def chains(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return frenet_chains(count, NODES, 0)[0].to(dtype)


def model_of(dtype: torch.dtype = torch.float32, **weights: float) -> ProGAE:
    config = ProGAEConfig(NODES, bond=1 / (NODES - 1), **weights)
    return ProGAE(NODES, config=config).to(dtype).eval()


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_the_code_of_shape_stays_under_rigid_motions_and_mirroring(dtype, most):
    model, x = model_of(dtype), chains(1, dtype)
    rotations = random_rotations(100, torch.Generator().manual_seed(1), dtype)
    shifts = torch.randn(100, 1, 3, generator=torch.Generator().manual_seed(2), dtype=dtype)
    with torch.no_grad():
        code, moved = model.encode(x), model.encode(x @ rotations.mT + shifts)
        mirrored = model.encode(x * torch.tensor([1, 1, -1], dtype=dtype))
    assert (moved.intrinsic - code.intrinsic).abs().max() < most
    assert (mirrored.intrinsic - code.intrinsic).abs().max() < most
    assert (mirrored.extrinsic - code.extrinsic).norm() > 1e-2 * code.extrinsic.norm()


@torch.no_grad()
def test_the_code_of_directions_stays_under_shifts_and_scale_and_not_under_turns():
    model, x = model_of(), chains(8)
    code = model.encode(x).extrinsic
    assert (model.encode(x + torch.tensor([1.0, -2.0, 0.5])).extrinsic - code).abs().max() < 1e-5
    assert (model.encode(2 * x).extrinsic - code).abs().max() < 1e-5
    turns = random_rotations(8, torch.Generator().manual_seed(1))
    apart = (model.encode(x @ turns.mT).extrinsic - code).norm(dim=1)
    assert (apart > 1e-2 * code.norm(dim=1)).all()


def test_gradients_of_maps_and_directions_are_right_and_finite_where_nodes_coincide():
    x = chains(1, torch.float64)[:, :6].contiguous().requires_grad_()
    assert gradcheck(lambda y: contact_map(y, 0.3, 0.1), (x,))
    assert gradcheck(bond_orientations, (x,))
    same = torch.zeros(1, NODES, 3, requires_grad=True)
    half = torch.cat([same, chains(1)], dim=1)
    loss = contact_map(half, 0.3, 0.1).sum() + (bond_orientations(half) ** 2).sum() + bond_orientations(same).sum()
    (grad,) = torch.autograd.grad(loss, same)
    assert torch.isfinite(grad).all()


def test_contacts_and_directions_are_those_computed_by_hand():
    x = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 2, 0]]])
    contacts = contact_map(x, 1.0, 0.5)[0]
    far = 1 / (1 + np.exp(-(1 - 5**0.5) / 0.5))
    wanted = torch.tensor([[1, 0.5, far], [0.5, 1, 1 / (1 + np.exp(2))], [far, 1 / (1 + np.exp(2)), 1]])
    assert torch.allclose(contacts, wanted.float(), atol=1e-6)
    assert torch.allclose(bond_orientations(x)[0], torch.tensor([[1.0, 0, 0], [0, 1, 0]]), atol=1e-6)
    assert mean_curvature(x.numpy())[0] == pytest.approx(np.pi / 2 / 1.5)
    assert mean_direction(x.numpy())[0] == pytest.approx(np.array([1, 1, 0]) / 2**0.5)


def test_superposition_finds_the_rotation_and_never_a_reflection():
    a = torch.randn(50, 10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rotations = random_rotations(50, torch.Generator().manual_seed(1), torch.float64)
    found = kabsch(a, a @ rotations.mT + 3.0)
    assert (found.rotation - rotations).abs().max() < 1e-6
    assert found.rmsd.max() < 1e-6
    single = kabsch(a[0], a[0] @ rotations[0].T)
    assert torch.allclose(single.rotation, rotations[0])
    mirrored = kabsch(a, a * torch.tensor([1.0, 1.0, -1.0]))
    assert torch.allclose(torch.linalg.det(mirrored.rotation), torch.ones(50, dtype=torch.float64))
    assert mirrored.rmsd.min() > 0.01
    with pytest.raises(ValueError, match="expected twice"):
        kabsch(a, a[:, :5])


def test_a_transfer_trains_the_dense_layer_alone():
    model = model_of(cross_weight=1.0)
    train(model, chains(64), 3, 0, batch=16)
    other = transfer(model, 20)
    assert {name for name, p in other.named_parameters() if p.requires_grad} == {
        "decoder.dense.weight",
        "decoder.dense.bias",
    }
    before = copy.deepcopy(other.state_dict())
    train(other, frenet_chains(32, 20, 1)[0], 3, 0, batch=16)
    changed = {name for name, value in other.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder.dense.weight", "decoder.dense.bias"}
    kept = {name: value for name, value in model.state_dict().items() if "dense" not in name}
    assert all(torch.equal(other.state_dict()[name], value) for name, value in kept.items())
    assert other(frenet_chains(2, 20, 2)[0]).shape == (2, 20, 3)
    assert other.config.contour == pytest.approx(model.config.contour)


def test_a_small_training_tells_shape_from_pose():
    x, test = chains(600), frenet_chains(200, NODES, 9)[0]
    model = model_of()
    before = reconstruction(model, x, test).share
    train(model, x, 60, 0, batch=32, lr=3e-3)
    assert reconstruction(model, x, test).share < 0.6 < before
    codes = disentanglement(model, x, test, 0, 50)
    assert codes.curvature_intrinsic > 0.6
    assert codes.direction_intrinsic < 0.1
    assert codes.direction_extrinsic > 0.6
    assert codes.swap_pose > 0.8


def test_losses_are_finite_and_swaps_count_only_where_asked():
    model, x = model_of(), chains(6)
    parts = model.loss(x)
    assert "cross" not in parts
    weighted = parts["coordinates"] + parts["intrinsic"] + parts["extrinsic"] + parts["lengths"] + 1e-4 * parts["code"]
    assert torch.allclose(parts["total"], weighted)
    crossed = model_of(cross_weight=0.5).loss(x)
    assert torch.allclose(crossed["total"], parts["total"] + 0.5 * crossed["cross"])
    assert crossed["cross"] > 0
    assert torch.allclose(model(x).mean(dim=1), torch.zeros(6, 3), atol=1e-6)


def test_sampled_codes_have_the_moments_of_each_code_and_mix_them():
    generator = torch.Generator().manual_seed(0)
    codes = ChainCode(torch.randn(500, 2, generator=generator) * 3 + 1, torch.randn(500, 3, generator=generator))
    for density in ("gaussian", "kde"):
        drawn = LatentSampler.fit(codes, density).sample(4000, seed=1)
        assert torch.allclose(drawn.intrinsic.mean(dim=0), codes.intrinsic.mean(dim=0), atol=0.25)
        assert torch.allclose(drawn.intrinsic.std(dim=0), codes.intrinsic.std(dim=0), rtol=0.15)
        assert drawn.extrinsic.shape == (4000, 3)
    model = model_of()
    with torch.no_grad():
        sampler = LatentSampler.fit(model.encode(chains(20)))
        assert model.decode(sampler.sample(5)).shape == (5, NODES, 3)
    with pytest.raises(ValueError, match="expected two or more"):
        LatentSampler.fit(ChainCode(torch.zeros(1, 2), torch.zeros(1, 2)))


def test_goals_go_from_one_chain_to_the_swap():
    model, (a, b) = model_of(), chains(2)
    with torch.no_grad():
        code, came_back = model.encode(torch.stack([a, b + 1])), model(torch.stack([a, b + 1]))
        swap = model.decode(ChainCode(code.intrinsic[:1], code.extrinsic[1:]))[0]
    for way, first in (("shape", 1), ("pose", 0)):
        goals = shape_goals(model, a, b + 1, way, 3)
        assert torch.allclose(goals.mean(dim=1), (b + 1).mean(dim=0).expand(3, 3), atol=1e-5)
        assert torch.allclose(goals[0] - goals[0].mean(dim=0), came_back[first], atol=1e-5)
        assert torch.allclose(goals[-1] - goals[-1].mean(dim=0), swap, atol=1e-5)
        assert torch.allclose(shape_goals(model, a, b + 1, way)[0], goals[-1], atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \(16, 3\)"):
        shape_goals(model, a[:5], b)


def test_wrong_chains_and_settings_are_refused():
    model, x = model_of(), chains(2)
    with pytest.raises(ValueError, match="expected finite positions"):
        model.encode(x * float("nan"))
    with pytest.raises(ValueError, match="n of 16, found"):
        model.loss(x[:, :10])
    with pytest.raises(ValueError, match="n of at least 3"):
        model.encode(x[:, :2])
    with pytest.raises(ValueError, match=r"code: expected \(B, 16\)"):
        model.decode(ChainCode(torch.zeros(2, 3), torch.zeros(2, 16)))
    with pytest.raises(ValueError, match="expected positive lengths"):
        contact_map(x, 0.0, 1.0)
    with pytest.raises(ValueError, match="bond: expected a positive length"):
        ProGAEConfig(8, bond=0.0)
    with pytest.raises(ValueError, match="expected none below 0"):
        ProGAEConfig(8, cross_weight=-1.0)


def test_drawn_curves_have_their_length_curvature_and_torsion():
    x, drawn = frenet_chains(20, 400, 0)
    places = x.double().numpy()
    bonds = np.diff(places, axis=1)
    assert np.linalg.norm(bonds, axis=2).sum(axis=1) == pytest.approx(np.ones(20), abs=1e-3)
    # Where the curvature never vanishes, the mean of it is its constant part, and binormals turn by the torsion.
    curved = np.linalg.norm(np.diff(bonds, axis=1), axis=2).min(axis=1) > 0.5 / 400**2
    assert curved.sum() > 2
    assert mean_curvature(places[curved]) == pytest.approx(drawn[curved, 0], rel=0.03)
    binormals = np.cross(bonds[curved, :-1], bonds[curved, 1:])
    binormals /= np.linalg.norm(binormals, axis=2, keepdims=True)
    turn = np.cross(binormals[:, :-1], binormals[:, 1:])
    signed = (turn * bonds[curved, 1:-1]).sum(axis=2) * 400
    assert signed.mean(axis=1) * 400 == pytest.approx(drawn[curved, 1], abs=0.1)
    about_z = frenet_chains(20, 400, 0, "z")[0]
    assert bond_orientations(about_z)[:, 0, 2].abs().max() < 0.01


def test_the_backbone_of_the_hinge_is_a_right_handed_helix():
    places = helix_hinge(3, 12, 0).positions.astype(np.float64)
    steps = np.diff(places, axis=1)
    assert np.linalg.norm(steps, axis=2) == pytest.approx(np.tile([1.458, 1.525, 1.329], 12)[None, :-1].repeat(3, 0))
    ca = places[:, 1:16:3]
    a, b, c = np.diff(ca[:, :4], axis=1).transpose(1, 0, 2)
    assert (np.einsum("bi,bi->b", a, np.cross(b, c)) > 0).all()
    assert np.linalg.norm(ca[:, 3] - ca[:, 0], axis=1) == pytest.approx(np.full(3, 5.2), abs=0.6)
    opened = helix_hinge(50, 20, 0).positions
    assert np.ptp(np.linalg.norm(opened[:, -1] - opened[:, 0], axis=1)) > 5


def pdb_text(places: np.ndarray) -> str:
    rows = []
    for number, place in enumerate(places):
        name, residue = ("N", "CA", "C")[number % 3], number // 3 + 1
        x, y, z = place
        rows.append(f"ATOM  {number + 1:5d}  {name:<3} ALA A{residue:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00")
        if name == "CA":
            rows.append(f"ATOM  {number + 1:5d}  CB  ALA A{residue:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00")
    return "\n".join(rows)


def test_a_backbone_is_read_from_pdb_text_model_by_model(tmp_path):
    frames = helix_hinge(2, 5, 0).positions
    models = [f"MODEL {number}\n{pdb_text(frame)}\nENDMDL" for number, frame in enumerate(frames)]
    path = tmp_path / "hinge.pdb"
    path.write_text("HEADER    DRAWN\n" + "\n".join(models) + "\nHETATM    1  CA  HOH B   1       0.0\nEND\n")
    found = read_backbone(path)
    assert found.positions == pytest.approx(frames, abs=1e-3)
    assert open_chains(path).n_nodes == 15
    lines = pdb_text(frames[0]).splitlines()
    wrong = {
        "expected three numbers in columns 31 to 54": [lines[0][:30] + "     abc" + lines[0][38:], *lines[1:]],
        "expected coordinates below": [lines[0][:30] + "     nan" + lines[0][38:], *lines[1:]],
        "of residue 1, found no N": lines[1:],
        "angstrom apart, found": lines[:4] + lines[8:],
        "expected ATOM records of N, CA, C, found none": ["HEADER"],
        "expected models of one length": [*lines, "ENDMDL", *lines[:8], "ENDMDL"],
    }
    for message, text in wrong.items():
        path.write_text("\n".join(text))
        with pytest.raises(ValueError, match=message):
            read_backbone(path)
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ValueError, match="expected ASCII text"):
        read_backbone(path)
    with pytest.raises(FileNotFoundError, match="expected a PDB file"):
        read_backbone(tmp_path / "none.pdb")


def test_trajectories_are_read_back_and_damaged_ones_refused(tmp_path):
    wanted = Chains(chains(4).numpy(), np.array([0, 0, 1, 2]))
    write_chains(wanted, tmp_path)
    found = read_chains(tmp_path)
    assert np.array_equal(found.positions, wanted.positions)
    training, test = found.split(0.3)
    assert (len(training.positions), len(test.positions)) == (3, 1)
    assert found.bond == pytest.approx(1 / (NODES - 1), rel=0.01)
    plain = tmp_path / "plain.npz"
    np.savez(plain, positions=wanted.positions)
    assert read_chains(plain).episode.tolist() == [0] * 4
    for content, message in (
        ({"other": np.zeros(3)}, "expected positions"),
        ({"positions": np.zeros((4, 8))}, "at least 3 nodes"),
        ({"positions": np.full((1, 4, 3), np.inf)}, "expected finite"),
        ({"positions": np.array([object()] * 3)}, "expected an npz file of numbers"),
    ):
        np.savez(plain, **content)
        with pytest.raises(ValueError, match=message):
            read_chains(plain)
    plain.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="expected an npz file"):
        read_chains(plain)
    with pytest.raises(FileNotFoundError, match=r"sim\.cables"):
        read_chains(tmp_path / "none")


def test_nodes_of_a_simulation_are_bodies_or_vertices_of_a_flex():
    model = mujoco.MjModel.from_xml_string("""<mujoco><worldbody>
      <body name="link1" pos="1 0 0"><geom size=".1"/><body name="link0" pos="0 1 0"><geom size=".1"/>
      <body name="link2" pos="0 0 1"><geom size=".1"/></body></body></body>
      <body name="linkage"><geom size=".1"/></body>
      <flexcomp name="rope" type="grid" dim="1" count="4 1 1" spacing=".2 .2 .2" mass="1" pos="0 0 2" radius=".01"/>
    </worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert chain_from_mujoco(model, data, "link") == pytest.approx(np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]]))
    rope = chain_from_mujoco(model, data, "rope")
    assert np.diff(rope, axis=0) == pytest.approx(np.tile([0.2, 0, 0], (3, 1)))
    with pytest.raises(ValueError, match="expected a flex of the name 'cable'"):
        chain_from_mujoco(model, data, "cable")


def test_a_model_comes_back_equal(tmp_path):
    model = model_of()
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(chains(2)), model(chains(2)))


def test_commands_train_transfer_and_write_goals(tmp_path, capsys):
    rows = np.repeat(np.arange(5), 6)
    write_chains(Chains(chains(30).numpy(), rows), tmp_path / "cables")
    write_chains(Chains(frenet_chains(30, 20, 3)[0].numpy(), rows), tmp_path / "others")
    words = ["--steps", "4", "--transfer-steps", "2", "--batch", "8", "--threads", "1"]
    run, data = tmp_path / "run", tmp_path / "cables"
    fit(["--data", str(data), "--output", str(run), "--other", str(tmp_path / "others"), *words])
    told = capsys.readouterr().out
    assert "6 held-out chains of 16 nodes: rmsd" in told
    assert "20 nodes: rmsd" in told
    assert {file.name for file in run.iterdir()} >= {"report.json", "goals.png", "model.safetensors", "other"}
    goals = ["--model", str(run), "--data", str(data), "--output", str(tmp_path / "goals"), "--steps", "3"]
    write_goals(goals)
    assert read_chains(tmp_path / "goals" / "goals.npz").positions.shape == (3, NODES, 3)
    with pytest.raises(ValueError, match="shape_of, pose_of: expected frames from 0 to 29"):
        write_goals([*goals[:5], str(tmp_path / "more"), "--shape-of", "30"])
    draw_ensemble(["--output", str(tmp_path / "hinge"), "--count", "20", "--residues", "5"])
    fit(["--data", str(tmp_path / "hinge"), "--output", str(tmp_path / "protein"), "--protein", *words])
    assert "held-out chains of 15 nodes" in capsys.readouterr().out
