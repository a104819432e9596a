"""Does diffusion keep two ways apart where regression averages them? RDT on motions with two modes.

A motion goes straight to zero, with an arc to the left or to the right of it; the text says left, right, or nothing,
and then both happen equally often. The claim of RDT-1B (arXiv 2410.07864) is right if sampled chunks lie on one of the
arcs, both of them occur, and the text is followed; the same trunk trained by regression ends between the arcs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from policies.machine import describe_machine, library_versions
from policies.rdt.config import RDTConfig
from policies.rdt.network import Conditions, RDTModel, build_model
from policies.rdt.objective import Targets, diffusion_loss, draw, regression_loss
from policies.rdt.sampling import draw_noise, regress, sample
from policies.rdt.solver import DPMSolverPP

ROWS, ARC, BATCH = 16, 0.6, 64
SIDEWAYS, FORWARD, GRIPPER = 0, 1, 10  # slots of the unified space
LEFT, RIGHT, EITHER = 0, 1, 2  # what the text says
IMAGE_NOISE, FREQUENCY = 0.1, 25.0
NEAR = 0.1  # RMS distance within which a chunk lies on an arc; halfway between the arcs it is 0.3
FALLING = 0.3  # last share of the training in which the learning rate falls to zero


@dataclass(frozen=True, slots=True)
class TwoModesSettings:
    """How much is trained and drawn.

    Attributes:
        steps: of training, 64 chunks each.
        seeds: runs; weights, data and noise are drawn anew for each.
        test: chunks drawn for each text.
        sampler_steps: steps of the sampler.
        lr: learning rate of AdamW, before it falls.
    """

    steps: int = 1000
    seeds: int = 3
    test: int = 256
    sampler_steps: int = 5
    lr: float = 2e-3


@dataclass(frozen=True)
class Motions:
    """Chunks, and what they are to be predicted from.

    Attributes:
        start: (B, 2).
        sides: (B,) 1 left, -1 right.
        texts: (B,) `LEFT`, `RIGHT` or `EITHER`.
        targets: in the unified space.
    """

    start: Tensor
    sides: Tensor
    texts: Tensor
    targets: Targets


def arcs(start: Tensor, sides: Tensor) -> Tensor:
    """Motions (B, rows, 2) sideways and forward from starts (B, 2), to one side of the straight line (B,)."""
    u = torch.linspace(0, 1, ROWS)
    motion = start[:, None] * (1 - u)[:, None]
    return motion + torch.stack([sides[:, None] * ARC * torch.sin(torch.pi * u), torch.zeros(len(start), ROWS)], -1)


def draw_motions(count: int, texts: Tensor, generator: torch.Generator) -> Motions:
    """Draw motions that obey texts (count,); where these say nothing, to either side."""
    start = 2 * torch.rand(count, 2, generator=generator) - 1
    chance = torch.where(torch.rand(count, generator=generator) < 0.5, 1.0, -1.0)
    sides = torch.where(texts == LEFT, 1.0, torch.where(texts == RIGHT, -1.0, chance))
    actions = torch.zeros(count, ROWS, 128)
    actions[..., [SIDEWAYS, FORWARD]] = arcs(start, sides)
    actions[..., GRIPPER] = (torch.sin(torch.pi * torch.linspace(0, 1, ROWS)) > 0.5).float()
    state, slots = torch.zeros(count, 128), torch.zeros(count, 128)
    state[:, [SIDEWAYS, FORWARD]] = start
    slots[:, [SIDEWAYS, FORWARD, GRIPPER]] = 1
    return Motions(start, sides, texts, Targets(state, actions, slots, slots, torch.full((count,), FREQUENCY)))


def distance_to_arcs(chunks: Tensor, start: Tensor) -> Tensor:
    """RMS distances (B, 2) of chunks (B, rows, 128) from the left and the right arc."""
    found = chunks[..., [SIDEWAYS, FORWARD]]
    both = [arcs(start, torch.full((len(start),), side)) for side in (1.0, -1.0)]
    return torch.stack([(found - arc).square().mean((1, 2)).sqrt() for arc in both], -1)


class Learner:
    """A network with its own texts and image noise.

    Args:
        seed: of weights, texts, data and noise.
        regression: predict the chunk directly, from no actions, at diffusion step 0.
        settings: how much is trained.
    """

    def __init__(self, seed: int, regression: bool, settings: TwoModesSettings) -> None:
        self.config = replace(RDTConfig.tiny(), pred_horizon=ROWS, image_grid=(2, 3, 2))
        self.model = build_model(self.config, seed)
        self.generator = torch.Generator().manual_seed(1000 + seed)
        self.words = torch.randn(3, 2, self.config.lang_token_dim, generator=self.generator)
        self.regression = regression
        self.settings = settings

    def conditions(self, texts: Tensor) -> Conditions:
        """Language of texts (B,) and images that show noise."""
        shape = (len(texts), self.config.img_cond_len, self.config.img_token_dim)
        images = IMAGE_NOISE * torch.randn(shape, generator=self.generator)
        return Conditions(self.model.encode_language(self.words[texts]), self.model.encode_images(images))

    def train(self, label: str) -> RDTModel:
        """Train to the end of the steps."""
        steps, model = self.settings.steps, self.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.settings.lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1.0, (steps - k) / (FALLING * steps)))
        for _ in tqdm(range(steps), label, unit="step"):
            motions = draw_motions(BATCH, torch.randint(3, (BATCH,), generator=self.generator), self.generator)
            conditions = self.conditions(motions.texts)
            if self.regression:
                loss = regression_loss(model, motions.targets, conditions)
            else:
                random = draw(motions.targets, self.config.num_train_timesteps, self.generator)
                loss = diffusion_loss(model, motions.targets, conditions, random)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return model.eval()

    @torch.no_grad()
    def answer(self, motions: Motions) -> Tensor:
        """Chunks (B, T, 128) for the states and texts of motions."""
        targets, conditions = motions.targets, self.conditions(motions.texts)
        if self.regression:
            return regress(self.model, targets.state, ROWS, targets.mask, targets.frequency, conditions)
        noise = draw_noise(self.model, len(targets.state), self.generator)
        solver = DPMSolverPP(self.settings.sampler_steps)
        return sample(self.model, conditions, targets.state, targets.mask[0], targets.frequency, noise, solver)


def measure(learner: Learner) -> dict[str, float]:
    """Shares of drawn chunks, and the median distance from the nearer arc, where the text says nothing."""
    count = learner.settings.test
    free = draw_motions(count, torch.full((count,), EITHER), learner.generator)
    distances = distance_to_arcs(learner.answer(free), free.start)
    told = draw_motions(count, torch.arange(count) % 2, learner.generator)
    sides = distance_to_arcs(learner.answer(told), told.start).argmin(-1)
    return {
        "on an arc": float((distances.min(-1).values < NEAR).float().mean()),
        "to the left": float((distances.argmin(-1) == 0).float().mean()),
        "text followed": float((sides == told.texts).float().mean()),
        "median distance": float(distances.min(-1).values.median()),
    }


def run(settings: TwoModesSettings) -> dict[str, Any]:
    """Train and measure both kinds for each seed."""
    rows: dict[str, list[dict[str, float]]] = {"diffusion": [], "regression": []}
    for seed in range(settings.seeds):
        for kind, found in rows.items():
            learner = Learner(seed, kind == "regression", settings)
            learner.train(f"seed {seed}, {kind}")
            found.append(measure(learner))
    return {
        "settings": asdict(settings),
        "machine": describe_machine(),
        "libraries": library_versions(),
        "results": rows,
    }


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine = result["settings"], result["machine"]
    names = list(result["results"]["diffusion"][0])
    lines = [
        f"{settings['steps']} steps of {BATCH} chunks, {settings['test']} chunks drawn for each text, "
        f"{settings['sampler_steps']} sampler steps",
        f"{'kind':<12}{'seed':>5}" + "".join(f"{name:>17}" for name in names),
    ]
    for kind, found in result["results"].items():
        for seed, row in enumerate(found):
            lines.append(f"{kind:<12}{seed:>5}" + "".join(f"{row[name]:>17.3f}" for name in names))
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    what = "Motions with an arc to the left or to the right: what RDT draws where the text leaves both open."
    again = "Run it again with `python -m policies.bench two_modes --write`."
    return f"# Two modes\n\n{what}\n\n```\n{format_text(result)}\n```\n\n{again}\n"
