from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from representation.embedding import embed
from representation.interface import DocumentEncoder
from representation.memory.mbat_vsa import MBAT, CleanUp, JSONConfig, JSONEncoder, VectorIndex
from representation.registry import load_encoder
from tests.representation.test_pretrain import colored

ORTHOGONAL = ("dense", "hadamard", "signed_permutation")
DIM = 256


def vectors(count: int, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, dim))


def cosine(a, b) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("binding", ORTHOGONAL)
def test_bindings_are_orthogonal_and_keep_lengths_and_cosines_at_any_depth(binding):
    mbat, v = MBAT(DIM, 0, binding), vectors(10)
    matrix = mbat.matrix("key")
    assert abs(matrix.T @ matrix - np.eye(DIM)).max() < 1e-10
    np.testing.assert_allclose(mbat.bind("key", v), v @ matrix.T, atol=1e-10)
    np.testing.assert_allclose(mbat.unbind("key", mbat.bind("key", v)), v, atol=1e-10)
    bound = v
    for step in range(100):
        bound = mbat.bind(f"key {step % 7}", bound)
    np.testing.assert_allclose(bound @ bound.T, v @ v.T, rtol=1e-10, atol=1e-10)
    assert abs(cosine(bound[0], v[0])) < 5 / DIM**0.5


def test_gaussian_matrices_do_not():
    mbat, v = MBAT(DIM, 0, "gaussian"), vectors(10)
    assert np.linalg.cond(mbat.matrix("key")) > 50
    bound = v
    for step in range(20):
        bound = mbat.bind(str(step), bound)
    assert abs(np.linalg.norm(bound, axis=1) / np.linalg.norm(v, axis=1) - 1).max() > 0.05


def test_dense_matrices_are_uniform_over_all_rotations_and_reflections():
    entries = MBAT(DIM, 0, "dense").matrix("key").reshape(-1) * DIM**0.5
    assert entries.mean() == pytest.approx(0, abs=0.01)
    assert (entries**4).mean() / (entries**2).mean() ** 2 == pytest.approx(3, abs=0.1)
    signs = {round(np.linalg.det(MBAT(16, seed, "dense").matrix("key"))) for seed in range(12)}
    assert signs == {-1, 1}


def test_atoms_are_unit_vectors_that_have_nothing_in_common():
    mbat = MBAT(2048)
    atoms = np.stack([mbat.atom(f"symbol {i}") for i in range(60)])
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1)
    assert abs(atoms @ atoms.T - np.eye(60)).max() < 5.5 / 2048**0.5
    bundle = mbat.bundle(list(atoms[:9]))
    members = [cosine(bundle, atom) for atom in atoms[:9]]
    assert np.mean(members) == pytest.approx(1 / 3, abs=0.03)
    np.testing.assert_allclose(mbat.bundle(list(atoms[:2]), [1.0, 2.0]), atoms[0] + 2 * atoms[1])


def test_sequences_give_their_places_back():
    mbat = MBAT(2048)
    names = list("abcdefgh")
    clean_up = CleanUp(names, np.stack([mbat.atom(name) for name in names]))
    word = "badgea"
    s = mbat.sequence([mbat.atom(letter) for letter in word])
    assert "".join(clean_up.nearest(mbat.unsequence(s, i))[0][0] for i in range(len(word))) == word


@pytest.mark.parametrize("binding", ORTHOGONAL)
def test_the_order_of_keys_on_a_path_matters(binding):
    dim = 512
    encoder = JSONEncoder(JSONConfig(dim=dim, binding=binding))
    ab, ba = encoder.encode({"a": {"b": "x"}}), encoder.encode({"b": {"a": "x"}})
    assert abs(cosine(ab, ba)) < 5 / dim**0.5
    a, b, x = (encoder.mbat.atom(name) * dim**0.5 for name in "abx")
    assert cosine(a * (b * x), b * (a * x)) == pytest.approx(1, abs=1e-12)  # what an element-wise product would give


def test_similarity_falls_field_by_field():
    encoder = JSONEncoder(JSONConfig(strings="atoms"))
    means = []
    for changed in range(11):
        found = []
        for number in range(200):
            document = {f"field {i}": f"value {number} {i}" for i in range(10)}
            other = document | {f"field {i}": f"other {number} {i}" for i in range(changed)}
            found.append(float(encoder.encode(document) @ encoder.encode(other)))
        means.append(np.mean(found))
    assert all(later < earlier for earlier, later in pairwise(means))
    np.testing.assert_allclose(means, [(10 - j) / 10 for j in range(11)], atol=0.05)


@pytest.mark.parametrize(("value", "scale"), [(0.0, 1.0), (3.0, 1.0), (-0.4, 0.1), (250.0, 20.0)])
def test_near_numbers_have_near_vectors(value, scale):
    encoder = JSONEncoder(JSONConfig(scales={"x": scale}))
    whole = encoder.encode({"x": value})
    cosines = [float(whole @ encoder.encode({"x": value + scale * step})) for step in np.linspace(0, 1, 11)]
    assert cosines[0] == pytest.approx(1, abs=1e-6)
    assert all(later < earlier for earlier, later in pairwise(cosines))
    assert float(whole @ encoder.encode({"x": value + 100 * scale})) < 0.6


