"""What are long histories of the joints good for, and what do they cost? RDT without one, with PoNet, with attention.

An arm turns its waist out and back, and its wrist; which of them comes first is drawn, and when. Then it waits until
both are over, and its elbow goes up if the waist was first and down if the wrist was. What the arm's state tells at
that moment is the same in both cases; so are the mean and the extremes of the joints over the window. Only their order
tells what to do.

The time is that of one answer of the small network of `policies.train` by the number of control steps, in processor
seconds, and of mixing alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from policies.machine import describe_machine, library_versions
from policies.rdt.config import Mixer, RDTConfig
from policies.rdt.embodiment import PANDA
from policies.rdt.joint_history import joint_window
from policies.rdt.network import Conditions, RDTModel, build_model
from policies.rdt.objective import Targets, diffusion_loss, draw
from policies.rdt.sampling import draw_noise, sample
from policies.rdt.solver import DPMSolverPP
from policies.rdt.trained_network import SIZES
from policies.robots import get_robot

KINDS: dict[str, Mixer | None] = {"no history": None, "ponet": "ponet", "attention": "attention"}
SPEC = get_robot("panda")
HZ = 25.0
WAIST, ELBOW, WRIST = 0, 3, 5
SWING_STEPS, SWING = 10, 0.4  # out and back; rad
ROWS, WAY = 16, 0.5  # of the elbow; rad
NOISE = 0.002  # rad, of each reading
BATCH = 32
FALLING = 0.3  # last share of the training in which the learning rate falls to zero
LENGTHS = (100, 1_000, 10_000)
BODY = replace(PANDA, control_hz=HZ, state_offset=tuple(SPEC.home.tolist()), state_scale=(0.5,) * len(SPEC.joint_names))


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """What is trained and measured.

    Attributes:
        steps: of training, 32 chunks each.
        seeds: runs; weights, data and noise are drawn anew for each.
        test: chunks to answer.
        window: control steps that a network sees; at least 40.
        sampler_steps: steps of the sampler.
        lr: learning rate of AdamW, before it falls.
        lengths: control steps that the time is measured with.
        repetitions: answers of each kind and length, in turns.
        threads: of torch on the CPU.
    """

    steps: int = 600
    seeds: int = 3
    test: int = 256
    window: int = 100
    sampler_steps: int = 5
    lr: float = 1e-3
    lengths: tuple[int, ...] = LENGTHS
    repetitions: int = 5
    threads: int = 1

    def __post_init__(self) -> None:
        if self.window < 4 * SWING_STEPS:
            raise ValueError(f"window: expected at least {4 * SWING_STEPS}, found {self.window}")


@dataclass(frozen=True)
class Moments:
    """Moments at which the wait is over.

    Attributes:
        joints: (B, N, 128) of the control steps up to them.
        present: (B, N) which of these there are.
        waist_first: (B,) whether the waist came first.
        targets: chunks, in the unified space.
    """

    joints: Tensor
    present: Tensor
    waist_first: Tensor
    targets: Targets


def path(waist_first: bool, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Joints (steps, 8), rad (m), of an arm that swings waist and wrist and waits."""
    begins = np.sort(rng.choice(steps - 3 * SWING_STEPS, 2, replace=False)) + np.array([0, SWING_STEPS])
    swing = SWING * np.sin(np.pi * np.arange(1, SWING_STEPS + 1) / (SWING_STEPS + 1))
    joints = np.tile(SPEC.home, (steps, 1))
    for joint, begin in zip((WAIST, WRIST) if waist_first else (WRIST, WAIST), begins, strict=True):
        joints[begin : begin + SWING_STEPS, joint] += swing
    return joints + NOISE * rng.standard_normal(joints.shape)


