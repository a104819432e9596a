"""InfoMEC of every encoder of pictures that claims to keep things apart, on renders whose factors are known.

Who claims it, by what the registry and its paper say, and takes pictures: `qlae` (one number means one thing), `diti`
(its numbers are ordered from fine to coarse, and more modular than those of plain diffusion autoencoders), `sie` (which
object and how turned, in two halves) and `customcontrast` (the subject apart from its view; coarse and fine codes). The
last three claim it of groups of numbers; InfoMEC asks each number for itself, and is harder on them. `dts`, `progae`
and `gcrl` claim it too, but of signals, chains and trajectories, and are measured in their own benchmarks. `mmist`
keeps everything in its place and changes the look, but gives no vectors; `binary_latent_diffusion` and `matryoshka`
order or pack what they keep, and claim no meaning of single numbers.

Each is trained on the same 1,400 renders by the loop of `representation.pretrain`, and measured on 1,000 others. An
"object" of `sie` and `customcontrast` is one colour, shape and size, in any place and turn; both thereby know object
and turn of what they train on, and `customcontrast` its caption, which the others do not. Beside each stand its own
untrained network, PCA of as many numbers from raw pixels, and the autoencoder: `qlae`'s network without quantisation
and decay. Vectors have 32 numbers (12 of `qlae` and the autoencoder, its default), and steps are 300 to 600, so that
the whole takes less than 20 minutes of one core; the paper of `qlae` takes 200,000. Nothing is asked of the numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.frames import Frames, open_frames
from representation.disentanglement import sources_of
from representation.embedding import embed
from representation.generative.qlae import QLAE, InfoMEC, QLAEEncoder, infomec
from representation.objective_learner import ObjectiveLearner
from representation.pretrain import PretrainConfig, configured
from representation.probe import raw_pixels
from representation.registry import module_of
from representation.training import TrainingLoop, new_accelerator

FACTORS, BINS = ("color", "shape", "scale", "position", "turn"), 5
MEASURED = 1000
DENOISER, AUTOENCODER, PRINCIPAL, UNTRAINED = "diffusion_classification", "autoencoder", "PCA, as wide", "untrained"
MEASURES = {"modularity": "infom", "explicitness": "infoe", "compactness": "infoc"}


@dataclass(frozen=True)
class Course:
    """How a system is trained.

    Attributes:
        settings: as after `--set` of `representation.pretrain`.
        steps: of the training.
        batch: frames of a step.
        weight_decay: of AdamW.
    """

    settings: tuple[str, ...] = ()
    steps: int = 300
    batch: int = 16
    weight_decay: float = 0.05


QLAE_COURSE = Course(steps=600, batch=32, weight_decay=1.0)
PLAIN_COURSE = Course(steps=600, batch=32, weight_decay=0.0)
DENOISER_COURSE = Course(("resolution=16", "channels=16", "groups=8", "multipliers=1,2"))
COURSES = {
    "qlae": QLAE_COURSE,
    "diti": Course(("latent_dim=32", "k=8", "channels=16", "groups=8")),
    "sie": Course(("width=32", "equivariant=16", "resolution=32"), batch=64),
    "customcontrast": Course(("width=8", "n_scales=3")),
}


def by_object(frames: Frames) -> Frames:
    """The same renders, those of one colour, shape and size as views of one object, with its `rotation` (N, 4)."""
    kinds = np.stack([frames.columns[name] for name in ("color", "shape", "scale")], axis=1)
    numbers = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1)
    half = frames.columns["turn"] / 2
    rotation = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], axis=1)
    return Frames(frames.images, numbers, {**frames.columns, "rotation": rotation}, frames.names, frames.texts)


def train(objective: Any, name: str, course: Course, frames: Frames, output: Path, steps: int, seed: int) -> Any:
    """The encoder of an objective after its training, with averaged weights, as `representation.pretrain` makes it."""
    config = PretrainConfig(
        output=output,
        system=name,
        data=output,
        steps=steps,
        batch_size=course.batch,
        weight_decay=course.weight_decay,
        warmup_steps=min(50, steps),
        average_decay=0.98,
        seed=seed,
    )
    output.mkdir()
    run = TrainingLoop(config, ObjectiveLearner(config, objective, frames), new_accelerator(config))
    run.train()
    run.end()
    return run.average.encoder.eval()


def measure(encoder: Any, frames: Frames, sources: NDArray[np.int64]) -> InfoMEC:
    """Of an encoder's vectors of frames; those of quantised latents are told apart, others measured."""
    discrete = isinstance(encoder, QLAEEncoder) and encoder.model.quantizer is not None
    return infomec(sources, embed(encoder, frames), discrete=discrete)


