from __future__ import annotations

import gzip
import itertools
import os
from pathlib import Path

import pytest

from representation.pretraining.clip.tokenizer import Tokenizer, byte_alphabet, clean

PUBLISHED = os.environ.get("POLYARM_CLIP_MERGES")
WORDS = (("the", "a"), ("red", "blue", "green"), ("cube", "ball", "drawer"), ("is", "was"), ("open", "here", "left"))
SENTENCES = [" ".join(words) for words in itertools.product(*WORDS)][:100]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.fit(SENTENCES, 560)


def test_learned_merges_make_a_token_of_every_word(tokenizer):
    assert len(tokenizer.encode("the red cube was here")) == 5
    assert (tokenizer.start, tokenizer.end) == (len(tokenizer) - 2, len(tokenizer) - 1)


def test_texts_come_back_in_lower_case(tokenizer):
    for sentence in SENTENCES:
        assert tokenizer.decode(tokenizer.encode(sentence.upper())) == sentence
    assert tokenizer.decode(tokenizer.encode("Naïve café — 日本")) == "naïve café — 日本"


def test_texts_are_cleaned():
    assert clean("  Two &amp;amp; a\thalf\n") == "two & a half"
    assert clean("cafÃ©") == "café"


def test_too_long_texts_are_refused_or_cut_before_their_end(tokenizer):
    with pytest.raises(ValueError, match="expected at most 6 tokens, found 7"):
        tokenizer("the red cube was here", 6)
    cut = tokenizer("the red cube was here", 6, truncate=True)[0].tolist()
    assert cut == [tokenizer.start, *tokenizer.encode("the red cube was"), tokenizer.end]
    padded = tokenizer(["a", "the red"], 6)
    assert padded.tolist()[0][3:] == [0, 0, 0]


def test_bytes_have_the_published_characters():
    alphabet = byte_alphabet()
    assert len(set(alphabet)) == 256
    assert (alphabet[0], alphabet[-1]) == ("!", chr(256 + 67))


def test_all_files_of_the_same_merges_give_the_same_ids(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    found = [Tokenizer.from_file(tmp_path)]
    merges = [("t", "h"), ("th", "e</w>"), ("r", "e"), ("re", "d</w>")]
    lines = "\n".join(["title", *(" ".join(merge) for merge in merges)])
    (tmp_path / "merges.txt").write_text(lines)
    with gzip.open(tmp_path / "bpe.txt.gz", "wt") as file:
        file.write(lines)
    assert found[0].encode(SENTENCES[0]) == tokenizer.encode(SENTENCES[0])
    plain, packed = Tokenizer.from_file(tmp_path / "merges.txt"), Tokenizer.from_file(tmp_path / "bpe.txt.gz")
    assert plain.encode("the red") == packed.encode("the red") == [513, 515]
    (tmp_path / "empty.txt").write_text("title\n")
    with pytest.raises(ValueError, match="two symbols in each line"):
        Tokenizer.from_file(tmp_path / "empty.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected tokenizer\.json or merges\.txt"):
        Tokenizer.from_file(tmp_path / "empty")


@pytest.mark.skipif(PUBLISHED is None, reason="POLYARM_CLIP_MERGES does not name the published merges")
def test_the_published_merges_give_the_published_ids():
    tokenizer = Tokenizer.from_file(Path(PUBLISHED))
    assert len(tokenizer) == 49408
    arm, diagram = tokenizer(["a robot arm picks up a red cube", "a diagram"], 10).tolist()
    assert arm == [49406, 320, 8797, 4793, 8551, 705, 320, 736, 11353, 49407]
    assert diagram[:4] == [49406, 320, 22697, 49407]
