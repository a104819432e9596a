import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.data.clouds import frames_of_clouds
from representation.data.shapes import shapes
from representation.equivariant.cloud_encoder import CloudEncoder, CloudObjective
from representation.equivariant.cloud_features import CloudFeatures
from representation.equivariant.cloud_heads import CloudHeads, errors, losses, rotation_of
from representation.equivariant.cloud_targets import Known, known_of, random_turns, targets_of, turned

TOLD = ("normals", "approach", "pose")


def known_clouds(count=6, points=20, seed=0):
    """Random clouds about which everything is known."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, points, 3))
    approach = rng.normal(size=(count, 3))
    columns = {
        "label": np.arange(count) % 2,
        "normals": normals / np.linalg.norm(normals, axis=2, keepdims=True),
        "approach": approach / np.linalg.norm(approach, axis=1, keepdims=True),
        "pose": np.concatenate([rng.normal(size=(count, 3)), Rotation.random(count, rng=seed).as_quat()], axis=1),
    }
    return frames_of_clouds(rng.normal(size=(count, points, 3)).astype(np.float32), columns, {})


def told_of(targets, rows):
    """Answers that are right."""
    told = {name: targets[name] for name in ("approach", "rotation", "center")}
    logits = torch.nn.functional.one_hot(targets["label"], 2).float() * 50
    return {**told, "normals": targets["normals"][:, rows], "label": logits}


def test_right_answers_have_no_error_and_wrong_ones_the_angle_that_they_are_off():
    frames, rows = known_clouds(), torch.arange(0, 20, 2)
    targets = targets_of(frames, np.arange(6))
    told = told_of(targets, rows)
    assert all(float(value) < 1e-6 for value in losses(told, targets, rows).values())
    assert all(float(value.max()) < 0.1 for value in errors(told, targets, rows).values())
    turn = torch.from_numpy(Rotation.from_euler("x", 30, degrees=True).as_matrix()).float()
    told["rotation"] = turn @ told["rotation"]
    told["center"] = told["center"] + torch.tensor([0.0, 0.03, 0.04])
    told["label"] = told["label"].flip(1)
    found = errors(told, targets, rows)
    torch.testing.assert_close(found["rotation"], torch.full((6,), 30.0), atol=1e-2, rtol=0)
    torch.testing.assert_close(found["center"], torch.full((6,), 0.05), atol=1e-5, rtol=0)
    assert float(found["label"].min()) == 1.0
    told["approach"] = -told["approach"]
    assert float(losses(told, targets, rows)["approach"]) == pytest.approx(2, abs=1e-5)


def test_heads_turn_with_the_vectors_and_mind_no_scale():
    torch.manual_seed(0)
    heads = CloudHeads(8, 5, Known(2, TOLD))
    points, vectors, rows = torch.randn(3, 10, 3), torch.randn(3, 10, 5, 3), torch.arange(10)
    scalars = torch.randn(3, 10, 8)
    turn = random_turns(1, torch.Generator().manual_seed(0))[0]
    told = heads(points, CloudFeatures(rows, scalars, vectors))
    moved = heads(points @ turn.T + 1.0, CloudFeatures(rows, scalars, vectors @ turn.T))
    torch.testing.assert_close(moved["label"], told["label"])
    torch.testing.assert_close(moved["normals"], told["normals"] @ turn.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved["approach"], told["approach"] @ turn.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved["rotation"], turn @ told["rotation"], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved["center"], told["center"] @ turn.T + 1.0, atol=1e-5, rtol=0)
    eye = torch.eye(3).expand(3, 3, 3)
    torch.testing.assert_close(told["rotation"] @ told["rotation"].mT, eye, atol=1e-5, rtol=0)


def test_turned_targets_are_those_of_the_turned_object():
    frames = known_clouds()
    targets = targets_of(frames, np.arange(6))
    turns = random_turns(6, torch.Generator().manual_seed(1))
    after = turned(targets, turns)
    body = torch.tensor([0.1, 0.2, 0.3])
    # A point that is fixed to the object goes where the rotation takes it.
    place, moved = (t["rotation"] @ body + t["center"] for t in (targets, after))
    torch.testing.assert_close(moved, (turns @ place[:, :, None])[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        (after["points"] * after["normals"]).sum(2), (targets["points"] * targets["normals"]).sum(2)
    )
    assert torch.equal(after["label"], targets["label"])


def test_rotations_come_from_any_two_vectors():
    pair = torch.tensor([[[2.0, 0, 0], [5.0, 3.0, 0]]])
    torch.testing.assert_close(rotation_of(pair)[0], torch.eye(3))


class FirstPoints(CloudEncoder):
    """Tells of the first points where they are."""

    system = "first_points"

    def __init__(self, known):
        super().__init__(None, 4, 2, known)

    def features(self, points):
        first = points[:, :5]
        return CloudFeatures(torch.arange(5), first[..., :1].expand(-1, -1, 4), first[:, :, None].expand(-1, -1, 2, -1))


def test_objectives_tell_what_the_frames_know():
    frames, rows, generator = known_clouds(), np.arange(4), torch.Generator().manual_seed(0)
    objective = CloudObjective(FirstPoints(known_of(frames)), turn=True)
    batch = objective.batch(frames, rows, generator)
    assert not torch.allclose(batch["points"], targets_of(frames, rows)["points"])
    assert set(objective(batch).parts) == {"label", "normals", "approach", "rotation", "center"}
    labelled = shapes(8, 16, seed=0)
    objective = CloudObjective(FirstPoints(known_of(labelled)), turn=False)
    assert set(objective(objective.batch(labelled, rows, generator)).parts) == {"label"}
    with pytest.raises(ValueError, match=r"frames: expected one of .*'approach'"):
        known_of(frames_of_clouds(np.zeros((2, 9, 3), np.float32), {}, {}))


def test_columns_of_other_shapes_are_refused():
    frames = known_clouds()
    columns = {**frames.columns, "pose": frames.columns["pose"][:, :6]}
    wrong = frames_of_clouds(frames.columns["points"], columns, {})
    with pytest.raises(ValueError, match=r"pose: expected \(2, 7\), found \(2, 6\)"):
        targets_of(wrong, np.arange(2))
