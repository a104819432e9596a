from __future__ import annotations

import pytest

from policies.loading import policy_sha256


def test_hash_covers_weights_configuration_and_names(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = policy_sha256(str(tmp_path))
    (tmp_path / "README.md").write_text("not part of it")
    assert policy_sha256(str(tmp_path)) == first
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    second = policy_sha256(str(tmp_path))
    (tmp_path / "config.json").write_text("{ }")
    assert len({first, second, policy_sha256(str(tmp_path))}) == 3


def test_policies_without_weights_have_no_hash():
    assert policy_sha256("noop") is None


def test_unknown_policy_is_named():
    with pytest.raises(FileNotFoundError, match=r"'nowhere'.*shipped: .*noop"):
        policy_sha256("nowhere")
