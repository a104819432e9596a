"""Instructions as embeddings: the T5-v1.1 encoder, and batches of embeddings.

Source: T5-v1.1 (arXiv 1910.10683) as RDT-1B (arXiv 2410.07864) uses it: the last hidden state of every token, the end
token included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from policies.parameters import Dtype
from policies.rdt.encoder_weights import load_weights

MAX_TOKENS = 1024
"""Most tokens of an instruction, the end token included."""
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
# A whole T5 has these too; the first is the same table as `shared.weight`.
_NOT_OF_THE_ENCODER = ("encoder.embed_tokens.weight", "decoder.", "lm_head.")
_FINGERPRINT_VALUES = 1024


class TextEncoder(Protocol):
    """Turns a text into an embedding.

    Attributes:
        width: numbers of a token.
        identity: text that differs between encoders whose embeddings differ.
    """

    width: int
    identity: str

    def __call__(self, text: str) -> Tensor:
        """Embedding (L, width), 1 <= L <= 1024. The empty text has one too: it stands for "no instruction"."""
        ...


class T5TextEncoder(nn.Module):
    """The encoder half of T5-v1.1, frozen, with its tokenizer.

    Args:
        model: in evaluation mode, with gradients off.
        tokenizer: that of the model.
    """

    def __init__(self, model: T5EncoderModel, tokenizer: T5Tokenizer) -> None:
        super().__init__()
        if len(tokenizer) > model.config.vocab_size:
            raise ValueError(
                f"tokenizer: expected at most {model.config.vocab_size} tokens, those of the model, "
                f"found {len(tokenizer)}"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.width: int = model.config.d_model
        self.identity: str = _fingerprint(model, tokenizer)

    @classmethod
    def from_directory(cls, directory: str | Path, dtype: Dtype = "stored") -> T5TextEncoder:
        """Load `config.json`, safetensors of the encoder or of all of T5, and `tokenizer.json` or `spiece.model`.

        Args:
            directory: a local one; nothing is downloaded.
            dtype: number format of the weights, and so of the embeddings. float16 overflows in the large T5s.

        Raises:
            FileNotFoundError: a file is missing; names it.
            ValueError: see `load_weights`; or a tokenizer that cannot be read.
        """
        directory = Path(directory)
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"{directory}: expected config.json of a T5 encoder, found none")
        if not any((directory / name).is_file() for name in TOKENIZER_FILES):
            raise FileNotFoundError(f"{directory}: expected a tokenizer, one of {list(TOKENIZER_FILES)}, found none")
        try:
            tokenizer = T5Tokenizer.from_pretrained(directory, local_files_only=True)
        except Exception as error:  # the library lets everything through, from ImportError to panics of its parser
            raise ValueError(
                f"{directory}: expected a readable tokenizer (spiece.model needs the package sentencepiece), "
                f"found: {error}"
            ) from error
        config = T5Config.from_pretrained(directory, local_files_only=True)
        with init_empty_weights(include_buffers=False):
            model = T5EncoderModel(config)
        # One table, whether or not the configuration says so; before loading, so that it is not missed in the files.
        model.encoder.embed_tokens.weight = model.shared.weight
        load_weights(model, directory, lambda key: key, _NOT_OF_THE_ENCODER, dtype)
        model.encoder.embed_tokens.weight = model.shared.weight
        return cls(model.eval().requires_grad_(False), tokenizer)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write what `from_directory` reads."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    @torch.no_grad()
    def forward(self, text: str) -> Tensor:
        """Embedding (L, width) of a text, on the model's device.

        Texts are encoded one by one, so that an embedding does not depend on the others of a batch.

        Raises:
            ValueError: more than 1024 tokens.
        """
        ids = self.tokenizer(text).input_ids
        if len(ids) > MAX_TOKENS:
            raise ValueError(
                f"instruction: expected at most {MAX_TOKENS} tokens with the end token, found {len(ids)} "
                f"in {text[:40]!r}..."
            )
        return self.model(input_ids=torch.tensor([ids], device=self.model.device)).last_hidden_state[0]


def _fingerprint(model: T5EncoderModel, tokenizer: T5Tokenizer) -> str:
    """Hash of the tokenizer and of every weight's name, number format, shape and up to 1024 spread values.

    Hashing all of the largest T5 would take as long as loading it, and training changes every tensor.
    """
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    for name, weight in model.named_parameters():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        values = weight.detach().flatten()
        spread = values[:: max(1, values.numel() // _FINGERPRINT_VALUES)]
        digest.update(spread.float().cpu().numpy().tobytes())
    return f"t5-{digest.hexdigest()}"


def pad_embeddings(embeddings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Join embeddings to a batch, padded with zeros.

    Args:
        embeddings: B of shape (L_i, width).

    Returns:
        (B, L, width) with the longest L, and (B, L) bool, True where a token is valid.

    Raises:
        ValueError: none, one without tokens, one of more than 1024, or widths that differ.
    """
    if not embeddings:
        raise ValueError("embeddings: expected at least one, found none")
    width = embeddings[0].shape[-1]
    for index, embedding in enumerate(embeddings):
        if embedding.ndim != 2 or embedding.shape[1] != width or not 1 <= len(embedding) <= MAX_TOKENS:
            raise ValueError(
                f"embeddings[{index}]: expected (L, {width}) with 1 <= L <= {MAX_TOKENS}, "
                f"found {tuple(embedding.shape)}; no instruction is the embedding of the empty text"
            )
    lengths = torch.tensor([len(embedding) for embedding in embeddings], device=embeddings[0].device)
    batch = pad_sequence(list(embeddings), batch_first=True)
    return batch, torch.arange(batch.shape[1], device=lengths.device) < lengths[:, None]
