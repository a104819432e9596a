"""Messages of frames: `python -m representation.memory.grounded_language.talk --encoder RUN --data DIR`.

Prints what the language is like and, where the frames have labels, how well labels are told from messages: forest and
translator learn from messages of some episodes and are asked about those of others (the encoder may know all of them).
`--pattern '3-7-*-*'` prints the frames whose messages fit; `--maps` writes a picture of what caused each symbol, and
`--places` one in which frames lie near each other that the sender sees alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from representation.data.atomic_files import write_json
from representation.data.batches import split_frames
from representation.data.frames import LABEL, Frames, open_frames
from representation.memory.grounded_language.encoder import LanguageEncoder
from representation.memory.grounded_language.forest import MessageForest
from representation.memory.grounded_language.grad_cam import symbol_grad_cam
from representation.memory.grounded_language.patterns import format_message, matches, parse_pattern
from representation.memory.grounded_language.statistics import language_stats
from representation.memory.grounded_language.translator import MessageTranslator
from representation.registry import load_encoder

BATCH = 128
ASKED_SHARE = 3  # one of so many episodes
TILE = 128  # pixels
PERPLEXITY, MOST_PLACED = 30, 2000  # frames


@dataclass(frozen=True)
class TalkOptions:
    """What is talked about.

    Attributes:
        encoder: directory of an encoder of this system, or of a run that trained it.
        data: directory of the frames.
        camera: of a LeRobot dataset; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        pattern: symbols joined by -, * where any will do; prints the frames whose messages fit.
        output: JSON file of all messages to write.
        maps: picture to write.
        shown: frames that are in it.
        places: picture to write, with the places by t-SNE of what the sender sees, in the colours of labels.
    """

    encoder: Path
    data: Path
    camera: str = ""
    image_size: int = 0
    pattern: str = ""
    output: Path | None = None
    maps: Path | None = None
    shown: int = 8
    places: Path | None = None


@torch.inference_mode()
def messages_of(encoder: LanguageEncoder, frames: Frames) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Messages (N, L) of frames, and vectors (N, hidden) of what the sender sees."""
    ids, seen = [], []
    for start in range(0, len(frames), BATCH):
        pictures = encoder.prepared(frames.pixels(np.arange(start, min(start + BATCH, len(frames)))))
        state = encoder.sender.vision(pictures)
        ids.append(encoder.sender.speak(state).ids)
        seen.append(state)
    return torch.cat(ids).numpy(), torch.cat(seen).numpy()


def label_accuracy(
    ids: NDArray[np.int64], frames: Frames, vocab_size: int, training: NDArray[np.int64], asked: NDArray[np.int64]
) -> dict[str, float]:
    """How often forest and translator tell the labels of some frames after learning from others."""
    labels = frames.columns[LABEL]
    names = frames.names.get(LABEL, tuple(str(number) for number in range(int(labels.max()) + 1)))
    phrases = [names[label].replace("_", " ") for label in labels]
    words = sorted({word for name in phrases for word in name.split()})
    forest = MessageForest(vocab_size).fit(ids[training], labels[training])
    translator = MessageTranslator(vocab_size, words).fit(ids[training], [phrases[row] for row in training])
    told = translator.predict(ids[asked])
    return {
        "forest": float((forest.predict(ids[asked]) == labels[asked]).mean()),
        "translator": float(np.mean([word == phrases[row] for word, row in zip(told, asked, strict=True)])),
    }


def maps_picture(encoder: LanguageEncoder, frames: Frames, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A row for each frame: itself, then what caused each symbol of its message; (R x 128, (1 + L) x 128, 3) RGB."""
    pictures = encoder.prepared(frames.pixels(rows))
    columns = [pictures] + [
        pictures * 0.4 + 0.6 * symbol_grad_cam(encoder.sender, pictures, place)[:, None]
        for place in range(encoder.config.max_len)
    ]
    tiles = (255 * torch.stack(columns, dim=1)).round().byte().permute(0, 1, 3, 4, 2).numpy()
    large = [
        np.hstack([cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_NEAREST) for tile in row]) for row in tiles
    ]
    return np.vstack(large)


def tsne_places(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places (N, 2) of vectors (N, hidden) by t-SNE, whose perplexity is lower where there are few of them."""
    return TSNE(perplexity=min(PERPLEXITY, max(1, len(seen) // 4)), random_state=0).fit_transform(seen)


def draw_places(seen: NDArray[np.float32], frames: Frames, path: Path) -> None:
    """Draw the places of some frames, evenly chosen where there are many; in the colours of their labels, if known."""
    from matplotlib.figure import Figure  # only here: talking needs no drawing

    rows = np.unique(np.linspace(0, len(seen) - 1, MOST_PLACED).round().astype(int))
    places, labels = tsne_places(seen[rows]), frames.columns.get(LABEL, np.zeros(len(frames), np.int64))[rows]
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    for label in np.unique(labels):
        own = labels == label
        name = frames.names[LABEL][label] if LABEL in frames.names else str(label)
        axes.scatter(*places[own].T, s=6, label=name)
    if LABEL in frames.columns:
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main(args: Sequence[str] | None = None) -> None:
    """Talk and print."""
    options = tyro.cli(TalkOptions, args=args, description=__doc__)
    encoder = load_encoder(options.encoder)
    if not isinstance(encoder, LanguageEncoder):
        raise ValueError(f"--encoder: expected one of grounded_language, found {type(encoder).__name__}")
    frames = open_frames(options.data, options.camera, options.image_size)
    ids, seen = messages_of(encoder, frames)
    config = encoder.config
    if options.pattern:
        pattern = parse_pattern(options.pattern, config.vocab_size, config.max_len)
        for row in np.flatnonzero(matches(ids, pattern)):
            print(f"episode {frames.episode[row]} row {row}: {format_message(ids[row])}")
    stats = language_stats(ids, frames.columns.get(LABEL), seen)
    print(f"{len(ids)} messages of {config.max_len} symbols out of {config.vocab_size}, {stats['distinct']} different")
    print("bits at each position: " + " ".join(f"{bits:.2f}" for bits in stats["entropy"]))
    print(f"topographic similarity: {stats['topographic_similarity']:.3f}")
    if LABEL in frames.columns:
        print(f"mutual information with labels, normalised: {stats['nmi']:.3f}")
        count = len(np.unique(frames.episode)) // ASKED_SHARE
        training, asked = split_frames(frames, count, np.random.default_rng(0))
        if count:
            found = label_accuracy(ids, frames, config.vocab_size, training, asked)
            print(f"labels told by the forest {found['forest']:.3f}, by the translator {found['translator']:.3f}")
    if options.output is not None:
        content = [
            {"episode": int(episode), "row": row, "message": format_message(message)}
            for row, (episode, message) in enumerate(zip(frames.episode, ids, strict=True))
        ]
        write_json(options.output, content)
    if options.maps is not None:
        rows = np.unique(np.linspace(0, len(frames) - 1, options.shown).round().astype(int))
        picture = maps_picture(encoder, frames, rows)
        options.maps.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(options.maps), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise ValueError(f"--maps: expected a name that ends like a picture's, found {options.maps}")
    if options.places is not None:
        draw_places(seen, frames, options.places)


if __name__ == "__main__":
    main()
