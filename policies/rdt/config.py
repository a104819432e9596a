"""`RDTConfig`: sizes of the network and the noise schedule, stored as the released weights' flat `config.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

NormStat = Literal["var", "rms"]
Prediction = Literal["sample", "epsilon"]
Mixer = Literal["ponet", "attention"]
MAX_HISTORY_STEPS = 100_000
_MLP = re.compile(r"linear|mlp([1-9])x_gelu")
_FLAT = (
    "action_dim",
    "img_adaptor",
    "img_token_dim",
    "lang_adaptor",
    "lang_token_dim",
    "max_lang_cond_len",
    "pred_horizon",
    "state_adaptor",
)
# What the released file says of the average of the weights, which only training uses.
_EMA = {"inv_gamma": 1.0, "max_value": 0.9999, "min_value": 0.0, "power": 0.75, "update_after_step": 0}


@dataclass(frozen=True)
class RDTConfig:
    """Configuration of an `RDTModel`.

    Attributes:
        hidden_size: width D of the tokens.
        depth: number of blocks; even ones attend to language, odd ones to images.
        num_heads: attention heads.
        pred_horizon: rows T of a chunk.
        action_dim: width of the unified action space.
        lang_token_dim: width of the language tokens.
        img_token_dim: width of the image tokens.
        image_grid: images in time, cameras, and tokens of an image.
        max_lang_cond_len: most language tokens.
        lang_adaptor: "linear", or "mlp{n}x_gelu" with n linear layers.
        img_adaptor: likewise.
        state_adaptor: likewise; it embeds the state and every action row, each beside its mask.
        num_train_timesteps: steps of the forward process.
        num_inference_timesteps: steps of the sampler.
        prediction_type: what the network predicts, the clean chunk or the noise.
        norm_stat: ours, as the released file tells nothing. Both kinds have the same weights and give other numbers:
            "var" divides by the standard deviation about the mean without subtracting the mean, as timm up to 1.0.12
            computes its RmsNorm and so the published installation; "rms" is the true root mean square, which apex and
            later versions of timm compute. Which of them the authors trained with is not published.
        clean_prefix: ours; a learned mark of action tokens that are given and not to be predicted (arXiv 2512.05964).
        history_steps: ours; control steps of the joints that a `HistoryMixer` sees; 0 for none.
        history_mixer: ours; what mixes them.
    """

    hidden_size: int = 2048
    depth: int = 28
    num_heads: int = 32
    pred_horizon: int = 64
    action_dim: int = 128
    lang_token_dim: int = 4096
    img_token_dim: int = 1152
    image_grid: tuple[int, int, int] = (2, 3, 729)
    max_lang_cond_len: int = 1024
    lang_adaptor: str = "mlp2x_gelu"
    img_adaptor: str = "mlp2x_gelu"
    state_adaptor: str = "mlp3x_gelu"
    num_train_timesteps: int = 1000
    num_inference_timesteps: int = 5
    prediction_type: Prediction = "sample"
    norm_stat: NormStat = "var"
    clean_prefix: bool = False
    history_steps: int = 0
    history_mixer: Mixer = "ponet"

    def __post_init__(self) -> None:
        for name in ("lang_adaptor", "img_adaptor", "state_adaptor"):
            if not _MLP.fullmatch(getattr(self, name)):
                raise ValueError(f"{name}: expected 'linear' or 'mlp{{n}}x_gelu', found {getattr(self, name)!r}")
        if self.prediction_type not in ("sample", "epsilon"):
            raise ValueError(f"prediction_type: expected sample or epsilon, found {self.prediction_type!r}")
        if self.norm_stat not in ("var", "rms"):
            raise ValueError(f"norm_stat: expected var or rms, found {self.norm_stat!r}")
        if self.history_steps != 0 and not 2 <= self.history_steps <= MAX_HISTORY_STEPS:
            raise ValueError(f"history_steps: expected 0 or 2 to {MAX_HISTORY_STEPS}, found {self.history_steps}")
        if self.history_mixer not in get_args(Mixer):
            raise ValueError(f"history_mixer: expected one of {get_args(Mixer)}, found {self.history_mixer!r}")
        if self.hidden_size % self.num_heads or self.hidden_size % 2:
            raise ValueError(f"hidden_size: expected an even multiple of {self.num_heads}, found {self.hidden_size}")

    @property
    def img_cond_len(self) -> int:
        """Image tokens of all images."""
        times, cameras, tokens = self.image_grid
        return times * cameras * tokens

    @classmethod
    def rdt_1b(cls) -> RDTConfig:
        """The released model of 1.2 billion parameters."""
        return cls()

    @classmethod
    def rdt_170m(cls) -> RDTConfig:
        """The released model of 166 million parameters."""
        return cls(hidden_size=1024, depth=14)

    @classmethod
    def small(cls) -> RDTConfig:
        """The shipped policy's network of 3.5 million parameters, for the tokens of its small encoders."""
        return cls(
            hidden_size=192,
            depth=8,
            num_heads=6,
            pred_horizon=16,
            lang_token_dim=128,
            img_token_dim=7,
            image_grid=(1, 3, 14),
            max_lang_cond_len=64,
        )

    @classmethod
    def tiny(cls) -> RDTConfig:
        """For tests: trains in seconds."""
        return cls(
            hidden_size=64,
            depth=4,
            num_heads=4,
            pred_horizon=8,
            lang_token_dim=32,
            img_token_dim=48,
            image_grid=(2, 3, 4),
            max_lang_cond_len=16,
        )

    def to_dict(self) -> dict[str, Any]:
        """Content of the released `config.json`, which knows neither `norm_stat` nor `clean_prefix`.

        A network with a history has a field of ours, `history`.
        """
        times, cameras, tokens = self.image_grid
        history = {"history": {"mixer": self.history_mixer, "steps": self.history_steps}} if self.history_steps else {}
        return history | {
            "action_dim": self.action_dim,
            "ema": _EMA,
            "img_adaptor": self.img_adaptor,
            "img_cond_len": self.img_cond_len,
            "img_pos_embed_config": [["image", [times, cameras, -tokens]]],
            "img_token_dim": self.img_token_dim,
            "lang_adaptor": self.lang_adaptor,
            "lang_pos_embed_config": [["lang", -self.max_lang_cond_len]],
            "lang_token_dim": self.lang_token_dim,
            "max_lang_cond_len": self.max_lang_cond_len,
            "noise_scheduler": {
                "beta_schedule": "squaredcos_cap_v2",
                "clip_sample": False,
                "num_inference_timesteps": self.num_inference_timesteps,
                "num_train_timesteps": self.num_train_timesteps,
                "prediction_type": self.prediction_type,
                "type": "ddpm",
            },
            "pred_horizon": self.pred_horizon,
            "rdt": {
                "cond_pos_embed_type": "multimodal",
                "depth": self.depth,
                "hidden_size": self.hidden_size,
                "num_heads": self.num_heads,
            },
            "state_adaptor": self.state_adaptor,
            "state_token_dim": self.action_dim,
        }

    def to_json(self) -> str:
        """Text of `config.json` as the released models have it."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    @classmethod
    def from_dict(
        cls, content: Mapping[str, Any], norm_stat: NormStat = "var", clean_prefix: bool = False
    ) -> RDTConfig:
        """Read the content of a released `config.json`; fields that change nothing here are left out.

        Args:
            content: of the file.
            norm_stat: see the attributes; the file does not tell.
            clean_prefix: likewise.

        Raises:
            ValueError: a field is missing, of another kind, or asks for what this network cannot do; names it.
        """
        try:
            scheduler, trunk = content["noise_scheduler"], content["rdt"]
            grid = _image_grid(content["img_pos_embed_config"])
            steps, mixer = _history(content.get("history", {"mixer": "ponet", "steps": 0}))
            config = cls(
                hidden_size=trunk["hidden_size"],
                depth=trunk["depth"],
                num_heads=trunk["num_heads"],
                image_grid=grid,
                num_train_timesteps=scheduler["num_train_timesteps"],
                num_inference_timesteps=scheduler["num_inference_timesteps"],
                prediction_type=scheduler["prediction_type"],
                norm_stat=norm_stat,
                clean_prefix=clean_prefix,
                history_steps=steps,
                history_mixer=mixer,
                **{name: content[name] for name in _FLAT},
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"expected the fields of an RDT configuration, found none or another for {error}"
            ) from None
        fixed = {
            "noise_scheduler.beta_schedule": (scheduler.get("beta_schedule"), "squaredcos_cap_v2"),
            "noise_scheduler.clip_sample": (scheduler.get("clip_sample", False), False),
            "state_token_dim": (content.get("state_token_dim"), config.action_dim),
            "img_cond_len": (content.get("img_cond_len"), config.img_cond_len),
            "rdt.cond_pos_embed_type": (trunk.get("cond_pos_embed_type"), "multimodal"),
        }
        for name, (found, expected) in fixed.items():
            if found != expected:
                raise ValueError(f"{name}: expected {expected!r}, found {found!r}")
        return config


def _history(field: Any) -> tuple[int, Mixer]:
    if not isinstance(field, dict) or set(field) != {"mixer", "steps"} or not isinstance(field["steps"], int):
        raise ValueError(f"history: expected 'mixer' and a number of 'steps', found {field}")
    return field["steps"], field["mixer"]


def _image_grid(config: Any) -> tuple[int, int, int]:
    try:
        ((_, (times, cameras, tokens)),) = config
    except (TypeError, ValueError):
        raise ValueError(
            f"img_pos_embed_config: expected [['image', [times, cameras, -tokens]]], found {config}"
        ) from None
    if not all(isinstance(n, int) for n in (times, cameras, tokens)) or min(times, cameras) < 1 or tokens >= 0:
        raise ValueError(f"img_pos_embed_config: expected [['image', [times, cameras, -tokens]]], found {config}")
    return times, cameras, -tokens
