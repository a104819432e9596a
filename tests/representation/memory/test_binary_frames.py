"""Frames that are kept as bits: stored, found, repaired, and told from what was not seen before."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from representation.checkpoint import encoder_key
from representation.data.frames import write_frames
from representation.generative.binary_latent_diffusion import Config, load, new
from representation.memory import binary_frames
from representation.memory.__main__ import main
from representation.memory.binary_frames import alarm_threshold, load_prior, places_of, repaired, surprise
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.filters import Filter
from representation.memory.mbat_vsa import JSONEncoder
from representation.memory.schema import FRAMES, EncoderColumns
from representation.memory.search import SearchOptions
from tests.representation.memory.test_episode_memory import directions, some_rows
from tests.representation.test_pretrain import colored

SIZES = Config(resolution=16, channels=8, multipliers=(1, 2, 2), attention=(), features=8, bits=8)
BITS = EncoderColumns("bits_1", "image", 64, signs=True, only_signs=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Frames, an autoencoder, a prior over its bits, a prior over another's, and a memory of the bits of the frames."""
    place, frames = tmp_path_factory.mktemp("place"), colored(32)
    write_frames(frames, place / "data")
    for seed, name in enumerate(("bits", "other")):
        new(SIZES, frames, seed).encoder.save(place / name)
        config = Config(tokenizer=str(place / name), total_steps=8, width=16, layers=1, heads=2)
        new(config, frames, seed).encoder.save(place / f"prior_{name}")
    cv2.imwrite(str(place / "wanted.png"), cv2.cvtColor(frames.images[6], cv2.COLOR_RGB2BGR))
    hidden = np.zeros((32, 32), np.uint8)
    hidden[8:16, 8:16] = 255
    cv2.imwrite(str(place / "mask.png"), hidden)
    add = ["add", place / "memory", "--encoders", place / "bits", "--data", place / "data", "--only-signs"]
    assert main([str(word) for word in add]) == 0
    return place


