"""Vectors of JSON: at depth, of many keys, and of scenes of the simulation whose parts have changed places.

The scenes are those of `python -m sim.scene_descriptions`. Of each there is a twin in which two objects have exchanged
all that is said of them. A scene is looked for with 30 % of its fields left out, its numbers jittered and its keys in
another order; the twin is the wrong answer, and to texts the same.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from representation.benchmarks.claims import BenchOptions, Claim
from representation.memory.mbat_vsa import MBAT, CleanUp, JSONConfig, JSONEncoder

BINDINGS, PAIRS, DIM = 20, 50, 1000
NESTED_DIM, ATOMS, TRIALS = 800, 1000, 40
NESTS = ((2, 3, 15), (3, 3, 9), (4, 2, 6), (5, 2, 6))  # depth, fields of a level, keys to choose from
FEW, MANY, PROBES = 50, 400, 400
SCENES, QUERIES, DROPPED, JITTER = 500, 200, 0.3, 0.01
SCALES = {"position": 0.05, "half_size": 0.01, "yaw": 0.5, "joints": 0.2, "tool": 0.05, "bins": 0.05, "gripper": 0.5}
SHORTLIST, LEAVES, REPEATS = 10, 50, 20


def run(options: BenchOptions) -> list[Claim]:
    """All claims, by seed.

    Raises:
        FileNotFoundError: there are no scenes; says how to make them.
    """
    scenes = read_scenes(options.data.with_name("scenes"))
    found = [_one(seed, scenes, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str | float, least: float = 0.0) -> Claim:
        others = tuple(x[baseline] if isinstance(baseline, str) else baseline for x in found)
        return Claim(text, name, tuple(x[ours] for x in found), others, least)

    claims = [
        claim(
            f"rms change of cosines by {BINDINGS} plain random matrices, {DIM} numbers",
            "orthogonal",
            "gaussian distortion",
            "orthogonal distortion",
            0.05,
        )
    ]
    for depth, fields, _ in NESTS:
        text, name = f"deepest leaf told, depth {depth}, {fields} fields a level", f"depth {depth}"
        deepest = depth == NESTS[-1][0]
        claims.append(claim(text, "Gaussian, transposed", name, f"{name} transposed", 0.15 if deepest else 0.0))
        claims.append(claim(text, "Gaussian, inverse", name, f"{name} inverse", 0.8))
        if deepest:
            claims += [claim(text, "asked", name, 0.9), claim(text, "asked of the inverse: 0.1", "the rest", 0.9)]
    return [
        *claims,
        claim(f"value of one of {FEW} keys told, of {ATOMS}", "asked", "few", 0.99),
        claim(f"value of one of {FEW} keys told, of {ATOMS}", f"of {MANY} keys", "few", "many", 0.05),
        claim("damaged scene found, recall@1", "asked", "scene", 0.95),
        claim("damaged scene found, recall@1", "TF-IDF of the text", "scene", "tf-idf", 0.1),
        claim("damaged scene found, recall@1", "edit similarity of TF-IDF's best", "scene", "edit", 0.1),
        claim(f"documents of {LEAVES} leaves encoded in 5 ms of one core", "asked", "documents", 1.0),
    ]


def read_scenes(place: Path) -> list[dict[str, Any]]:
    """The scenes with two objects or more."""
    file = place / "scenes.jsonl"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: expected scenes; python -m sim.scene_descriptions --output {place}")
    scenes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [scene for scene in scenes if len(scene["objects"]) > 1]


def _one(seed: int, scenes: Sequence[dict[str, Any]], options: BenchOptions) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    result = {
        "orthogonal distortion": distortion(MBAT(DIM, seed, "dense"), rng),
        "gaussian distortion": distortion(MBAT(DIM, seed, "gaussian"), rng),
    }
    for depth, fields, keys in NESTS:
        trials = options.steps(TRIALS)
        result |= {f"depth {depth}{name}": hit for name, hit in nested(depth, fields, keys, trials, seed).items()}
    result["the rest"] = 1 - result[f"depth {NESTS[-1][0]} inverse"]
    result |= {name: capacity(count, options.steps(PROBES), seed) for name, count in (("few", FEW), ("many", MANY))}
    return result | retrieval(scenes, options.steps(QUERIES), seed) | {"documents": _speed(seed)}


def distortion(mbat: MBAT, rng: np.random.Generator) -> float:
    """Root mean square change of the cosines of pairs by many bindings."""
    x, noise = rng.normal(size=(2, PAIRS, mbat.dim))
    y = 0.5 * x + 0.75**0.5 * noise  # pairs with a cosine of about 0.5
    before = _cosines(x, y)
    for step in range(BINDINGS):
        x, y = (mbat.bind(str(step), v) for v in (x, y))
    return float(np.sqrt(np.mean((_cosines(x, y) - before) ** 2)))


def nested(depth: int, fields: int, keys: int, trials: int, seed: int) -> dict[str, float]:
    """How often the leaf at the end of a path is named, by orthogonal and by plain random matrices."""
    rng = np.random.default_rng((seed, depth))
    names = [f"atom {i}" for i in range(ATOMS)]
    orthogonal, plain = (JSONEncoder(_config(binding, seed)) for binding in ("dense", "gaussian"))
    inverses = {str(key): np.linalg.inv(plain.mbat.matrix(str(key))) for key in range(keys)}
    cleaners = [CleanUp(names, np.stack([e.mbat.atom(name) for name in names])) for e in (orthogonal, plain)]
    hits = np.zeros(3)
    for _ in range(trials):
        document, path, leaf = _tree(depth, fields, keys, rng)
        vectors = orthogonal.node(document), plain.node(document)
        undone = vectors[1]
        for key in path:
            undone = inverses[key] @ undone
        probes = orthogonal.probe(vectors[0], path), plain.probe(vectors[1], path), undone
        cleaned = zip(probes, (cleaners[0], cleaners[1], cleaners[1]), strict=True)
        hits += [cleaner.nearest(probe)[0][0] == leaf for probe, cleaner in cleaned]
    return dict(zip(("", " transposed", " inverse"), hits / trials, strict=True))


def capacity(count: int, probes: int, seed: int) -> float:
    """How often the value of a key of a flat object is named."""
    rng, names = np.random.default_rng((seed, count)), [f"atom {i}" for i in range(ATOMS)]
    encoder = JSONEncoder(JSONConfig(seed=seed, strings="atoms"))
    clean_up = CleanUp(names, np.stack([encoder.mbat.atom(name) for name in names]))
    document = {f"key {i}": names[rng.integers(ATOMS)] for i in range(count)}
    vector = encoder.encode(document)
    asked = rng.choice(list(document), probes)
    return float(np.mean([clean_up.nearest(encoder.probe(vector, [key]))[0][0] == document[key] for key in asked]))


def retrieval(scenes: Sequence[dict[str, Any]], queries: int, seed: int) -> dict[str, float]:
    """Recall@1 of damaged scenes among scenes and their twins, by vectors and by texts."""
    rng = np.random.default_rng((seed, SCENES))
    chosen = [scenes[place] for place in rng.choice(len(scenes), min(SCENES, len(scenes)), replace=False)]
    known = [*chosen, *(swapped(scene, rng) for scene in chosen)]
    asked = [damaged(scene, rng) for scene in chosen[:queries]]
    encoder = JSONEncoder(JSONConfig(seed=seed, scale=0.1, scales=SCALES))
    similar = encoder.encode_batch(asked) @ encoder.encode_batch(known).T
    texts, wanted = [_text(scene) for scene in known], [_text(scene) for scene in asked]
    tf_idf = TfidfVectorizer(token_pattern=r"[^\s]+", lowercase=False).fit(texts)
    alike = (tf_idf.transform(wanted) @ tf_idf.transform(texts).T).toarray()
    # Twins have the same text in another order, and TF-IDF cannot tell them apart: which comes first is chance.
    alike += rng.uniform(0, 1e-9, alike.shape)
    order = np.argsort(-alike, axis=1)[:, :SHORTLIST]
    edit = [
        row[np.argmax([SequenceMatcher(None, texts[place], text, autojunk=False).ratio() for place in row])]
        for text, row in zip(wanted, order, strict=True)
    ]
    right = np.arange(len(asked))
    return {
        "scene": float((similar.argmax(axis=1) == right).mean()),
        "tf-idf": float((alike.argmax(axis=1) == right).mean()),
        "edit": float((np.array(edit) == right).mean()),
    }


def swapped(scene: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The twin: two objects have exchanged all that is said of them."""
    twin = copy.deepcopy(dict(scene))
    first, second = rng.choice(list(twin["objects"]), 2, replace=False)
    objects = twin["objects"]
    objects[first], objects[second] = objects[second], objects[first]
    return twin


