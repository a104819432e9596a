from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import DistilBertConfig, DistilBertModel

from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.encoder import CLIPEncoder
from representation.pretraining.clip.model import CLIP
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.tvts import Config, TVTSEncoder, load
from representation.pretraining.tvts.model import TVTS
from representation.pretraining.tvts.text import DistilBertTexts, TextTower, open_texts
from representation.pretraining.tvts.video import VideoTransformer
from representation.pretraining.tvts.weights import load_released, start_from_pictures

SIZES = Config(resolution=16, width=32, depth=1, heads=2, projection=16, frames=4)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lift", "the", "red", "blue", "block", "drop", "a")
SENTENCES = ["lift the red block", "drop the blue block", "lift a block", "drop the red block"]


@pytest.fixture
def distilbert(tmp_path):
    """A folder as transformers has it."""
    folder = tmp_path / "distilbert"
    folder.mkdir()
    config = DistilBertConfig(vocab_size=len(WORDS), dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    config.architectures = ["DistilBertModel"]
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    save_file(DistilBertModel(config).state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def released_state(model):
    """The weights of a model under the published names."""
    return {f"module.{name.replace('text_model.model.', 'text_model.')}": v for name, v in model.state_dict().items()}


def test_a_published_checkpoint_is_read(distilbert, tmp_path):
    model = TVTS(SIZES, DistilBertTexts.from_folder(distilbert, pretrained=True)).eval()
    state = released_state(model)
    assert {
        "module.video_model.cls_token",
        "module.video_model.temporal_embed",
        "module.video_model.patch_embed.proj.weight",
        "module.video_model.blocks.0.attn.qkv.bias",
        "module.text_model.embeddings.word_embeddings.weight",
        "module.text_model.transformer.layer.0.attention.q_lin.weight",
        "module.txt_proj.1.weight",
        "module.vid_proj.0.weight",
        "module.pred_model.type_embed",
        "module.pred_model.blocks.1.mlp.fc2.bias",
        "module.pred_model.head.weight",
    } <= state.keys()
    content = state | {"module.text_model.embeddings.position_ids": torch.arange(512)[None]}
    torch.save({"state_dict": content, "epoch": 19}, tmp_path / "tvts.pth")
    encoder = load_released(tmp_path / "tvts.pth", distilbert, SIZES)
    clips = torch.rand(2, 4, 3, 16, 16)
    with torch.no_grad():
        wanted = TVTSEncoder(model).predict_order(clips, [SENTENCES] * 2)
        torch.testing.assert_close(encoder.predict_order(clips, [SENTENCES] * 2), wanted)
    del content["module.vid_proj.0.weight"]
    torch.save({"state_dict": content}, tmp_path / "tvts.pth")
    with pytest.raises(ValueError, match=r"(?s)tvts\.pth: expected the weights of a TVTS.*vid_proj\.0\.weight"):
        load_released(tmp_path / "tvts.pth", distilbert, SIZES)


def test_an_encoder_with_distilbert_comes_back(distilbert, tmp_path):
    encoder = TVTSEncoder(TVTS(SIZES, open_texts(distilbert))).eval()
    encoder.save(tmp_path / "own")
    clips = torch.rand(1, 4, 3, 16, 16)
    with torch.no_grad():
        before, after = (own.predict_order(clips, [SENTENCES]) for own in (encoder, load(tmp_path / "own")))
    assert torch.equal(before, after)


def test_sentences_of_distilbert_do_not_mind_longer_ones(distilbert):
    texts = open_texts(distilbert).eval()
    alone, together = texts(texts.tokenize(SENTENCES[2:3])), texts(texts.tokenize(SENTENCES))
    assert texts.tokenize(SENTENCES).shape == (4, 6)
    torch.testing.assert_close(alone[0], together[2], atol=1e-5, rtol=1e-4)


def test_the_text_tower_of_a_clip_is_taken_over(tmp_path):
    tokenizer = Tokenizer.fit(SENTENCES, 600)
    sizes = CLIPConfig(24, 32, 1, 64, 8, 12, len(tokenizer), 32, 2, 1)
    clip = CLIPEncoder(CLIP(sizes, torch.Generator().manual_seed(0)), tokenizer)
    clip.save(tmp_path / "clip")
    tower = open_texts(tmp_path / "clip")
    assert isinstance(tower, TextTower)
    tokens = tower.tokenize(SENTENCES)
    with torch.no_grad():
        found = tower(tokens) @ clip.model.text_projection
        torch.testing.assert_close(found, clip.model.encode_text(tokens))
    with pytest.raises(ValueError, match="text: expected vectors of sentences as wide as 64, found 32"):
        TVTS(Config(), tower)


def test_a_picture_autoencoder_gives_all_but_the_times(tmp_path):
    source, target = (VideoTransformer(16, 8, 4, 32, 1, 2) for _ in range(2))
    state = {name: value for name, value in source.state_dict().items() if name != "temporal_embed"}
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"][:, :, 0]
    torch.save({"model": state | {"decoder_pred.bias": torch.zeros(3)}}, tmp_path / "mae.pth")
    start_from_pictures(target, tmp_path / "mae.pth")
    kernel = target.patch_embed["proj"].weight
    for time in (0, 1):  # repeated, and not halved
        assert torch.equal(kernel[:, :, time], state["patch_embed.proj.weight"])
    assert torch.equal(target.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)
    torch.save({"model": {"pos_embed": state["pos_embed"]}}, tmp_path / "mae.pth")
    with pytest.raises(ValueError, match="expected all of the encoder but temporal_embed"):
        start_from_pictures(target, tmp_path / "mae.pth")
