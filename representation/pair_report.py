"""How pictures and texts lie to each other: `python -m representation.pair_report --encoders RUN [RUN ...] --data DIR`.

With an encoder before and after fine-tuning, on the same held-out episodes: distance of the two kinds, how evenly they
fill the sphere, how often a picture finds its text, and how far its probabilities can be believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from representation import hypersphere
from representation.data.batches import split_frames
from representation.data.frames import Frames, open_frames
from representation.embedding import embed
from representation.pretraining.clip import CLIPEncoder
from representation.registry import load_encoder


@dataclass(frozen=True)
class ReportOptions:
    """What is compared.

    Attributes:
        encoders: directories of encoders of `clip`, or of runs that trained one.
        data: directory of the frames.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        held_out: how many episodes are measured; 0 for all.
        seed: chooses them as a pretraining run with this seed and as many `--validation-episodes` does.
    """

    encoders: tuple[Path, ...]
    data: Path
    camera: str = ""
    image_size: int = 0
    held_out: int = 0
    seed: int = 0


@torch.inference_mode()
def pair_report(encoder: CLIPEncoder, frames: Frames, rows: NDArray[np.int64]) -> dict[str, float]:
    """Measures of some frames and of all texts that they have; see `hypersphere`.

    Gap, alignments and recall are of pairs with different texts, the first frame of each.
    """
    texts = [frames.texts[row] for row in rows]
    phrases, first, labels = np.unique(texts, return_index=True, return_inverse=True)
    images = torch.from_numpy(embed(encoder, frames, rows))
    sentences = encoder.encode_texts(list(phrases)).cpu()
    pairs = images[first], sentences
    probabilities = (encoder.model.scale().cpu() * images @ sentences.T).softmax(dim=1)
    own = torch.from_numpy(labels)
    return {
        "modality gap": hypersphere.modality_gap(*pairs),
        "uniformity": hypersphere.uniformity(torch.cat(pairs)),
        "alignment": hypersphere.alignment(*pairs),
        "relative alignment": hypersphere.relative_alignment(*pairs),
        "recall@1 of texts": hypersphere.retrieval_recall(*pairs),
        "recall@1 of pictures": hypersphere.retrieval_recall(*pairs[::-1]),
        "recall@5 of texts": hypersphere.retrieval_recall(*pairs, k=5),
        "recall@5 of pictures": hypersphere.retrieval_recall(*pairs[::-1], k=5),
        "accuracy of texts": float((probabilities.argmax(dim=1) == own).float().mean()),
        "calibration error": hypersphere.expected_calibration_error(probabilities, own),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Print a table.

    Raises:
        ValueError: frames without texts, or an encoder that takes none.
    """
    options = tyro.cli(ReportOptions, args=args, description=__doc__)
    frames = open_frames(options.data, options.camera, options.image_size)
    frames.need(("texts",))
    rows = np.arange(len(frames))
    if options.held_out:
        rows = split_frames(frames, options.held_out, np.random.default_rng(options.seed))[1]
    columns = []
    for directory in options.encoders:
        encoder = load_encoder(directory)
        if not isinstance(encoder, CLIPEncoder):
            raise ValueError(f"{directory}: expected an encoder of clip, found {type(encoder).__name__}")
        columns.append(pair_report(encoder, frames, rows))
    print(f"{len(rows)} frames")
    for name in columns[0]:
        print(f"{name:<22}" + "".join(f"{column[name]:>9.3f}" for column in columns))


if __name__ == "__main__":
    main()
