"""Languages about digits, by the referential game and by the game within classes; and one about motions of an arm.

Digits: games see training pictures only; a forest learns from their messages and is asked about those of test pictures.
Motions are those of `python -m sim.arm_actions`.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.frames import LABEL, Frames, open_frames
from representation.memory.grounded_language import Config, new
from representation.memory.grounded_language.forest import MessageForest
from representation.memory.grounded_language.games import Game, ReferentialGame, WithinClassGame
from representation.memory.grounded_language.message import gumbel_noise
from representation.memory.grounded_language.pair_sampler import PairSampler
from representation.memory.grounded_language.receiver import SymbolReceiver
from representation.memory.grounded_language.sender import SymbolSender
from representation.memory.grounded_language.statistics import language_stats
from representation.memory.grounded_language.talk import label_accuracy, messages_of
from representation.memory.grounded_language.vision import PictureNet

SYMBOLS, LENGTH, HIDDEN = 16, 4, 64
TRAINING, STEPS, LR = 1200, 1200, 1e-3
CANDIDATES, GROUPS, CLASSES = 32, 3, 10
DRAWS = 50  # of ten pairs, to measure matching
NAME, ACTION_STEPS, ACTION_BATCH, ASKED = "actions", 500, 64, 300  # directory beside that of the renders


def run(options: BenchOptions) -> list[Claim]:
    """All claims, by seed.

    Raises:
        FileNotFoundError: there are no motions; says how to make them.
    """
    place = options.data.with_name(NAME)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: expected motions, found none; python -m sim.arm_actions --output {place}")
    frames = open_frames(place)
    found = [digits(seed, options) | actions(seed, frames, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str | float, least: float = 0.0) -> Claim:
        others = tuple(x[baseline] if isinstance(baseline, str) else baseline for x in found)
        return Claim(text, name, tuple(x[ours] for x in found), others, least)

    referential = "referential game"
    return [
        claim("digits: label told by the forest, game within classes", "asked", "classes forest", 0.9),
        claim(
            "digits: label told by the forest, game within classes",
            referential,
            "classes forest",
            "pictures forest",
            0.1,
        ),
        claim("digits: mutual information of message and class, normalised", "asked", "classes nmi", 0.8),
        claim(
            "digits: mutual information of message and class, normalised",
            referential,
            "classes nmi",
            "pictures nmi",
            0.2,
        ),
        claim("digits: different messages, negated", f"0.4 of the {referential}'s", "classes few", "pictures many"),
        claim("digits: test pairs matched, of 10", "asked", "classes matched", 0.8),
        claim("digits: chance over matched by exchanged messages", "asked: -0.05", "chance left", -0.05),
        claim("motions: label told by the forest", "asked", "motions forest", 0.8),
        claim("motions: label told by the translator", "forest", "motions translator", "motions forest", -0.05),
    ]


def digits(seed: int, options: BenchOptions) -> dict[str, float]:
    """What both games come to."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = torch.from_numpy(data.images[order] / 16).float()[:, None]
    labels = torch.from_numpy(data.target[order])
    result: dict[str, float] = {}
    for name in ("pictures", "classes"):
        generator = torch.Generator().manual_seed(seed)
        game = digit_game(name, seed)
        play(game, images[:TRAINING], labels[:TRAINING], options.steps(STEPS), generator)
        with torch.no_grad():
            ids = game.eval().sender(images).ids.numpy()
        forest = MessageForest(SYMBOLS, seed).fit(ids[:TRAINING], labels[:TRAINING].numpy())
        stats = language_stats(ids[TRAINING:], labels[TRAINING:], None)
        result[f"{name} forest"] = float((forest.predict(ids[TRAINING:]) == labels[TRAINING:].numpy()).mean())
        result[f"{name} nmi"], result[f"{name} few"] = stats["nmi"], -float(stats["distinct"])
        result[f"{name} many"] = -0.4 * stats["distinct"]
    batch = paired(images[TRAINING:], labels[TRAINING:], DRAWS, generator)
    result["classes matched"] = game.accuracy(batch)
    exchanged = torch.arange(CLASSES).roll(1)
    result["chance left"] = 1 / CLASSES - game.accuracy(batch, exchanged)
    return result


def digit_game(name: str, seed: int) -> Game:
    """Untrained players of a game."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sender = SymbolSender(PictureNet(1, HIDDEN, 1), HIDDEN, SYMBOLS, LENGTH)
        receiver = SymbolReceiver(PictureNet(1, HIDDEN, 1), HIDDEN, SYMBOLS)
    return (WithinClassGame if name == "classes" else ReferentialGame)(sender, receiver)


def play(game: Game, images: Tensor, labels: Tensor, steps: int, generator: torch.Generator) -> None:
    """Train the players on pictures (N, 1, 8, 8)."""
    optimizer = torch.optim.Adam(game.parameters(), lr=LR)
    for _ in range(steps):
        if isinstance(game, WithinClassGame):
            batch = paired(images, labels, GROUPS, generator)
        else:
            sent = images[torch.randperm(len(images), generator=generator)[:CANDIDATES]][None]
            batch = {"sent": sent, "candidates": sent}
        count = batch["sent"].shape[0] * batch["sent"].shape[1]
        batch["noise"] = gumbel_noise((count, LENGTH, SYMBOLS), generator)
        optimizer.zero_grad()
        game.loss(batch).total.backward()
        optimizer.step()


def paired(images: Tensor, labels: Tensor, groups: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A batch of the game within classes."""
    sampler = PairSampler(labels, CLASSES)
    first, second = zip(*(sampler.draw(generator) for _ in range(groups)), strict=True)
    return {"sent": images[torch.stack(first)], "candidates": images[torch.stack(second)]}


def actions(seed: int, frames: Frames, options: BenchOptions) -> dict[str, float]:
    """How well motions are told from messages about motions that were not trained on."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    order = rng.permutation(len(frames))
    training, asked = order[ASKED:], order[:ASKED]
    config = Config(classes=len(frames.names[LABEL]), resolution=frames.images.shape[1])
    objective = new(config, frames, seed)
    optimizer = torch.optim.Adam(objective.parameters(), lr=LR)
    for _ in range(options.steps(ACTION_STEPS)):
        loss = objective(objective.batch(frames, rng.choice(training, ACTION_BATCH, replace=False), generator))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    ids, _ = messages_of(objective.encoder.eval(), frames)
    return {f"motions {name}": value for name, value in label_accuracy(ids, frames, SYMBOLS, training, asked).items()}
