"""`SpatialVLAConfig`: sizes, token ids and switches of the network, stored as `config.json`.

Fields of the released `config.json` keep their names; whatever that file also holds (library versions, leftovers) does
not change the computation and is carried over as it was. Our extensions, all off in the released configuration, are
stored in the group `polyarm` of the file and are marked "ours" below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from policies.json_file import read_json

CONFIG_FILE = "config.json"
PointFrame = Literal["camera", "tool"]
PrefixAttention = Literal["bidirectional", "causal"]
STATE_DIM = 10


@dataclass(frozen=True)
class SpatialVLAConfig:
    """Configuration of a `SpatialVLAModel`.

    Attributes:
        text_config: fields of transformers' `Gemma2Config`.
        vision_config: fields of transformers' `SiglipVisionConfig`.
        vision_zoe_config: fields of transformers' `ZoeDepthConfig`, or None for a model that needs a depth camera.
        image_token_index: id of `<image>`.
        action_token_begin_idx: id of the first action token.
        spatial_token_num: number of action tokens.
        pad_token_id: id of padding.
        bos_token_id: id of the sequence start, which follows the image.
        eos_token_id: id of the sequence end.
        ego3d_patch_reso: sub-cells per patch side whose 3-D points a patch token sees.
        n_freqs: octaves of the Fourier features of a point.
        use_vision_zoe: estimate depth with ZoeDepth when none is given.
        carried: other fields of the `config.json` that it was read from.
        use_ego3d: ours; add 3-D position encodings to the image tokens. Without it depth and calibration are unused.
        point_frame: ours; "camera" (released) or "tool": points relative to the tool centre point, along base axes.
        point_center: ours; (3,) m, the point that maps to 0 in the encoding.
        point_half_range: ours; m, the distance from the centre that maps to 1.
        ego3d_init_gain: ours; Xavier gain of the fresh 3-D encoder: 0.01 leaves a pre-trained model undisturbed.
        state_dim: ours; 0, or 10 for a proprioception token (tool position, 6-D rotation, gripper opening).
        state_token_index: ours; id of `<state>`, required with `state_dim`.
        prefix_attention: ours; "bidirectional" (reference inference) or "causal" (what flash attention trained).
    """

    text_config: Mapping[str, Any]
    vision_config: Mapping[str, Any]
    image_token_index: int
    action_token_begin_idx: int
    spatial_token_num: int
    vision_zoe_config: Mapping[str, Any] | None = None
    pad_token_id: int = 0
    bos_token_id: int = 2
    eos_token_id: int = 1
    ego3d_patch_reso: int = 2
    n_freqs: int = 8
    use_vision_zoe: bool = False
    carried: Mapping[str, Any] = field(default_factory=dict)
    use_ego3d: bool = True
    point_frame: PointFrame = "camera"
    point_center: tuple[float, float, float] = (0.0, 0.0, 2.0)
    point_half_range: float = 2.0
    ego3d_init_gain: float = 0.01
    state_dim: int = 0
    state_token_index: int | None = None
    prefix_attention: PrefixAttention = "bidirectional"

    def __post_init__(self) -> None:
        object.__setattr__(self, "point_center", tuple(float(value) for value in self.point_center))
        if self.image_size % self.patch_size:
            raise ValueError(
                f"vision_config.image_size: expected a multiple of {self.patch_size}, found {self.image_size}"
            )
        if self.patch_size % self.ego3d_patch_reso:
            raise ValueError(
                f"ego3d_patch_reso: expected a divisor of {self.patch_size}, found {self.ego3d_patch_reso}"
            )
        if self.point_frame not in ("camera", "tool"):
            raise ValueError(f"point_frame: expected 'camera' or 'tool', found {self.point_frame!r}")
        if self.prefix_attention not in ("bidirectional", "causal"):
            raise ValueError(f"prefix_attention: expected 'bidirectional' or 'causal', found {self.prefix_attention!r}")
        if self.state_dim not in (0, STATE_DIM):
            raise ValueError(f"state_dim: expected 0 or {STATE_DIM}, found {self.state_dim}")
        if len(self.point_center) != 3 or not self.point_half_range > 0:
            raise ValueError(
                f"point range: expected 3 numbers and > 0, found {self.point_center}, {self.point_half_range}"
            )
        if self.use_vision_zoe and self.vision_zoe_config is None:
            raise ValueError("vision_zoe_config: expected the depth network's configuration with use_vision_zoe")

    @property
    def image_size(self) -> int:
        """Side of the square model image in pixels; the released file tells the number of patches instead."""
        side = round(self.vision_config.get("num_positions", 256) ** 0.5)
        return int(self.vision_config.get("image_size", side * self.patch_size))

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self.vision_config["patch_size"])

    @property
    def image_tokens(self) -> int:
        """Number of image tokens."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding and output tables."""
        return int(self.text_config["vocab_size"])

    @property
    def is_released_kind(self) -> bool:
        """Whether the published code computes the same: all of our extensions are off."""
        defaults = {field.name: field.default for field in fields(self)}
        return self.use_vision_zoe and all(getattr(self, name) == defaults[name] for name in _OURS)

    @classmethod
    def released(cls) -> SpatialVLAConfig:
        """Sizes of the released 4B checkpoints."""
        return cls(
            text_config=_gemma(265347, 2304, 9216, 26, 8, 4, 256),
            vision_config=_siglip(224, 14, 1152, 4304, 27, 16),
            vision_zoe_config=_ZOE_NYU_KITTI,
            image_token_index=257152,
            action_token_begin_idx=257153,
            spatial_token_num=8194,
            use_vision_zoe=True,
        )

    @classmethod
    def small(cls, **changes: Any) -> SpatialVLAConfig:
        """Our from-scratch policy of about 1 M parameters: depth camera, points about the tool, state token.

        Token ids are placeholders until `fit_processor` has built the tokenizer.
        """
        config = cls(
            text_config=_gemma(64, 96, 256, 4, 4, 2, 24),
            vision_config=_siglip(96, 12, 96, 256, 1, 4),
            ego3d_patch_reso=3,
            image_token_index=5,
            action_token_begin_idx=6,
            spatial_token_num=0,
            point_frame="tool",
            point_center=(0.0, 0.0, 0.0),
            point_half_range=0.5,
            ego3d_init_gain=1.0,
            state_dim=STATE_DIM,
            state_token_index=4,
        )
        return replace(config, **changes)

    @classmethod
    def tiny(cls, **changes: Any) -> SpatialVLAConfig:
        """Build a model for tests: 16 image tokens, a few thousand parameters."""
        small = cls.small()
        sizes = {
            "text_config": _gemma(64, 32, 48, 3, 4, 2, 8),
            "vision_config": _siglip(16, 4, 24, 32, 2, 2),
            "ego3d_patch_reso": 2,
        }
        return replace(small, **{**sizes, **changes})

    def with_vocabulary(
        self, *, vocabulary: int, image: int, state: int | None, action_begin: int, actions: int, **special: int
    ) -> SpatialVLAConfig:
        """Return a copy whose token ids fit a tokenizer; `special` are pad_token_id, bos_token_id, eos_token_id."""
        return replace(
            self,
            text_config={**self.text_config, "vocab_size": vocabulary, **special},
            image_token_index=image,
            state_token_index=state if self.state_dim else None,
            action_token_begin_idx=action_begin,
            spatial_token_num=actions,
            **special,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        content = asdict(self)
        ours = {name: content.pop(name) for name in _OURS}
        released = {
            "model_type": "spatialvla",
            "architectures": ["SpatialVLAForConditionalGeneration"],
            "_vocab_size": self.vocabulary_size,
            "use_spatial_token": True,
            "projection_dim": self.text_config["hidden_size"],
            "num_hidden_layers": self.text_config["num_hidden_layers"],
        }
        if self.is_released_kind:
            released["auto_map"] = {
                "AutoConfig": "configuration_spatialvla.SpatialVLAConfig",
                "AutoModel": "modeling_spatialvla.SpatialVLAForConditionalGeneration",
            }
        carried = content.pop("carried")
        return {**carried, **released, **content, "polyarm": ours}

    @classmethod
    def read(cls, directory: Path) -> SpatialVLAConfig:
        """Read the `config.json` of a directory.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is damaged, or lacks a field; names file and field.
        """
        path = directory / CONFIG_FILE
        content = read_json(path)
        try:
            return cls.from_dict(content)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SpatialVLAConfig:
        """Build from the content of a `config.json`.

        Raises:
            ValueError: a field that the network cannot do without is missing, or one of ours is unknown.
        """
        names = [field.name for field in fields(cls) if field.name not in (*_OURS, "carried")]
        required = ["text_config", "vision_config", "image_token_index", "action_token_begin_idx", "spatial_token_num"]
        missing = [name for name in required if name not in content]
        if missing:
            raise ValueError(f"config: fields {missing} are missing")
        ours = dict(content.get("polyarm", {}))
        unknown = sorted(set(ours) - set(_OURS))
        if unknown:
            raise ValueError(f"config: group polyarm: expected fields of {_OURS}, found {unknown}")
        values = {name: content[name] for name in names if name in content}
        # What follows from the other fields or from the weights is written anew: it may change with them.
        derived = {*cls(**values, **ours).to_dict(), "auto_map", "torch_dtype"}
        carried = {name: value for name, value in content.items() if name not in derived}
        return cls(**values, **ours, carried=carried)


_OURS = (
    "use_ego3d",
    "point_frame",
    "point_center",
    "point_half_range",
    "ego3d_init_gain",
    "state_dim",
    "state_token_index",
    "prefix_attention",
)


def _gemma(vocab: int, hidden: int, mlp: int, layers: int, heads: int, kv_heads: int, head_dim: int) -> dict[str, Any]:
    return {
        "model_type": "gemma2",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "query_pre_attn_scalar": head_dim,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "hidden_activation": "gelu_pytorch_tanh",
        # The library's default of 0.02 is close to this at the released width of 2304; a narrow decoder that started
        # at 0.02 learned more slowly.
        "initializer_range": hidden**-0.5,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 1,
    }


def _siglip(image: int, patch: int, hidden: int, mlp: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "image_size": image,
        "patch_size": patch,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vision_use_head": False,
    }


_ZOE_NYU_KITTI: dict[str, Any] = {
    "model_type": "zoedepth",
    "backbone_config": {
        "model_type": "beit",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": 384,
        "patch_size": 16,
        "use_relative_position_bias": True,
        "reshape_hidden_states": False,
        "layer_scale_init_value": 0.1,
        "drop_path_rate": 0.1,
        "out_indices": [6, 12, 18, 24],
        "out_features": ["stage6", "stage12", "stage18", "stage24"],
    },
    "neck_hidden_sizes": [256, 512, 1024, 1024],
    "fusion_hidden_size": 256,
    "bottleneck_features": 256,
    "num_attractors": [16, 8, 4, 1],
    "bin_embedding_dim": 128,
    "attractor_alpha": 1000,
    "attractor_gamma": 2,
    "attractor_kind": "mean",
    "min_temp": 0.0212,
    "max_temp": 50.0,
    "bin_configurations": [
        {"name": "nyu", "n_bins": 64, "min_depth": 0.001, "max_depth": 10.0},
        {"name": "kitti", "n_bins": 64, "min_depth": 0.001, "max_depth": 80.0},
    ],
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 1024,
    "patch_transformer_num_attention_heads": 4,
}
