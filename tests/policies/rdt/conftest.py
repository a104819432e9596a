"""What the tests of RDT share: reference numbers, and a tiny network whose weights are all drawn at random."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from policies.rdt.config import RDTConfig
from policies.rdt.network import Conditions, RDTModel, build_model


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Directory of numbers made with the reference implementation."""
    default = Path(__file__).parents[4] / "shared" / "goldens"
    directory = Path(os.environ.get("POLYARM_GOLDENS", default)) / "rdt"
    if not directory.is_dir():
        pytest.skip("reference numbers not found: set POLYARM_GOLDENS to their directory")
    return directory


def random_model(seed: int = 0, config: RDTConfig | None = None) -> RDTModel:
    """A network with no weight at zero."""
    model = build_model(config or RDTConfig.tiny(), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def random_inputs(config: RDTConfig, batch: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    """State, mask, frequency, noise, and tokens of conditions."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    mask = torch.zeros(config.action_dim)
    mask[[0, 1, 2, 10]] = 1
    return {
        "state": draw(batch, config.action_dim) * mask,
        "mask": mask,
        "frequency": torch.full((batch,), 25.0),
        "noise": draw(batch, config.pred_horizon, config.action_dim),
        "language": draw(1, 5, config.lang_token_dim),
        "images": draw(1, config.img_cond_len, config.img_token_dim),
    }


@torch.no_grad()
def conditions_of(model: RDTModel, inputs: dict[str, torch.Tensor]) -> Conditions:
    return Conditions(model.encode_language(inputs["language"]), model.encode_images(inputs["images"]))


@pytest.fixture
def model() -> RDTModel:
    return random_model()
