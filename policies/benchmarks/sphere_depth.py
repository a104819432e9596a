"""Does Ego3D tell a policy where things are in depth? A sphere whose picture does not depend on its distance.

A disc of constant size lies somewhere in the picture, and its distance shows in the depth image alone. A small
SpatialVLA answers with one translation token, its position on a grid fitted to the data. Compared: with Ego3D from true
depth, without Ego3D, and the former with its encoding set to zero at test time. The paper's claim (arXiv 2501.15830)
that 3-D position encodings carry the depth is right if only the first is good.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from policies.machine import describe_machine, library_versions
from policies.spatialvla.action_grid import ActionGrid, fit_gaussian_stats
from policies.spatialvla.action_tokenizer import SpatialActionTokenizer
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.model import SpatialVLAModel, build_model

SIDE, PATCH, RADIUS = 56, 7, 5.0  # px
FOCAL = 56.0  # px
NEAR, FAR, BACKGROUND = 0.6, 2.6, 3.0  # m
BINS = {"theta": 12, "phi": 16, "r": 8, "roll": 1, "pitch": 1, "yaw": 1}
WIDTH, LAYERS, BATCH = 64, 2, 64
BOS, NEWLINE, IMAGE, FIRST_ACTION = 2, 3, 5, 6
VARIANTS = ("Ego3D", "no Ego3D", "Ego3D, zeroed at test")


@dataclass(frozen=True, slots=True)
class SphereSettings:
    """How much is trained.

    Attributes:
        train: pictures to train with.
        test: pictures to test with.
        epochs: passes over the training pictures.
        seeds: runs; pictures, weights and order are drawn anew for each.
        lr: peak learning rate.
    """

    train: int = 6000
    test: int = 1000
    epochs: int = 10
    seeds: int = 3
    lr: float = 2e-3


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of spheres.

    Attributes:
        rgb: (N, 3, S, S) float32 in [0, 1].
        depth: (N, S, S) float32 metres.
        positions: (N, 3) of the spheres in the camera's frame, scaled to [-1, 1].
    """

    rgb: Tensor
    depth: Tensor
    positions: NDArray[np.float64]


def draw_pictures(count: int, rng: np.random.Generator) -> Pictures:
    """Draw spheres anywhere in the picture and at any distance."""
    centre = rng.uniform(RADIUS, SIDE - RADIUS, (count, 2))
    distance = rng.uniform(NEAR, FAR, count)
    pixels = np.arange(SIDE) + 0.5
    u, v = np.meshgrid(pixels, pixels)
    inside = (u - centre[:, 0, None, None]) ** 2 + (v - centre[:, 1, None, None]) ** 2 < RADIUS**2
    rgb = np.where(inside[:, None], np.array([0.9, 0.2, 0.2])[None, :, None, None], 0.4)
    depth = np.where(inside, distance[:, None, None], BACKGROUND)
    sideways = (centre - SIDE / 2) / FOCAL * distance[:, None] / (0.5 * FAR)
    forward = (distance - (NEAR + FAR) / 2) / ((FAR - NEAR) / 2)
    positions = np.column_stack([sideways, forward])
    return Pictures(torch.from_numpy(rgb).float(), torch.from_numpy(depth).float(), positions)


def network(use_ego3d: bool, grid: ActionGrid) -> SpatialVLAConfig:
    """A tiny network for these pictures."""
    small = SpatialVLAConfig.small()
    count = sum(grid.slot_sizes)
    text = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": WIDTH // 4,
        "query_pre_attn_scalar": WIDTH // 4,
        "initializer_range": WIDTH**-0.5,
        "vocab_size": FIRST_ACTION + count,
    }
    vision = {
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 1,
    }
    return replace(
        small,
        text_config={**small.text_config, **text},
        vision_config={**small.vision_config, **vision},
        ego3d_patch_reso=1,
        image_token_index=IMAGE,
        action_token_begin_idx=FIRST_ACTION,
        spatial_token_num=count,
        point_frame="camera",
        point_center=(0.0, 0.0, 2.0),
        point_half_range=2.0,
        use_ego3d=use_ego3d,
        state_dim=0,
        state_token_index=None,
    )


