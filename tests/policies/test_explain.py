import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import SiglipVisionConfig

from policies import explain
from policies.action_heads import action_heads, features, headed, replace_maps
from policies.explanation import action_difference, examine, within
from policies.interface import CameraView, Observation, load_policy
from policies.rdt.config import RDTConfig
from policies.rdt.embedding_files import write_embedding
from policies.rdt.embedding_folder import EmbeddingFolder
from policies.rdt.embodiment import PANDA
from policies.rdt.image_tower import SiglipTower
from policies.rdt.policy import RDTPolicy
from policies.rdt.settings import RDTSettings
from policies.rdt.unified_space import slots_of
from policies.robots import get_robot
from tests.opened_page import opened_page
from tests.policies.demonstrations import write_demonstrations
from tests.policies.rdt.conftest import random_model
from tests.policies.spatialvla.conftest import make_observations, make_policy

SPEC = get_robot("panda")
SENTENCE = "reach the ball"


@pytest.fixture
def rdt(tmp_path):
    write_embedding(tmp_path / "texts" / "0.safetensors", torch.randn(3, 32), SENTENCE, "test")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower = SiglipTower(SiglipVisionConfig(**sizes, image_size=28, patch_size=14))
    model = random_model(config=replace(RDTConfig.tiny()))
    with torch.no_grad():
        last, used = model.model.final_layer.ffn_final.fc2, slots_of(PANDA.names)
        others = [slot for slot in range(last.out_features) if slot not in used]
        last.weight[others], last.bias[others] = 0.0, 0.0
    return RDTPolicy(model, tower, EmbeddingFolder(tmp_path / "texts", 32), RDTSettings("panda", PANDA))


def seen(count, seed):
    rng = np.random.default_rng(seed)

    def view():
        return CameraView(rng.integers(0, 256, (24, 32, 3), np.uint8), np.ones((24, 32)), np.eye(3), np.eye(4))

    return [
        Observation(0.1 * step, {"front": view(), "wrist": view()}, SPEC.home, np.zeros(len(SPEC.home)), SENTENCE)
        for step in range(count)
    ]


def test_the_head_taken_out_of_rdt_gives_what_the_network_gives(rdt):
    (head,) = action_heads(rdt)
    rows = features(rdt, [seen(2, 0)])[head.name]
    assert len(rows) == 2 * rdt.settings.sampler_steps * rdt.chunk_length
    whole = rdt.model.model.final_layer.ffn_final(rows)
    used = sorted(slots_of(PANDA.names))
    assert torch.allclose(head.seq(rows), whole[:, used], atol=1e-6)
    assert sorted(head.axes) == sorted(PANDA.names)


def test_rdts_replaced_head_has_fewer_directions_and_answers_alike(rdt):
    (head,) = action_heads(rdt)
    episodes = [seen(4, seed) for seed in range(3)]
    rows, held_out = (features(rdt, part)[head.name] for part in (episodes[:2], episodes[2:]))
    found = examine(head, rows, held_out, 0.02)
    before = rdt.model.model.final_layer.ffn_final.fc1.weight.clone()
    assert found.layers[1].basis.rank_grad <= len(PANDA.names)
    for layer in found.layers:
        ours, other = layer.needed.values()
        assert ours[0] <= other[0]
    replaced = RDTPolicy(rdt.model, rdt.tower, rdt.text, rdt.settings)
    answers = [one.rows for one in (rdt.act(observation) for observation in episodes[2])]
    replace_maps(replaced, head, found.maps)
    after = rdt.model.model.final_layer.ffn_final.fc1.weight
    if 0 in found.maps:
        assert torch.linalg.matrix_rank(after, rtol=1e-5) == found.layers[0].kept < len(before)
    rdt.reset(0)
    again = [one.rows for one in (rdt.act(observation) for observation in episodes[2])]
    assert np.abs(np.stack(again) - np.stack(answers)).max() < 0.5 * np.std(np.stack(answers)) + 0.1
    assert found.synchronized is not None
    assert found.drives.shape == (len(PANDA.names), len(found.layers[0].basis))


