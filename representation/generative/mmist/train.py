"""Train a small MMIST on procedural textures and frames: `python -m representation.generative.mmist.train --help`.

    python -m representation.generative.mmist.train --contents DIR [DIR ...] --output RUN

Contents are what `representation.data.frames` reads: renders, LeRobot datasets, bags, folders of pictures. In turn four
networks are trained: the encoder of the style transfer net, which tells kinds, colours and lights of textures; the
generator of style pictures; the CLIP, on captioned textures and frames; the style transfer net, on frames in the
styles of textures and of generated pictures. RUN then holds `model/` (what `representation.restyle` reads),
`metrics.jsonl` and `samples.png`. How well edges stay where they were is measured in training, and printed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.data.frames import Frames, as_pixels, expect_empty, open_frames, square
from representation.generative.mmist.edges import mean_edge_f1
from representation.generative.mmist.model import MMIST, Look, MMISTConfig
from representation.generative.mmist.patches import random_perspective
from representation.generative.mmist.style_transfer import LEAST_SIDE, LEAST_STD, StyleTransferNet, VGGEncoder
from representation.generative.mmist.texture_generator import TextureGenerator
from representation.generative.mmist.textures import COLOURS, KINDS, LIGHTS, captioned, draw_texture, known_words, lit
from representation.generative.mmist.transfer_loss import TransferWeights, transfer_loss
from representation.metrics_log import MetricsLog
from representation.pretraining.clip import Config as CLIPSettings
from representation.pretraining.clip import new as new_clip
from representation.pretraining.clip.encoder import CLIPEncoder, prepare

UNNAMED = ("scene", "table")
MOST_CONTENTS, MOST_CODES = 2000, 500
CLIP_SIZES = CLIPSettings(embed_dim=64, resolution=32, vision_width=12, text_width=64, context_length=32)
SAMPLES = 6


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast the four networks are trained.

    Attributes:
        textures: drawn.
        encoder_steps: steps of the encoder of the style transfer net.
        generator_steps: of the generator.
        clip_steps: of the CLIP.
        transfer_steps: of the style transfer net.
        batch: pictures of a step; the style transfer net sees half, the CLIP 8 times as many.
        lr: peak learning rate, of Adam with a cosine.
        weights: of the style transfer's loss.
    """

    textures: int = 2000
    encoder_steps: int = 400
    generator_steps: int = 1500
    clip_steps: int = 1200
    transfer_steps: int = 2500
    batch: int = 8
    lr: float = 2e-3
    weights: TransferWeights = field(default_factory=TransferWeights)


@dataclass(frozen=True)
class TrainOptions:
    """What is trained.

    Attributes:
        contents: directories of frames.
        output: directory of the run; new or empty.
        camera: of LeRobot datasets and bags; the first one if left out.
        model: sizes.
        settings: steps.
        seed: of all draws and weights.
        threads: of torch.
    """

    contents: tuple[Path, ...]
    output: Path
    camera: str = ""
    model: MMISTConfig = field(default_factory=MMISTConfig)
    settings: TrainSettings = field(default_factory=TrainSettings)
    seed: int = 0
    threads: int = 2


class _Pictures:
    """Textures and contents, in memory.

    Args:
        frames: contents, of one size.
        config: sizes.
        count: textures.
        seed: of all draws.
    """

    def __init__(self, frames: Frames, config: MMISTConfig, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(frames))[:MOST_CONTENTS]
        side = config.work_side or config.style_side
        self.contents = np.stack([square(image, side) for image in frames.images[rows]])
        drawn = [draw_texture(config.style_side, rng) for _ in range(count)]
        self.textures = np.stack([texture.image for texture in drawn])
        self.labels = torch.tensor([texture.labels for texture in drawn])
        self.captions = [texture.caption for texture in drawn]
        words = [frames.texts[row] if frames.texts else str(rng.choice(UNNAMED)) for row in rows]
        shown = [lit(square(image, config.style_side), rng) for image in self.contents]
        images = np.concatenate([self.textures, np.stack([image for image, _ in shown])])
        said = [captioned(f"{light} {text}".strip(), rng) for (_, light), text in zip(shown, words, strict=True)]
        self.captioned = Frames(images, np.arange(len(images)), texts=[*self.captions, *said])