def run(settings: SphereSettings) -> dict[str, Any]:
    """Train and test everything; `format_text` lays the result out."""
    errors: dict[str, list[float]] = {name: [] for name in VARIANTS}
    floors = []
    for seed in range(settings.seeds):
        rng = np.random.default_rng(seed)
        train, test = draw_pictures(settings.train, rng), draw_pictures(settings.test, rng)
        grid = _fit_grid(train.positions)
        tokens = SpatialActionTokenizer(grid, FIRST_ACTION)
        floors.append(_error(tokens.encode(_actions(test.positions))[:, 0], test.positions, grid))
        for use_ego3d in (True, False):
            model = _train(network(use_ego3d, grid), train, tokens, settings, seed, VARIANTS[0 if use_ego3d else 1])
            errors[VARIANTS[0 if use_ego3d else 1]].append(_error(_answers(model, test, grid), test.positions, grid))
            if use_ego3d:
                for parameter in model.position_embedding_3d.position_embedding_head[3].parameters():
                    parameter.data.zero_()
                errors[VARIANTS[2]].append(_error(_answers(model, test, grid), test.positions, grid))
    return {
        "benchmark": "sphere_depth",
        "settings": {name: getattr(settings, name) for name in SphereSettings.__slots__},
        "errors": errors,
        "quantisation_floor": statistics.mean(floors),
        "ratios": [
            with_3d / without for with_3d, without in zip(errors[VARIANTS[0]], errors[VARIANTS[1]], strict=True)
        ],
        "machine": describe_machine(),
        "versions": library_versions(),
    }


def _actions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.pad(positions, ((0, 0), (0, 4)))


def _fit_grid(positions: NDArray[np.float64]) -> ActionGrid:
    gaussian = fit_gaussian_stats(_actions(positions))
    return ActionGrid.from_gaussian(gaussian, BINS, min_sigma=0.05).with_empirical_centroids(_actions(positions))


def _inputs(pictures: Pictures, rows: Tensor) -> dict[str, Tensor]:
    count = (SIDE // PATCH) ** 2
    prompt = torch.tensor([IMAGE] * count + [BOS, NEWLINE]).expand(len(rows), -1)
    intrinsics = torch.tensor([[FOCAL, 0, SIDE / 2], [0, FOCAL, SIDE / 2], [0, 0, 1.0]])
    return {
        "input_ids": prompt,
        "pixel_values": pictures.rgb[rows],
        "depth": pictures.depth[rows],
        "intrinsics": intrinsics,
    }


def _train(
    config: SpatialVLAConfig,
    pictures: Pictures,
    tokens: SpatialActionTokenizer,
    settings: SphereSettings,
    seed: int,
    label: str,
) -> SpatialVLAModel:
    model = build_model(config, seed).train()
    labels = torch.from_numpy(tokens.encode(_actions(pictures.positions))[:, :1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=0.01)
    steps = settings.epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=max(2, steps))
    generator = torch.Generator().manual_seed(seed)
    with tqdm(total=steps, desc=f"seed {seed}, {label}", unit="step") as bar:
        for _ in range(settings.epochs):
            order = torch.randperm(len(labels), generator=generator)
            for start in range(0, len(order) - BATCH + 1, BATCH):
                rows = order[start : start + BATCH]
                inputs = _inputs(pictures, rows)
                inputs["input_ids"] = torch.cat([inputs["input_ids"], labels[rows]], 1)
                loss = model(**inputs, labels=labels[rows]).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return model.eval()


@torch.inference_mode()
def _answers(model: SpatialVLAModel, pictures: Pictures, grid: ActionGrid) -> NDArray[np.int64]:
    """Ids (N,) of the most probable translation tokens."""
    begin, size = model.config.action_token_begin_idx, grid.slot_sizes[0]
    ids = []
    for rows in torch.arange(len(pictures.rgb)).split(250):
        logits = model(**_inputs(pictures, rows), logits_to_keep=1).logits[:, -1, begin : begin + size]
        ids.append(logits.argmax(-1).numpy() + begin)
    return np.concatenate(ids)


def _error(ids: NDArray[np.int64], positions: NDArray[np.float64], grid: ActionGrid) -> float:
    """Mean distance between the tokens' positions and the true ones, in normalised units."""
    slots = np.stack([ids - FIRST_ACTION, np.zeros_like(ids), np.zeros_like(ids)], 1)
    return float(np.linalg.norm(grid.decode(slots, "centroid")[:, :3] - positions, axis=1).mean())


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine = result["settings"], result["machine"]
    lines = [
        f"mean L2 error of {settings['test']} test pictures, normalised units; {settings['train']} training pictures, "
        f"{settings['epochs']} epochs",
        f"{'variant':<26}" + "".join(f"{f'seed {seed}':>10}" for seed in range(settings["seeds"])),
    ]
    for name, errors in result["errors"].items():
        lines.append(f"{name:<26}" + "".join(f"{error:>10.3f}" for error in errors))
    lines.append(f"{'Ego3D / no Ego3D':<26}" + "".join(f"{ratio:>10.2f}" for ratio in result["ratios"]))
    lines.append(f"floor of the grid: {result['quantisation_floor']:.3f}")
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    what = "A sphere whose picture does not depend on its distance; a small SpatialVLA says where it is."
    again = "Run it again with `python -m policies.bench sphere_depth --write`."
    return f"# Depth through Ego3D\n\n{what}\n\n```\n{format_text(result)}\n```\n\n{again}\n"
