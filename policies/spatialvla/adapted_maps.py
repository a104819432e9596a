"""Where low-rank adapters go in a SpatialVLA policy, as the published recipe places them.

Rank and alpha 32, no dropout, Gaussian start; on the linear maps of the image tower, the projector, the Ego3D encoder
and the language model, and never inside the depth network, whose layers have the same names. Token tables and the
output table stay as they are unless asked for: adapt them first when the grid changes (`fit_grids`).
"""

from __future__ import annotations

from policies.lora import LoraSettings, add_adapters
from policies.spatialvla.model import SpatialVLAModel

TARGETS = (
    r"vision_tower\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
    r"|multi_modal_projector\.linear"
    r"|position_embedding_3d\.position_embedding_head\.(0|3)"
    r"|language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
)


def adapt(model: SpatialVLAModel, settings: LoraSettings) -> None:
    """Put fresh adapters into a policy's network and freeze the rest, but for the tables that the settings name."""
    add_adapters(model, settings, TARGETS)
    if settings.train_tables:
        model.spatial_embed_tokens.weight.requires_grad_(True)
        model.language_model.lm_head.weight.requires_grad_(True)
