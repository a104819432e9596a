"""The published system as an encoder of ours: `python -m representation.generative.addp.released --output DIR ...`.

Takes ADDP (`addp-vit-base-16`), the tokenizer (`vqgan_jax_strongaug`) and the token predictor (MAGE), each as
safetensors or as it was published: tensors alone, nothing is run. `representation.embed`, `policies.train` and the
commands of this folder read the result. Sizes are those of the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import Tensor, nn

from representation.compatibility.released_weights import released_state
from representation.data.frames import expect_empty
from representation.generative.addp.encoder import ADDPEncoder, Config

HEAD_WIDTH = 64
UNUSED = ("decoder_pred.", "pos_token_embed", "pos_mask_embed")
"""Parameters of the published ADDP that nothing reads."""
UNUSED_BY_PREDICTOR = (
    "decoder_pred.", "patch_embed.", "cls_token", "pos_embed", "mask_token", "vqgan.", "token_emb.position_ids",
)  # fmt: skip
"""Of MAGE: parts for pixels, which tokens do not pass, and its copy of the tokenizer."""
UNUSED_BY_TOKENIZER = ("loss.",)
OF_DECODER = ("decoder_", "mask_token", "token_emb.", "mlm_layer.")


@dataclass(frozen=True)
class ReleasedOptions:
    """What is joined.

    Attributes:
        model: file of ADDP.
        tokenizer: file of the VQGAN.
        predictor: file of MAGE's masked transformer.
        output: directory to write; must not hold files.
        heads: of the encoder; one for each 64 numbers of a token if 0.
        decoder_heads: of the decoder.
        groups: of the tokenizer's group norms.
    """

    model: Path
    tokenizer: Path
    predictor: Path
    output: Path
    heads: int = 0
    decoder_heads: int = 16
    groups: int = 32


def released(options: ReleasedOptions) -> ADDPEncoder:
    """The encoder of the three files, in evaluation mode.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; names the file and the tensor.
    """
    model = _without(released_state(options.model, "model"), UNUSED)
    tokenizer = _without(released_state(options.tokenizer, "state_dict"), UNUSED_BY_TOKENIZER)
    predictor = _without(released_state(options.predictor, "model"), UNUSED_BY_PREDICTOR)
    encoder = ADDPEncoder(_config(model, tokenizer, predictor, options))
    addp = encoder.trained()
    told = {name: value for name, value in model.items() if name.startswith(OF_DECODER)}
    seen = {name: value for name, value in model.items() if name not in told}
    for part, state, file in (
        (addp.encoder, seen, options.model),
        (addp.decoder, told, options.model),
        (addp.tokenizer, tokenizer, options.tokenizer),
        (addp.predictor, predictor, options.predictor),
    ):
        _fill(part, state, file)
    return encoder.eval()


def _without(state: Mapping[str, Tensor], unused: Sequence[str]) -> dict[str, Tensor]:
    """The tensors that are read."""
    return {name: value for name, value in state.items() if not name.startswith(tuple(unused))}


def _fill(part: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Load tensors that must be those of a part, one for one."""
    expected = part.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        wanted, found = (
            None if tensors.get(name) is None else tuple(tensors[name].shape) for tensors in (expected, state)
        )
        if wanted != found:
            raise ValueError(f"{file}: {name}: expected shape {wanted}, found {found}")
    part.load_state_dict(dict(state))


def _config(
    model: Mapping[str, Tensor],
    tokenizer: Mapping[str, Tensor],
    predictor: Mapping[str, Tensor],
    options: ReleasedOptions,
) -> Config:
    """Sizes of the published parts."""
    codebook, dim = _shape(tokenizer, "quantize.embedding.weight", options.tokenizer)
    ch = _shape(tokenizer, "encoder.conv_in.weight", options.tokenizer)[0]
    widths = [
        _shape(tokenizer, f"encoder.down.{level}.block.0.conv1.weight", options.tokenizer)[0]
        for level in range(_count(tokenizer, "encoder.down."))
    ]
    width, _, patch, _ = _shape(model, "patch_embed.proj.weight", options.model)
    places = _shape(model, "pos_embed", options.model)[1] - 1
    vocabulary, predictor_width = _shape(predictor, "token_emb.word_embeddings.weight", options.predictor)
    try:
        return Config(
            stage="addp",
            resolution=patch * math.isqrt(places),
            codebook=codebook,
            dim=dim,
            ch=ch,
            ch_mult=tuple(wide // ch for wide in widths),
            blocks=_count(tokenizer, "encoder.down.0.block."),
            groups=options.groups,
            predictor_width=predictor_width,
            predictor_depth=_count(predictor, "blocks."),
            predictor_heads=options.heads or max(1, predictor_width // HEAD_WIDTH),
            predictor_decoder_depth=_count(predictor, "decoder_blocks."),
            predictor_decoder_heads=options.decoder_heads,
            classes=vocabulary - codebook - 1,
            width=width,
            depth=_count(model, "blocks."),
            heads=options.heads or max(1, width // HEAD_WIDTH),
            decoder_depth=_count(model, "decoder_blocks."),
            decoder_heads=options.decoder_heads,
        )
    except ValueError as error:
        raise ValueError(f"{options.model}, {options.tokenizer}, {options.predictor}: {error}") from error


def _shape(state: Mapping[str, Tensor], name: str, file: Path) -> tuple[int, ...]:
    if name not in state:
        raise ValueError(f"{file}: {name}: expected a tensor, found none")
    return tuple(state[name].shape)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Numbers that follow a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def main(args: Sequence[str] | None = None) -> None:
    """Join and write."""
    options = tyro.cli(ReleasedOptions, args=args, description=__doc__)
    expect_empty(options.output)
    encoder = released(options)
    encoder.save(options.output)
    print(f"{options.output}: an encoder of {encoder.config.resolution} pixels and {encoder.width} numbers")


if __name__ == "__main__":
    main()