def test_the_heads_of_spatialvla_choose_what_the_policy_chose():
    policy = make_policy(sharpen=5.0)
    observations = make_observations(np.random.default_rng(0), 3)
    rows = features(policy, [observations])
    chunks = np.stack([chunk.rows for chunk in policy.act_batch(observations)]).reshape(-1, 7)
    normalised = torch.cat([head.acted(rows[head.name]) for head in action_heads(policy)], dim=1)
    decoded = policy.processor.normalizer.unnormalize(normalised.numpy())
    moving = np.linalg.norm(chunks[:, :3], axis=1) > 0
    assert np.allclose(decoded[moving, :3], chunks[moving, :3], atol=1e-6)
    assert np.allclose(decoded[:, 6], chunks[:, 6])


def test_the_command_writes_a_page_and_a_policy_that_loads(tmp_path, capsys):
    policy = make_policy(sharpen=5.0)
    policy.save_pretrained(tmp_path / "given")
    write_demonstrations(tmp_path / "push", 4, np.random.default_rng(0))
    arguments = (
        f"--policy {tmp_path}/given --dataset {tmp_path}/push --output {tmp_path}/out --tolerance 0.2 --threads 1"
    )
    assert explain.main(arguments.split()) == 0
    assert "answers differ by" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert [head["name"] for head in summary["heads"]] == ["translation", "rotation", "gripper"]
    assert summary["head_numbers"][1] < summary["head_numbers"][0]
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<svg") == 6
    assert "src=" not in page
    replaced = load_policy(str(tmp_path / "out" / "policy"))
    kept = {head["name"]: head["layers"][0]["kept"] for head in summary["heads"]}
    factors = load_file(tmp_path / "out" / "low_rank.safetensors")
    for head in action_heads(replaced):
        weight = headed(replaced).model.get_submodule(head.weights[0]).weight[head.rows[0]]
        if kept[head.name] is not None:
            parts = [factors[f"{head.name}.{head.weights[0]}.{part}.weight"] for part in ("up", "down")]
            assert torch.allclose(parts[0] @ parts[1], weight, atol=1e-5)
            assert torch.linalg.matrix_rank(weight, rtol=1e-5) == kept[head.name]
    assert action_difference(replaced, replaced, [make_observations(np.random.default_rng(0), 2)]) == {
        "mean_absolute": [0.0] * 7,
        "share_of_variance": 0.0,
    }
    with pytest.raises(SystemExit, match="expected a new or empty directory"):
        explain.main(arguments.split())
    assert explain.main(arguments.replace("/given", "/none").replace("/out", "/other").split()) == 1
    assert "noop" in capsys.readouterr().err


def test_a_reader_sees_all_plots_of_the_page_which_asks_for_no_other_file(tmp_path, browser):
    make_policy(sharpen=5.0).save_pretrained(tmp_path / "given")
    write_demonstrations(tmp_path / "push", 3, np.random.default_rng(0))
    words = f"--policy {tmp_path}/given --dataset {tmp_path}/push --output {tmp_path}/out --threads 1"
    assert explain.main(words.split()) == 0
    seen = opened_page(browser, tmp_path / "out" / "index.html")
    assert (seen.console, seen.requests) == ([], [])
    assert len(seen.areas) == 6
    assert min(seen.areas) > 100 * 100
    assert seen.overflow == 0
    titles = [title.text for title in browser.find_elements("css selector", "h2")]
    assert titles == ["translation", "rotation", "gripper"]


def test_a_policy_without_a_known_head_is_refused():
    with pytest.raises(ValueError, match="expected a SpatialVLA or an RDT, found NoopPolicy"):
        action_heads(load_policy("noop"))


def test_directions_are_enough_only_where_more_of_them_are_too():
    assert within(torch.tensor([0.0, 0.95, 0.5, 0.92, 1.0]), 0.1) == 3
    assert within(torch.tensor([0.0, 0.5]), 0.1) is None
