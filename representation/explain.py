"""What an encoder keeps and what it drops, as a page: `python -m representation.explain --encoder RUN --data DIR`.

Beside `--output DIR`, which gets `report.html`, one page without any other file, and `report.json`. The page says

- of every factor that the simulator wrote down for the frames: whether it can be read from the vectors, what share of
  their variance it takes, and where among the principal components it shows (`feature_bias`);
- of 18 transforms of cut-out objects: how invariant the vectors are to each (`invariance_transfer`);
- and warns of factors that are dropped or hardly there, and of invariances that remove a factor that a task needs.

Raw pixels stand beside the encoder everywhere. Cut-outs are those of `python -m sim.cut_outs`, any folder with
`foregrounds` and `backgrounds`, frames with segmentation (`python -m sim.segmented_scenes`), or drawn ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.analysis.explain_page import Explanation, write_page
from representation.analysis.feature_bias.audit import READABLE, AuditReport, audit, frame_factors
from representation.analysis.invariance_transfer.dataset import Transforms2D
from representation.analysis.invariance_transfer.measures import Metric, invariance_matrix
from representation.analysis.invariance_transfer.objects import (
    cut_outs_of,
    procedural_backgrounds,
    procedural_objects,
    read_pictures,
)
from representation.analysis.invariance_transfer.transforms import RGBA, TRANSFORMS
from representation.data.atomic_files import write_json
from representation.data.frames import FRAMES_FILE, Frames, expect_empty, open_frames
from representation.embedding import embed
from representation.interface import Encoder
from representation.probe import RAW_SIZE, raw_pixels
from representation.registry import load_encoder

ENCODER, PIXELS = "encoder", "raw pixels"
REMOVES = {
    "rotate": ("turn", "rotation", "orientation", "angle", "yaw", "pose"),
    "h_flip": ("turn", "rotation", "orientation"),
    "v_flip": ("turn", "rotation", "orientation"),
    "translate": ("position", "place"),
    "scale": ("scale", "size"),
    "hue": ("color", "colour"),
    "grayscale": ("color", "colour"),
    "invert": ("color", "colour"),
    "brightness": ("light", "lighting"),
    "contrast": ("light", "lighting"),
}
"""Names of factors that an invariance to a transform removes."""

_DRAWN, _GROUPS = 20, 5


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained.

    Attributes:
        encoder: directory of an encoder or of a pretraining run.
        data: directory of frames whose factors are known, such as those of `python -m sim.renders`.
        output: directory to write; must not hold files.
        factors: columns that are asked about; all that can be if left out.
        needs: factors that the task needs, which must not be dropped; all that are asked about if left out.
        angles: columns that are angles, rad.
        cut_outs: see the module; drawn objects if left out.
        least_share: of the variance, below which a factor that can be read is warned of.
        invariant: a transform counts as not seen below this share of what raw pixels see of it.
        metric: by which vectors are compared.
        pairs: pictures of each transform.
        rows: frames at most, drawn at random.
        size: side of the pictures of cut-outs, pixels; 0 for that of the frames.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        points: of the clouds that are made of the depth of a LeRobot dataset or a bag; 0 makes none.
        seed: of rows and transforms.
    """

    encoder: Path
    data: Path
    output: Path
    factors: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    angles: tuple[str, ...] = ("turn",)
    cut_outs: Path | None = None
    least_share: float = 0.05
    invariant: float = 0.5
    metric: Metric = "l2"
    pairs: int = 256
    rows: int = 1000
    size: int = 0
    camera: str = ""
    image_size: int = 0
    points: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.invariant < 1 or min(self.pairs, self.rows) < 8:
            raise ValueError(f"invariant, pairs, rows: expected in (0, 1), 8 and 8, found {self}")


def explain(encoder: Encoder, frames: Frames, options: ExplainOptions) -> Explanation:
    """Audit an encoder.

    Args:
        encoder: of pictures; of others, only factors are asked about.
        frames: whose factors are known.
        options: the rest.

    Raises:
        ValueError: see `frame_factors`, or a needed factor that is not asked about.
    """
    rng = np.random.default_rng(options.seed)
    rows = np.sort(rng.permutation(len(frames))[: options.rows])
    episodes = len(np.unique(frames.episode[rows]))
    groups = frames.episode[rows] if _GROUPS <= episodes < len(rows) else None
    shown = frames.subset(rows)
    factors = frame_factors(shown, options.factors, options.angles)
    unknown = [name for name in options.needs if name not in factors]
    if unknown:
        raise ValueError(f"--needs: expected some of {', '.join(factors)}, found {', '.join(unknown)}")
    # Clips reach back to the beginning of their episodes, so vectors are made of all frames.
    vectors = embed(encoder, frames, rows)
    ours, pixels = (audit(part, factors, options.least_share, groups=groups) for part in (vectors, raw_pixels(shown)))
    invariances, pictures, source = {}, {}, ""
    if encoder.modality == "image":
        size = options.size or frames.images.shape[1]
        foregrounds, backgrounds, source = cut_outs(options.cut_outs, size, options.seed)
        invariances = measured(encoder, foregrounds, backgrounds, size, options)
        pictures = examples(foregrounds, backgrounds, size, options.seed)
    warnings = warned(ours, pixels, invariances, options)
    name = f"{type(encoder).__name__} of {options.encoder.name}"
    return Explanation(
        name,
        len(rows),
        ours,
        pixels,
        invariances,
        options.metric,
        pictures,
        source,
        (*warnings, *ours.warnings),
        options.least_share,
    )