def damaged(value: Any, rng: np.random.Generator) -> Any:
    """A document with fields left out, numbers jittered and keys in another order."""
    if isinstance(value, Mapping):
        keys = [key for key in value if isinstance(value[key], Mapping) or rng.uniform() >= DROPPED]
        return {key: damaged(value[key], rng) for key in rng.permutation(keys).tolist()}
    if isinstance(value, list):
        return [damaged(item, rng) for item in value]
    return value + float(rng.normal(0, JITTER)) if isinstance(value, float) else value


def _config(binding: str, seed: int) -> JSONConfig:
    return JSONConfig(dim=NESTED_DIM, seed=seed, binding=binding, strings="atoms")


def _tree(depth: int, fields: int, keys: int, rng: np.random.Generator) -> tuple[dict[str, Any], list[str], str]:
    """An object with so many fields at each level, the path to one of its leaves, and the leaf."""
    node: dict[str, Any] = {}
    for key in rng.choice(keys, fields, replace=False):
        node[str(key)] = f"atom {rng.integers(ATOMS)}" if depth == 1 else _tree(depth - 1, fields, keys, rng)[0]
    path: list[str] = []
    leaf: Any = node
    while isinstance(leaf, dict):
        path.append(str(rng.choice(list(leaf))))
        leaf = leaf[path[-1]]
    return node, path, leaf


def _text(scene: Mapping[str, Any]) -> str:
    """JSON as words, numbers rounded to centimetres so that jitter changes few of them."""
    text = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}", json.dumps(scene))
    return re.sub(r'[{}\[\]",:]', " ", text)


def _speed(seed: int) -> float:
    """How many documents of 50 leaves are encoded in 5 ms."""
    rng = np.random.default_rng(seed)
    document = {f"object {i}": _leaves(rng) for i in range(LEAVES // 5)}
    encoder = JSONEncoder(JSONConfig(seed=seed))
    return 0.005 / _seconds(lambda: encoder.encode(document))


def _leaves(rng: np.random.Generator) -> dict[str, Any]:
    return {"colour": "red", "shape": "cube", "position": rng.normal(size=3).tolist()}


def _seconds(action: Callable[[], NDArray]) -> float:
    """Median processor time of an action, once all symbols are known."""
    action()
    found = []
    for _ in range(REPEATS):
        began = time.thread_time()
        action()
        found.append(time.thread_time() - began)
    return float(np.median(found))


def _cosines(x: NDArray, y: NDArray) -> NDArray[np.float64]:
    return (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
