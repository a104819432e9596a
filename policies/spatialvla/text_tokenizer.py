"""Instruction -> ids: any `tokenizer.json` of the `tokenizers` library, or a word tokenizer built from instructions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

PAD, EOS, BOS, UNKNOWN, STATE, NEWLINE, IMAGE = "<pad>", "<eos>", "<bos>", "<unk>", "<state>", "\n", "<image>"


def build_word_tokenizer(instructions: Iterable[str]) -> Tokenizer:
    """Build a tokenizer whose vocabulary is the words of `instructions`, lower-cased, in alphabetical order.

    Words outside it become `<unk>`. Ids of `<pad>`, `<eos>`, `<bos>` are 0, 1, 2 as in the released tokenizer, and
    `<image>` comes last, so that action tokens can follow it.
    """
    split = Whitespace()
    words = {word for text in instructions for word, _ in split.pre_tokenize_str(text.lower())}
    if not words:
        raise ValueError("instructions: expected at least one word, found none")
    vocabulary = {token: i for i, token in enumerate([PAD, EOS, BOS, UNKNOWN, STATE, NEWLINE, *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False) for t in (PAD, EOS, BOS, UNKNOWN, STATE, NEWLINE, IMAGE)]
    )
    return tokenizer


def append_action_tokens(tokenizer: Tokenizer, names: Sequence[str]) -> int:
    """Add action tokens at the end of the vocabulary; return the id of the first.

    Raises:
        ValueError: the tokenizer has no `<image>` as its last token, or has action tokens already.
    """
    begin = tokenizer.get_vocab_size()
    if tokenizer.token_to_id(IMAGE) != begin - 1:
        raise ValueError(
            f"tokenizer: expected {IMAGE} as its last token {begin - 1}, found {tokenizer.token_to_id(IMAGE)}"
        )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    return begin


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of a token that must exist."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"tokenizer: expected a token {token!r}, found none")
    return found