def fit(
    parameters: Sequence[nn.Parameter],
    loss: Callable[[int], Tensor],
    steps: int,
    lr: float,
    told: Callable[[int, float, float], None] = lambda step, lr, loss: None,
    name: str = "",
    progress: bool = False,
) -> None:
    """Adam with a short warm-up and a cosine; `told` hears step, rate and loss of every 20th step."""
    optimizer = torch.optim.Adam(parameters, lr)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    for step in tqdm(range(steps), desc=name, unit="step", disable=not progress):
        optimizer.zero_grad()
        found = loss(step)
        found.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        if step % 20 == 19 or step == steps - 1:
            told(step, schedule.get_last_lr()[0], float(found.detach()))
        schedule.step()


class TextureTeller(nn.Module):
    """Tells kind, colours and light of textures from the means and deviations of all levels of an encoder."""

    def __init__(self, encoder: VGGEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        count = 2 * sum(encoder.widths)
        answers = len(KINDS) + 2 * len(COLOURS) + len(LIGHTS)
        self.head = nn.Sequential(nn.BatchNorm1d(count, affine=False), nn.Linear(count, answers))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropies of all four, for pictures (B, 3, H, W) and labels (B, 4)."""
        parts = [torch.var_mean(features, dim=(2, 3)) for features in self.encoder.levels(images)]
        told = torch.cat([part for variance, mean in parts for part in (mean, (variance + 1e-5).sqrt())], dim=1)
        logits = self.head(told).split((len(KINDS), len(COLOURS), len(COLOURS), len(LIGHTS)), dim=1)
        losses = [F.cross_entropy(logit, labels[:, column]) for column, logit in enumerate(logits)]
        return torch.stack(losses).sum()


Told = Callable[[str], Callable[[int, float, float], None]]


def train_mmist(
    frames: Frames, config: MMISTConfig, settings: TrainSettings, seed: int, told: Told | None = None
) -> MMIST:
    """All four networks, one after the other.

    Args:
        frames: contents.
        config: sizes; `words` is filled in.
        settings: steps.
        seed: of all draws and weights.
        told: makes of a stage's name what hears of its steps, and shows progress; None does neither.
    """
    data, draws = _Pictures(frames, config, settings.textures, seed), torch.Generator().manual_seed(seed)
    batch = settings.batch

    def run(name: str, module: nn.Module, loss: Callable[[int], Tensor], steps: int, lr: float = settings.lr) -> None:
        heard = told(name) if told else lambda step, lr, loss: None
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        module.train()
        fit(trained, loss, steps, lr, heard, name, progress=told is not None)
        module.eval()

    def rows(count: int, size: int = batch) -> NDArray[np.int64]:
        return torch.randint(count, (size,), generator=draws).numpy()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        teller = TextureTeller(VGGEncoder(config.widths))

        def texture_loss(step: int) -> Tensor:
            chosen, part = rows(len(data.textures), 4 * batch), max(LEAST_SIDE, config.style_side // 2)
            top, left = torch.randint(config.style_side - part + 1, (2,), generator=draws).tolist()
            crops = data.textures[chosen, top : top + part, left : left + part]
            return teller.loss(as_pixels(crops), data.labels[chosen])

        run("encoder", teller, texture_loss, settings.encoder_steps)
        vgg = teller.encoder.requires_grad_(False)
        sample = [as_pixels(square_crops(data.contents, 32, config.style_side, draws)), as_pixels(data.textures[:32])]
        vgg.normalise(torch.cat(sample))

        generator = TextureGenerator(config.style_side, config.generator_width, config.w_dim, seed)
        generator.fill_bank(data.captioned.pixels(rows(len(data.captioned), config.generator_width)))

        def generator_loss(step: int) -> Tensor:
            chosen = rows(len(data.captioned), batch)
            return generator.loss(data.captioned.pixels(chosen), vgg)

        run("generator", generator, generator_loss, settings.generator_steps)
        generator.requires_grad_(False)
        generator.fit_draws(data.captioned.pixels(rows(len(data.captioned), MOST_CODES)))

        clip, words = _trained_clip(data.captioned, run, rows, draws, settings, seed)

        net = StyleTransferNet(vgg, config.widths, config.max_sample)
        pairs, half = max(2, batch // 2), max(1, batch // 4)

        def styles() -> Tensor:
            with torch.no_grad():
                z = torch.randn(pairs - half, config.w_dim, generator=draws)
                made = (generator.synthesis(generator.mapping(z)) / 2 + 0.5).clamp(0, 1)
            return torch.cat([as_pixels(data.textures[rows(len(data.textures), half)]), made])

        def style_loss(step: int) -> Tensor:
            contents = as_pixels(square_crops(data.contents, pairs, config.style_side, draws))
            return transfer_loss(net, contents, styles(), settings.weights)[0]

        run("style transfer", net, style_loss, settings.transfer_steps)
    return MMIST(replace(config, words=words), clip, net, generator)


def _trained_clip(
    frames: Frames, run: Callable, rows: Callable, draws: torch.Generator, settings: TrainSettings, seed: int
) -> tuple[CLIPEncoder, tuple[str, ...]]:
    """A CLIP of captioned pictures, and the words that it has read."""
    objective = new_clip(CLIP_SIZES, frames, seed)
    side = CLIP_SIZES.resolution

    def loss(step: int) -> Tensor:
        chosen = rows(len(frames), 8 * settings.batch)
        seen, whole = frames.pixels(chosen), torch.rand(len(chosen), generator=draws) < 0.5
        crop = min(side, seen.shape[-1])
        patches = random_perspective(seen, crop, side, draws)
        sized = F.interpolate(seen, (side, side), mode="bilinear", antialias=True, align_corners=False)
        images = torch.where(whole[:, None, None, None], sized, patches)
        context = CLIP_SIZES.context_length
        tokens = objective.encoder.tokenizer([frames.texts[row] for row in chosen], context, truncate=True)
        return objective({"images": prepare(images, side), "tokens": tokens}).total

    run("CLIP", objective, loss, settings.clip_steps)
    return objective.encoder, known_words(frames.texts)


def square_crops(images: NDArray[np.uint8], count: int, side: int, draws: torch.Generator) -> NDArray[np.uint8]:
    """Random squares (count, side, side, 3) of random pictures (N, H, W, 3)."""
    largest = images.shape[1] - side
    found = []
    for row in torch.randint(len(images), (count,), generator=draws).tolist():
        top, left = torch.randint(largest + 1, (2,), generator=draws).tolist()
        found.append(images[row, top : top + side, left : left + side])
    return np.stack(found)


@torch.no_grad()
def sampled(model: MMIST, frames: Frames, seed: int) -> tuple[NDArray[np.uint8], float]:
    """Some frames below random style pictures and in their styles, and the mean F1 of their edges."""
    draws, config = torch.Generator().manual_seed(seed), model.config
    chosen = torch.randperm(len(frames), generator=draws)[:SAMPLES].numpy()
    contents = np.stack([square(image, config.work_side or config.style_side) for image in frames.images[chosen]])
    inverter = model.inverter()
    z = torch.randn(SAMPLES, config.w_dim, generator=draws)
    styles = inverter.picture(inverter.generator.mapping(z))
    lines, scores = [[np.zeros_like(contents[0]), *contents]], []
    for style in styles:
        if style.std() < LEAST_STD:
            continue
        made = as_bytes(model.restyle(as_pixels(contents), model.style(Look("drawn", style[None]))))
        scores.append(mean_edge_f1(contents, made))
        lines.append([cv2.resize(as_bytes(style[None])[0], contents.shape[2:0:-1]), *made])
    picture = np.concatenate([np.concatenate(line, axis=1) for line in lines])
    return picture, float(np.mean(scores)) if scores else 0.0


def as_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Pictures (B, H, W, 3) of pictures (B, 3, H, W) in [0, 1]."""
    return (255 * images).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def open_contents(paths: Sequence[Path], camera: str, side: int) -> Frames:
    """Frames of several directories, brought to one size."""
    parts = [open_frames(path, camera, side) for path in paths]
    texts = [text for part in parts for text in part.texts] if all(part.texts for part in parts) else []
    images = np.concatenate([part.images for part in parts])
    return Frames(images, np.arange(len(images)), texts=texts)


def main(args: Sequence[str] | None = None) -> None:
    """Train from the command line."""
    options = tyro.cli(TrainOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "train_config.json").write_text(json.dumps(asdict(options), indent=2, default=str) + "\n")
    log = MetricsLog(options.output, 0)

    def told(name: str) -> Callable[[int, float, float], None]:
        return lambda step, lr, loss: log.write({"stage": name, "step": step, "lr": lr, "loss": loss})

    config = options.model
    frames = open_contents(options.contents, options.camera, config.work_side or config.style_side)
    model = train_mmist(frames, config, options.settings, options.seed, told)
    model.save(options.output / "model")
    picture, score = sampled(model, frames, options.seed)
    cv2.imwrite(str(options.output / "samples.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    log.write({"stage": "edges", "step": options.settings.transfer_steps, "edge_f1": score})
    print(f"{options.output / 'model'}: F1 of the edges of frames in random styles {score:.2f}")


if __name__ == "__main__":
    main()
