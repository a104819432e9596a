"""Embeddings of instructions on disk: files of one embedding, and a cache of them.

The largest text encoder does not fit beside the policy on most computers, so embeddings are made once. The files may
come from anywhere: pickled ones are read with `weights_only`, which builds tensors and containers and nothing else.
"""

from __future__ import annotations

import hashlib
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from policies.rdt.language import MAX_TOKENS, TextEncoder

T5_WIDTH = 4096
"""Numbers of a token of T5-v1.1-XXL, which the released policies were trained with."""
MAX_FILE_BYTES = 64 * 2**20
_KEY = "embeddings"


class StoredEmbedding(NamedTuple):
    """What a file of an embedding holds.

    Attributes:
        tokens: (L, width) in the number format of the file.
        instruction: the text, or None where the file does not tell.
        encoder: identity of the text encoder, or None likewise.
    """

    tokens: Tensor
    instruction: str | None
    encoder: str | None


def read_embedding(path: str | Path, width: int = T5_WIDTH) -> StoredEmbedding:
    """Read the embedding of an instruction.

    Forms: `.safetensors` as `write_embedding` gives; `.pt` with a tensor (L, width), as in RDT's training data; `.pt`
    with a dict {name, instruction, embeddings (1, L, width)}, as RDT's deployment writes.

    Args:
        path: of the file.
        width: numbers of a token that the policy expects.

    Raises:
        FileNotFoundError: no such file.
        ValueError: too large, unreadable, another content, shape or type, or values that are not finite; names the
            file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the embedding of an instruction, found no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, found {path.stat().st_size}")
    if path.suffix == ".safetensors":
        stored = _read_safetensors(path)
    elif path.suffix == ".pt":
        stored = _read_pickled(path)
    else:
        raise ValueError(f"{path}: expected .safetensors or .pt, found {path.suffix!r}")
    tokens = stored.tokens
    if tokens.ndim != 2 or tokens.shape[1] != width or not 1 <= len(tokens) <= MAX_TOKENS:
        raise ValueError(
            f"{path}: expected an embedding (L, {width}) with 1 <= L <= {MAX_TOKENS}, found {tuple(tokens.shape)}"
        )
    if not tokens.is_floating_point() or not bool(torch.isfinite(tokens).all()):
        raise ValueError(f"{path}: expected finite floating-point values, found others ({tokens.dtype})")
    return stored._replace(tokens=tokens.contiguous())


def write_embedding(path: str | Path, tokens: Tensor, instruction: str, encoder: str) -> None:
    """Write an embedding as safetensors, whole or not at all.

    Args:
        path: of the file; ends in `.safetensors`.
        tokens: (L, width).
        instruction: the text.
        encoder: identity of the text encoder.

    Raises:
        ValueError: another suffix or shape.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or tokens.ndim != 2:
        raise ValueError(f"{path}: expected .safetensors and (L, width), found {path.suffix!r}, {tuple(tokens.shape)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = save({_KEY: tokens.detach().cpu().contiguous()}, {"instruction": instruction, "encoder": encoder})
    # A name of its own: several processes may write the same embedding.
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class EmbeddingCache:
    """Embeddings by text, kept on disk under the hash of encoder and text.

    Args:
        directory: of the files; made when the first one is written. Several processes may share it.
        encoder: makes what is missing.
    """

    def __init__(self, directory: str | Path, encoder: TextEncoder) -> None:
        self.directory = Path(directory)
        self.encoder = encoder

    def path(self, instruction: str) -> Path:
        """File of an instruction, which need not exist."""
        key = hashlib.sha256(f"{self.encoder.identity}\0{instruction}".encode()).hexdigest()
        return self.directory / f"{key}.safetensors"

    def __call__(self, instruction: str) -> Tensor:
        """Embedding (L, width) on the CPU. A damaged file is written anew, with a warning."""
        path = self.path(instruction)
        if path.exists():
            try:
                stored = read_embedding(path, self.encoder.width)
                if (stored.instruction, stored.encoder) == (instruction, self.encoder.identity):
                    return stored.tokens
                warnings.warn(f"{path}: expected {instruction!r}, found {stored.instruction!r}; encoding", stacklevel=2)
            except (OSError, ValueError) as error:
                warnings.warn(f"{error}; encoding {instruction!r} anew", stacklevel=2)
        tokens = self.encoder(instruction).detach().cpu()
        write_embedding(path, tokens, instruction, self.encoder.identity)
        return tokens


def _read_safetensors(path: Path) -> StoredEmbedding:
    try:
        with safe_open(path, framework="pt") as file:
            if list(file.keys()) != [_KEY]:
                raise ValueError(f"{path}: expected one tensor {_KEY!r}, found {list(file.keys())[:5]}")
            metadata = file.metadata() or {}
            return StoredEmbedding(file.get_tensor(_KEY), metadata.get("instruction"), metadata.get("encoder"))
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a readable safetensors file, found: {error}") from error


def _read_pickled(path: Path) -> StoredEmbedding:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files end in errors of many kinds
        raise ValueError(f"{path}: expected a file of tensors alone, found another: {error}") from error
    if isinstance(content, Tensor):
        return StoredEmbedding(content.detach(), None, None)
    tokens = content.get(_KEY) if isinstance(content, Mapping) else None
    if not isinstance(tokens, Tensor) or tokens.ndim != 3 or len(tokens) != 1:
        found = list(content)[:5] if isinstance(content, Mapping) else type(content).__name__
        shape = f" of shape {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else ""
        raise ValueError(
            f"{path}: expected a tensor (L, width) or a dict with {_KEY!r} (1, L, width), found {found}{shape}"
        )
    instruction = content.get("instruction")
    return StoredEmbedding(tokens[0].detach(), instruction if isinstance(instruction, str) else None, None)