def plain_autoencoder(frames: Frames, seed: int) -> Any:
    """The objective of `qlae` over its network without quantisation."""
    module = module_of("qlae")
    objective = module.new(module.Config(), frames, seed)
    config, seeded = objective.encoder.config, objective.encoder.model
    bare = QLAE(seeded.in_shape, config.latents, 0, width=config.channels)
    bare.encoder, bare.decoder = seeded.encoder, seeded.decoder
    objective.encoder.model = bare
    return objective


def scores(training: Frames, measured: Frames, options: BenchOptions, seed: int) -> dict[tuple[str, str], InfoMEC]:
    """InfoMEC by the system's name and by what of it is measured: "trained" or a baseline."""
    _, sources = sources_of(measured, FACTORS, BINS)
    pixels, seen = raw_pixels(training), raw_pixels(measured)
    found: dict[tuple[str, str], InfoMEC] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)

        def trained(objective: Any, name: str, course: Course, output: Path) -> Any:
            return train(objective, name, course, training, output, options.steps(course.steps), seed)

        def new(name: str, settings: tuple[str, ...]) -> Any:
            module = module_of(name)
            return module.new(configured(module.Config, settings), training, seed)

        trained(new(DENOISER, DENOISER_COURSE.settings), DENOISER, DENOISER_COURSE, place / DENOISER)
        bare = trained(plain_autoencoder(training, seed), "qlae", PLAIN_COURSE, place / AUTOENCODER)
        plain = measure(bare, measured, sources)
        for name, course in COURSES.items():
            settings = course.settings + ((f"denoiser={place / DENOISER}",) if name == "diti" else ())
            objective = new(name, settings)
            found[name, UNTRAINED] = measure(objective.encoder.eval(), measured, sources)
            encoder = trained(objective.train(), name, course, place / name)
            found[name, "trained"] = measure(encoder, measured, sources)
            components = PCA(encoder.width, random_state=seed).fit(pixels).transform(seen)
            found[name, PRINCIPAL] = infomec(sources, components, discrete=False)
            found[name, AUTOENCODER] = plain
    return found


def claims(found: list[Mapping[tuple[str, str], InfoMEC]]) -> list[Claim]:
    """What is told of results by seed."""
    told = []
    for name in COURSES:
        ours = [one[name, "trained"] for one in found]
        for other in (UNTRAINED, PRINCIPAL, AUTOENCODER):
            theirs = [one[name, other] for one in found]
            told += [
                Claim(
                    f"{name} on renders: {words}",
                    other,
                    tuple(getattr(one, measure) for one in ours),
                    tuple(getattr(one, measure) for one in theirs),
                    None,
                )
                for words, measure in MEASURES.items()
            ]
        vary, all_of = (tuple(float(count(one.active)) for one in ours) for count in (np.sum, np.size))
        told.append(Claim(f"{name} on renders: numbers that vary", "all its numbers", vary, all_of, None))
    return told


def run(options: BenchOptions) -> list[Claim]:
    """Modularity, explicitness and compactness of each system beside the baselines, by seed.

    Raises:
        FileNotFoundError: the renders were not drawn.
        ValueError: fewer renders than are measured.
    """
    frames = by_object(open_frames(options.data))
    if len(frames) < 2 * MEASURED:
        raise ValueError(f"{options.data}: expected at least {2 * MEASURED} renders, found {len(frames)}")
    found = []
    for seed in range(options.seeds):
        rows = np.random.default_rng(seed).permutation(len(frames))
        training, measured = (frames.subset(np.sort(part)) for part in (rows[MEASURED:], rows[:MEASURED]))
        found.append(scores(training, measured, options, seed))
    return claims(found)