def cut_outs(path: Path | None, size: int, seed: int) -> tuple[Sequence[RGBA], Sequence[NDArray[np.uint8]], str]:
    """Objects, backgrounds, and where they came from; see the module."""
    if path is None:
        return procedural_objects(_DRAWN, size, seed), procedural_backgrounds(_DRAWN, size, seed), "drawn objects"
    if (path / FRAMES_FILE).is_file():
        objects, _, kinds, backgrounds = cut_outs_of(open_frames(path), each=3)
        return objects, backgrounds, f"{len(objects)} cut-outs of {', '.join(kinds)} in {path.name}"
    objects, names = read_pictures(path / "foregrounds", cut_out=True)
    backgrounds, _ = read_pictures(path / "backgrounds", cut_out=False)
    return objects, backgrounds, f"{len(names)} objects of {path.name}"


def measured(
    encoder: Encoder,
    foregrounds: Sequence[RGBA],
    backgrounds: Sequence[NDArray[np.uint8]],
    size: int,
    options: ExplainOptions,
) -> dict[str, tuple[float, float]]:
    """Invariance to each transform, of the encoder and of raw pixels."""

    def pixels(images: Tensor) -> Tensor:
        return F.interpolate(images, (RAW_SIZE, RAW_SIZE), mode="area")

    encoders = {ENCODER: encoder, PIXELS: pixels}
    table = invariance_matrix(
        encoders, tuple(TRANSFORMS), foregrounds, backgrounds, options.pairs, size, options.seed, options.metric
    )
    return {name: (float(table.loc[ENCODER, name]), float(table.loc[PIXELS, name])) for name in TRANSFORMS}


def examples(
    foregrounds: Sequence[RGBA], backgrounds: Sequence[NDArray[np.uint8]], size: int, seed: int
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Two draws (S, S, 3) of each transform on the same object and background, the first that differ."""
    found = {}
    for name in TRANSFORMS:
        pair = [Transforms2D(foregrounds, backgrounds, [name], 32, size, seed, seed + 1 + draw) for draw in range(2)]
        drawn = [(pair[0].image(index), pair[1].image(index)) for index in range(8)]
        found[name] = next((two for two in drawn if not np.array_equal(*two)), drawn[0])
    return found


def warned(
    report: AuditReport, pixels: AuditReport, invariances: dict[str, tuple[float, float]], options: ExplainOptions
) -> list[str]:
    """Sentences on factors that a task needs and the encoder drops, and on invariances that remove them."""
    needed = [row for row in report.rows if not options.needs or row.factor in options.needs]
    raw = {row.factor: row for row in pixels.rows}
    found = []
    for row in needed:
        if row.above_chance < READABLE:
            word = "dropped" if row.verdict(options.least_share) == "dropped" else "partly dropped"
            found.append(
                f"{row.factor} is {word}: it is read with {row.decodability:.2f} (chance {row.chance:.2f}; raw pixels "
                f"{raw[row.factor].decodability:.2f})"
            )
        for transform, names in REMOVES.items():
            ours, beside = invariances.get(transform, (float("nan"), float("nan")))
            if row.factor.lower() in names and ours < options.invariant * beside:
                found.append(
                    f"{transform} is hardly seen ({ours:.2f} of the distance of different pictures; raw pixels "
                    f"{beside:.2f}), which removes {row.factor}"
                )
    return found


def main(args: Sequence[str] | None = None) -> None:
    """Write the page, and print its warnings."""
    options = tyro.cli(ExplainOptions, args=args, description=__doc__)
    expect_empty(options.output)
    frames = open_frames(options.data, options.camera, options.image_size, options.points)
    found = explain(load_encoder(options.encoder), frames, options)
    options.output.mkdir(parents=True, exist_ok=True)
    content = asdict(found)
    del content["pictures"]
    content["invariances"] = {  # JSON has no NaN
        name: [value if np.isfinite(value) else None for value in values] for name, values in found.invariances.items()
    }
    write_json(options.output / "report.json", content)
    page = options.output / "report.html"
    write_page(page, found)
    print("\n".join([*found.audit.lines(), *(f"warning: {sentence}" for sentence in found.warnings), str(page)]))


if __name__ == "__main__":
    main()