def draw_moments(count: int, window: int, rng: np.random.Generator) -> Moments:
    """Draw moments at which the wait is over; the window may reach back to before the episode began."""
    first, windows, present = rng.random(count) < 0.5, [], []
    states = np.empty((count, len(SPEC.joint_names)))
    for place, waist_first in enumerate(first):
        steps = int(rng.integers(4 * SWING_STEPS, window + 1))
        joints = path(bool(waist_first), steps, rng)
        stamps = np.arange(steps) / HZ
        seen, there = joint_window(BODY, stamps, joints, stamps[-1], window)
        windows.append(seen)
        present.append(there)
        states[place] = joints[-1]
    commands = np.repeat(SPEC.home[None, None], ROWS, axis=1).repeat(count, axis=0)
    way = WAY * np.sin(np.pi / 2 * np.arange(1, ROWS + 1) / ROWS)
    commands[..., ELBOW] += np.where(first, 1, -1)[:, None] * way
    vectors, slots = BODY.state_to_unified(states)
    actions, _ = BODY.action_to_unified(commands, states)
    mask = torch.from_numpy(slots).repeat(count, 1)
    targets = Targets(torch.from_numpy(vectors), torch.from_numpy(actions), mask, mask, torch.full((count,), HZ))
    joints, there = torch.from_numpy(np.stack(windows)), torch.from_numpy(np.stack(present))
    return Moments(joints, there, torch.from_numpy(first), targets)


class Learner:
    """A tiny network whose text and pictures say nothing.

    Args:
        seed: of weights, data and noise.
        kind: what mixes the history; None for a network without.
        settings: how much is trained.
    """

    def __init__(self, seed: int, kind: Mixer | None, settings: HistorySettings) -> None:
        steps = settings.window if kind else 0
        self.config = replace(
            RDTConfig.tiny(),
            pred_horizon=ROWS,
            image_grid=(1, 3, 1),
            history_steps=steps,
            history_mixer=kind or "ponet",
        )
        self.model = build_model(self.config, seed)
        self.rng, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        self.settings = settings

    def conditions(self, moments: Moments) -> Conditions:
        """Nothing but the history of some moments."""
        count, config = len(moments.joints), self.config
        language = self.model.encode_language(torch.zeros(count, 1, config.lang_token_dim))
        images = self.model.encode_images(torch.zeros(count, config.img_cond_len, config.img_token_dim))
        return Conditions(language, images, self.model.encode_history(moments.joints, moments.present))

    def train(self, label: str) -> RDTModel:
        """Train to the end of the steps."""
        steps, model = self.settings.steps, self.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.settings.lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1.0, (steps - k) / (FALLING * steps)))
        for _ in tqdm(range(steps), label, unit="step"):
            moments = draw_moments(BATCH, self.settings.window, self.rng)
            random = draw(moments.targets, self.config.num_train_timesteps, self.generator)
            loss = diffusion_loss(model, moments.targets, self.conditions(moments), random, masked=True)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return model.eval()

    @torch.no_grad()
    def measure(self, moments: Moments) -> dict[str, float]:
        """Share of chunks that go to the right side, and mean absolute error of the elbow's way, rad."""
        targets = moments.targets
        noise = draw_noise(self.model, len(moments.joints), self.generator)
        solver = DPMSolverPP(self.settings.sampler_steps)
        conditions = self.conditions(moments)
        chunks = sample(self.model, conditions, targets.state, targets.mask[0], targets.frequency, noise, solver)
        found = BODY.action_from_unified(chunks.double().numpy())[..., ELBOW]
        wanted = BODY.action_from_unified(targets.actions.double().numpy())[..., ELBOW]
        sides = found[:, -1] > SPEC.home[ELBOW]
        right = sides == moments.waist_first.numpy()
        return {"right": float(right.mean()), "error": float(np.abs(found - wanted).mean())}


@torch.no_grad()
def measure_time(settings: HistorySettings) -> dict[str, dict[str, dict[str, float]]]:
    """Least processor seconds of an answer, and of mixing alone, by number of control steps and kind."""
    base = RDTConfig(**SIZES["small"][0], pred_horizon=32, image_grid=(2, 3, 64), img_token_dim=128, lang_token_dim=128)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for length in tqdm(settings.lengths, "time", unit="length"):
        models = {
            name: build_model(base if kind is None else replace(base, history_steps=length, history_mixer=kind), 0)
            for name, kind in KINDS.items()
        }
        seconds: dict[str, dict[str, list[float]]] = {name: {"answer": [], "mixing": []} for name in models}
        for _ in range(settings.repetitions + 1):
            for name, model in models.items():
                for part, work in _works(model.eval(), length, settings.sampler_steps).items():
                    began = time.process_time()
                    work()
                    seconds[name][part].append(time.process_time() - began)
        # The first of each warms up.
        found[str(length)] = {
            name: {part: min(times[1:]) for part, times in parts.items()} for name, parts in seconds.items()
        }
    return found


