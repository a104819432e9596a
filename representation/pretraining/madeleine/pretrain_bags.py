"""Pretrain on stored features of slides: `python -m representation.pretraining.madeleine.pretrain_bags`.

`--features DIR` holds files `SLIDE_MODALITY.h5`, `--table FILE` says which there are (see `bags`). `--output` then has
the weights with their released names (`model.safetensors`, see `load_released`), `history.json`, and `vectors.npz` with
the vector of the reference of each slide of the table that has one, its `slide_id` and its `split`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from safetensors.torch import save_file

from representation.data.frames import expect_empty
from representation.pretraining.madeleine.bag_encoder import BagEncoder
from representation.pretraining.madeleine.bags import StoredBags
from representation.pretraining.madeleine.pretrainer import MultiModalPretrainer, PretrainerConfig


@dataclass(frozen=True)
class BagOptions:
    """What is trained.

    Attributes:
        features: directory of the HDF5 files.
        table: the CSV table.
        output: directory to write; must not hold files.
        split: that is trained on.
        reference: modality that is used afterwards; the table's first if left out.
        hidden_dim: numbers of a vector.
        n_heads: of the attention.
        token_dim: numbers of a token in the local loss.
        codes: whether tokens get a code of their modality.
        threads: of torch on the CPU.
        training: how.
    """

    features: Path
    table: Path
    output: Path
    split: str = "train"
    reference: str = ""
    hidden_dim: int = 512
    n_heads: int = 4
    token_dim: int = 128
    codes: bool = False
    threads: int = 2
    training: Annotated[PretrainerConfig, tyro.conf.arg(name="")] = field(default_factory=PretrainerConfig)


@torch.inference_mode()
def reference_vectors(encoder: BagEncoder, bags: StoredBags) -> tuple[list[int], NDArray[np.float32]]:
    """Numbers (S,) of the slides that have the reference, and their vectors (S, h), of all of their tokens."""
    rows = [index for index, slide in enumerate(bags.slides) if bags.has_reference(slide)]
    device = encoder.projector.weight.device
    vectors = [encoder(bags.bag(row, bags.modalities[0])[None].to(device)).embedding[0].cpu() for row in rows]
    return rows, torch.stack(vectors).numpy() if vectors else np.zeros((0, encoder.hidden_dim), np.float32)


def main(args: Sequence[str] | None = None) -> None:
    """Train from the command line."""
    options = tyro.cli(BagOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    bags = StoredBags(options.features, options.table, options.split, options.reference)
    encoder = BagEncoder(
        bags.width,
        options.hidden_dim,
        options.n_heads,
        options.token_dim,
        len(bags.modalities) if options.codes else 0,
        generator=torch.Generator().manual_seed(options.training.seed),
    ).to("cuda" if torch.cuda.is_available() else "cpu")
    history = MultiModalPretrainer(encoder, options.training).fit(bags, progress=True)
    options.output.mkdir(parents=True, exist_ok=True)
    state = {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(state, options.output / "model.safetensors")
    (options.output / "history.json").write_text(json.dumps(history, indent=2) + "\n", encoding="utf-8")
    every = StoredBags(options.features, options.table, reference=bags.modalities[0])
    rows, vectors = reference_vectors(encoder, every)
    names, splits = ([getattr(every.slides[row], part) for row in rows] for part in ("name", "split"))
    np.savez(options.output / "vectors.npz", vectors=vectors, slide_id=np.array(names), split=np.array(splits))
    print(f"{options.output}: loss {history[-1]['loss']:.3f}, {len(rows)} vectors of {encoder.hidden_dim} numbers")


if __name__ == "__main__":
    main()