def test_values_of_different_kinds_differ_and_equal_documents_do_not():
    encoder = JSONEncoder()
    kinds = [1, "1", True, "true", None, "null", [], {}, "", [1], ["1"], {"1": 1}, [[]], {"a": None}, 0, False]
    vectors = encoder.encode_batch(kinds)
    cosines = vectors @ vectors.T
    assert (cosines[~np.eye(len(kinds), dtype=bool)] < 0.9).all()
    assert abs(cosines[1, 0]) < 0.15
    np.testing.assert_allclose(encoder.encode({"a": 1, "b": [2]}), encoder.encode({"b": [2.0], "a": 1}), atol=1e-6)
    assert cosine(encoder.encode(["a", "b"]), encoder.encode(["b", "a"])) < 0.2
    sets = JSONEncoder(JSONConfig(arrays="set"))
    np.testing.assert_allclose(sets.encode(["a", "b"]), sets.encode(["b", "a"]), atol=1e-6)
    assert sets.encode(["a", "a", "b"]) @ sets.encode(["a"]) > sets.encode(["a", "b"]) @ sets.encode(["a"])


def test_words_in_common_make_strings_alike():
    sentences = ["lift the red cube", "lift the blue cube", "open a drawer"]
    for strings, least in (("words", 0.3), ("atoms", -0.1)):
        first, second, third = JSONEncoder(JSONConfig(strings=strings)).encode_batch(sentences)
        assert (first @ second > 0.3) == (strings == "words")
        assert first @ second > least
        assert abs(first @ third) < 0.12


def test_levels_of_unit_length_let_a_wide_part_weigh_as_much_as_a_narrow_one():
    document = {"name": "x", "wide": {f"k{i}": f"v{i}" for i in range(30)}}
    for normalise, expected in (("level", 0.5**0.5), ("none", 31**-0.5)):
        encoder = JSONEncoder(JSONConfig(normalise=normalise, strings="atoms"))
        part = encoder.encode(document) @ encoder.encode({"name": "x"})
        assert part == pytest.approx(expected, abs=0.08)


def test_a_path_is_probed_through_objects_and_arrays():
    encoder = JSONEncoder()
    colours = ["red", "green", "blue"]
    document = {"objects": [{"colour": "red"}, {"colour": "blue"}], "task": "stack"}
    clean_up = CleanUp(colours, np.stack([encoder.node(colour) for colour in colours]))
    vector = encoder.encode(document)
    for place, colour in enumerate(("red", "blue")):
        assert clean_up.nearest(encoder.probe(vector, ["objects", place, "colour"]))[0][0] == colour


def test_an_index_returns_the_nearest_with_their_cosines():
    index, v = VectorIndex(DIM), vectors(40)
    for number, vector in enumerate(v):
        index.add(str(number), vector)
    ids, cosines = index.search(v[3] + 0.1 * v[4], 2)
    assert ids[0] == "3"
    assert cosines[0] == pytest.approx(cosine(v[3] + 0.1 * v[4], v[3]))
    with pytest.raises(ValueError, match=r"expected \(256,\)"):
        index.add("short", v[0][:5])


def test_two_processes_have_the_same_vectors_to_the_last_bit():
    code = (
        "import hashlib; from representation.memory.mbat_vsa import *\n"
        "print([hashlib.sha256(JSONEncoder(JSONConfig(binding=b, dim=512)).encode("
        "{'a': [1, 2.5, 'two words'], 'b': {'c': None}}).tobytes()).hexdigest() "
        "for b in ('dense', 'hadamard', 'signed_permutation')])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_an_encoder_comes_back_equal_and_embeds_what_is_known_of_frames(tmp_path):
    encoder = JSONEncoder(JSONConfig(dim=512, seed=3, scales={"x": 0.2}))
    encoder.save(tmp_path)
    again = load_encoder(tmp_path)
    assert isinstance(again, DocumentEncoder)
    frames = colored(8)
    found = embed(again, frames)
    assert found.shape == (8, 512)
    np.testing.assert_array_equal(found, embed(encoder, frames))
    np.testing.assert_array_equal(embed(again, frames, np.array([5])), found[5:6])


def test_what_is_no_document_is_refused():
    encoder = JSONEncoder()
    for document, words in (({1: 2}, "strings as keys"), ({"a": {1, 2}}, "expected JSON, found set")):
        with pytest.raises(TypeError, match=words):
            encoder.encode(document)
    with pytest.raises(ValueError, match="finite numbers"):
        encoder.encode({"x": float("nan")})
    deep: object = 1
    for _ in range(70):
        deep = [deep]
    with pytest.raises(ValueError, match="at most 64 levels"):
        encoder.encode(deep)
    with pytest.raises(ValueError, match="a power of two"):
        MBAT(96, binding="hadamard")
    with pytest.raises(ValueError, match="binding: expected one of"):
        MBAT(binding="elementwise")
    with pytest.raises(ValueError, match="scale of x"):
        JSONConfig(scales={"x": 0})