def _works(model: RDTModel, length: int, sampler_steps: int) -> dict[str, Callable[[], object]]:
    """One answer of a network, and mixing alone."""
    config = model.config
    joints, present = torch.zeros(1, length, config.action_dim), torch.ones(1, length, dtype=torch.bool)
    mask, state = torch.ones(config.action_dim), torch.zeros(1, config.action_dim)
    noise = draw_noise(model, 1, torch.Generator().manual_seed(0))

    def mix() -> Tensor | None:
        return model.encode_history(joints, present)

    def answer() -> Tensor:
        language = model.encode_language(torch.zeros(1, 8, config.lang_token_dim))
        images = model.encode_images(torch.zeros(1, config.img_cond_len, config.img_token_dim))
        conditions = Conditions(language, images, mix())
        return sample(model, conditions, state, mask, torch.tensor([HZ]), noise, DPMSolverPP(sampler_steps))

    return {"answer": answer, "mixing": mix}


def run(settings: HistorySettings) -> dict[str, Any]:
    """Train and measure every kind for each seed, then take the times."""
    torch.set_num_threads(settings.threads)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in KINDS}
    for seed in range(settings.seeds):
        moments = draw_moments(settings.test, settings.window, np.random.default_rng(1000 + seed))
        for name, kind in KINDS.items():
            learner = Learner(seed, kind, settings)
            learner.train(f"seed {seed}, {name}")
            rows[name].append(learner.measure(moments))
    times = measure_time(settings)
    return {
        "settings": asdict(settings),
        "machine": describe_machine(),
        "libraries": library_versions(),
        "results": rows,
        "seconds": times,
        "claims": claims(rows, times),
    }


def claims(rows: Mapping[str, list[dict[str, float]]], times: Mapping[str, Any]) -> dict[str, bool]:
    """What the numbers are expected to show, and whether they do."""
    right = {name: np.array([row["right"] for row in found]) for name, found in rows.items()}
    longest = times[max(times, key=int)]
    return {
        "with ponet more chunks go to the right side than without history, by each seed": bool(
            (right["ponet"] > right["no history"]).all()
        ),
        "ponet goes to the right side as often as attention, to 0.01": bool(
            right["ponet"].mean() >= right["attention"].mean() - 0.01
        ),
        "ponet mixes the longest history in a fifth of attention's time": bool(
            5 * longest["ponet"]["mixing"] <= longest["attention"]["mixing"]
        ),
    }


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine = result["settings"], result["machine"]
    lines = [
        f"{settings['steps']} training steps of {BATCH} chunks, windows of {settings['window']} control steps, "
        f"{settings['test']} chunks to answer",
        f"{'history':<12}{'seed':>5}{'right side':>12}{'error, rad':>12}",
    ]
    for kind, found in result["results"].items():
        for seed, row in enumerate(found):
            lines.append(f"{kind:<12}{seed:>5}{row['right']:>12.3f}{row['error']:>12.4f}")
    lines += [
        "",
        f"processor ms of one answer (D 192, N 8, {settings['sampler_steps']} sampler steps), and of mixing alone; "
        f"{settings['threads']} thread, least of {settings['repetitions']}, in turns",
        f"{'control steps':<14}" + "".join(f"{kind:>22}" for kind in KINDS),
    ]
    for length, kinds in result["seconds"].items():
        cells = [f"{1000 * kinds[kind]['answer']:.1f} ({1000 * kinds[kind]['mixing']:.1f})" for kind in KINDS]
        lines.append(f"{length:<14}" + "".join(f"{cell:>22}" for cell in cells))
    lines += ["", *(f"{'yes' if holds else 'NO':<4}{claim}" for claim, holds in result["claims"].items())]
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    what = (
        "An arm has swung its waist and its wrist; which came first tells where its elbow is to go. Its state does not "
        "show it, nor do the mean or the extremes of its joints. RDT without a history of the joints, with one that "
        "PoNet mixes, and with one that attention mixes."
    )
    again = "Run it again with `python -m policies.bench history_mixer --write`."
    return f"# Histories of the joints\n\n{what}\n\n```\n{format_text(result)}\n```\n\n{again}\n"
