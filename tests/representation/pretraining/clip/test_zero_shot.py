from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames
from representation.interface import TextImageScorer
from representation.pretraining.clip import CLIPEncoder, Config, new
from representation.pretraining.clip.weights import save_clip
from representation.pretraining.clip.zero_shot import ZeroShotClassifier

CLASSES, TEMPLATES = ("red cube", "blue ball"), ("a {}", "the {} is here")


@pytest.fixture(scope="module")
def encoder():
    texts = [template.format(name) for name in CLASSES for template in TEMPLATES]
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    return new(Config(), Frames(images, np.arange(4), texts=texts), seed=0).encoder.eval()


def test_a_class_is_the_mean_direction_of_its_sentences(encoder):
    classifier = ZeroShotClassifier(encoder, CLASSES, TEMPLATES)
    np.testing.assert_allclose(classifier.weights.norm(dim=1), 1.0, atol=1e-6)
    with torch.no_grad():
        sentences = encoder.encode_texts([template.format(CLASSES[1]) for template in TEMPLATES])
    np.testing.assert_allclose(sentences.norm(dim=1), 1.0, atol=1e-6)
    torch.testing.assert_close(classifier.weights[1], F.normalize(sentences.mean(dim=0), dim=0))
    with pytest.raises(ValueError, match=r"templates with \{\}"):
        ZeroShotClassifier(encoder, CLASSES, ["a cube"])


def test_one_sentence_a_class_gives_the_scores_of_the_phrases(encoder):
    assert isinstance(encoder, TextImageScorer)
    images = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    found = ZeroShotClassifier(encoder, CLASSES, ["a {}"]).predict_proba(images)
    with torch.no_grad():
        torch.testing.assert_close(found, encoder.scores(images, [f"a {name}" for name in CLASSES]))
    np.testing.assert_allclose(found.sum(dim=1), 1.0, atol=1e-6)


def test_published_files_make_an_encoder(encoder, tmp_path):
    save_clip(encoder.model, tmp_path)
    encoder.tokenizer.save(tmp_path)
    again = CLIPEncoder.from_released(tmp_path, tmp_path)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(again.scores(images, CLASSES), encoder.scores(images, CLASSES))
    for name, value in encoder.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
        assert again.model.state_dict()[name].dtype == value.dtype, name