def run(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 1
    return capsys.readouterr().err


def test_a_memory_of_signs_alone_keeps_an_eighth_of_a_byte_of_each_number_and_comes_back(tmp_path):
    memory = EpisodeMemory(tmp_path / "memory", create=True)
    memory.register(BITS)
    vectors = directions(40, 64)
    memory.add(FRAMES, some_rows(40), {BITS.key: vectors})
    assert [name for name in memory.schema(FRAMES).names if "bits_1" in name] == ["signs_bits_1"]
    again = EpisodeMemory(tmp_path / "memory")
    assert again.encoders(FRAMES) == {BITS.key: BITS}
    rows, found = again.vectors(FRAMES, BITS.key)
    order = np.argsort([10 * row.episode + row.frame for row in rows])
    np.testing.assert_array_equal(found[order], np.where(vectors > 0, 1, -1))
    assert again.count(FRAMES, key=BITS.key) == 40
    query = directions(1, 64, seed=1)[0]
    hits = again.search(FRAMES, BITS.key, query, SearchOptions(k=3, mode="signs"))
    alike = ((vectors > 0) == (query > 0)).mean(axis=1)
    assert [hit.similarity for hit in hits] == pytest.approx(np.sort(alike)[::-1][:3], abs=1e-6)
    with pytest.raises(ValueError, match="mode: expected signs, which are all that is kept of bits_1, found exact"):
        again.search(FRAMES, BITS.key, query)
    with pytest.raises(ValueError, match=r"bits_1: vectors: expected \(N, 64\), found \(40, 32\)"):
        again.add(FRAMES, some_rows(40), {BITS.key: vectors[:, :32]})
    with pytest.raises(ValueError, match="only_signs: expected signs and no prefix"):
        EncoderColumns("bits_1", "image", 64, prefix=8, signs=True, only_signs=True)


def test_frames_are_found_by_their_bits(place, capsys):
    key = encoder_key(place / "bits")
    assert f"{key}: 32 vectors, 128 numbers of image, signs, no more" in run(capsys, "show", place / "memory")
    search = ("search", place / "memory", "--json", "--mode", "signs", "--k", "3")
    found = json.loads(run(capsys, *search, "--encoder", place / "bits", "--image", place / "wanted.png"))
    assert (found[0]["episode"], found[0]["frame"], found[0]["source"]) == (1, 2, str(place / "data"))
    assert found[0]["similarity"] == 1
    again = json.loads(run(capsys, *search, "--key", key, "--like", found[0]["id"]))
    assert again[0]["id"] == found[0]["id"]
    episodes = run(capsys, *search, "--episodes", "--encoder", place / "bits", "--image", place / "wanted.png")
    assert {hit["length"] for hit in json.loads(episodes)} == {4}
    assert "expected vectors of one of" in refused(
        capsys, *search, "--encoder", place / "other", "--image", place / "wanted.png"
    )


def test_a_hidden_part_is_filled_in_and_the_rest_stays(place):
    encoder = load_prior(place / "prior_bits")
    bits = encoder.bits(colored(4).pixels(np.arange(4)))
    places = np.zeros((4, 4), bool)
    places[1, 2:] = True
    found = repaired(encoder, bits, places, steps=4)
    changed = (found != bits).any(dim=1).any(dim=0)
    assert changed[torch.from_numpy(places)].any()
    assert not changed[torch.from_numpy(~places)].any()


@pytest.mark.parametrize("side", [3, 16, 50])
def test_places_are_those_that_a_part_touches(side):
    mask = np.zeros((side, side), bool)
    mask[0, 0] = mask[-1, -1] = True
    touched = np.zeros((4, 4), bool)
    touched[0, 0] = touched[-1, -1] = True
    found = places_of(mask, (4, 4), 0)
    assert found[touched].all()
    assert side < 4 or (found == touched).all()
    assert places_of(mask, (4, 4), 1).sum() >= 8
    with pytest.raises(ValueError, match="mask: expected"):
        places_of(np.zeros((4, 4), bool), (4, 4))


def test_a_repaired_picture_is_written(place, tmp_path, capsys):
    row = EpisodeMemory(place / "memory").rows(FRAMES)[0]
    words = ("repair", place / "memory", "--id", row.id, "--mask", place / "mask.png", "--output", tmp_path / "out.png")
    out = run(capsys, *words, "--prior", place / "prior_bits", "--steps", "4", "--grow", "0")
    assert "1 of 16 places filled in" in out
    encoder = load(place / "prior_bits")
    _, bits = binary_frames.stored_bits(
        EpisodeMemory(place / "memory"), encoder.bits_of, encoder, Filter(ids=(row.id,)), 1
    )
    places = np.zeros((4, 4), bool)
    places[1, 1] = True
    found = encoder.autoencoder.decode(repaired(encoder, bits, places, 4))[0]
    written = cv2.cvtColor(cv2.imread(str(tmp_path / "out.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_allclose(written / 255, found.permute(1, 2, 0).numpy(), atol=1 / 255)
    assert "expected bits of" in refused(capsys, *words, "--prior", place / "prior_other")
    assert "expected a prior over the bits" in refused(capsys, *words, "--prior", place / "bits")
    assert "expected frames with bits" in refused(
        capsys, *(str(word).replace(row.id, "nobody") for word in words), "--prior", place / "prior_bits"
    )


def test_what_was_not_seen_gives_an_alarm(place, capsys):
    words = ("alarm", place / "memory", "--images", place / "wanted.png", "--steps", "4")
    out = run(capsys, *words, "--prior", place / "prior_bits", "--rate", "0.1")
    assert "0.1 of what is like 32 frames" in out
    encoder = load_prior(place / "prior_bits")
    bits = encoder.bits(colored(32).pixels(np.arange(32)))
    usual = surprise(encoder, bits, 4)
    np.testing.assert_allclose(surprise(encoder, bits[6:7], 4), usual[6:7], rtol=1e-5)
    assert f"{usual[6]:8.1f}" in out.splitlines()[1]
    assert "rate: expected 1 / 33 to 1" in refused(capsys, *words, "--prior", place / "prior_bits", "--rate", "0.01")
    assert "expected bits of" in refused(capsys, *words, "--prior", place / "prior_other")


def test_the_threshold_keeps_its_rate_for_frames_alike():
    rng = np.random.default_rng(0)
    assert alarm_threshold(np.arange(1.0, 20.0), 0.05) == 19
    assert alarm_threshold(np.arange(1.0, 20.0), 0.5) == 10
    shares = [(rng.normal(size=500) > alarm_threshold(rng.normal(size=60), 0.1)).mean() for _ in range(200)]
    assert np.mean(shares) == pytest.approx(6 / 61, abs=0.015)
    for rate in (0.0, 0.04, 1.0):
        with pytest.raises(ValueError, match="rate: expected"):
            alarm_threshold(np.arange(19.0), rate)


def test_bits_of_another_number_are_refused(place, tmp_path):
    encoder = load_prior(place / "prior_bits")
    memory = EpisodeMemory(tmp_path / "memory", create=True)
    memory.register(dataclasses.replace(BITS, key=encoder.bits_of))
    with pytest.raises(ValueError, match="expected 128 bits, found 64"):
        binary_frames.stored_key(memory, place / "prior_bits", encoder)
    JSONEncoder().save(tmp_path / "states")
    with pytest.raises(ValueError, match="expected a prior of binary_latent_diffusion, found JSONEncoder"):
        load_prior(tmp_path / "states")
