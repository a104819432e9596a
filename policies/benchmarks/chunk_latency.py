"""How long SpatialVLA takes for a chunk, beside plain ways of decoding with the same weights in the same process.

- ours: one prefill, a static cache, and single-token steps that look at the slot's legal ids only;
- ours, compiled: the same with compiled steps, if asked for;
- library, cached: `generate` of transformers' Gemma-2 on the same prompt embeddings, with its cache;
- re-encoded: the library's model over prompt and tokens so far, again for every token.

All get the same image features, which are computed once and not timed, so the language model is what differs.
On a GPU the floor is what the hardware could do at best: every step reads all weights of the language model once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from policies.machine import describe_machine, library_versions
from policies.spatialvla.action_grid import ActionGrid
from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION, SpatialActionTokenizer
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.decoding import decode_prompt
from policies.spatialvla.model import SpatialVLAModel, build_model
from policies.spatialvla.token_steps import CompiledSteps

Size = Literal["tiny", "small", "middle", "released"]
METHODS = ("ours", "library, cached", "re-encoded")
COMPILED = "ours, compiled"
ACTIONS = 4
PROMPT_WORDS = 12
MIDDLE = {"hidden": 512, "mlp": 2048, "layers": 8, "heads": 8, "kv_heads": 4, "head_dim": 64, "vocabulary": 9000}


@dataclass(frozen=True, slots=True)
class LatencySettings:
    """What is measured.

    Attributes:
        size: of the network: the shipped one, a middle one with the released grid and image tokens, or the released.
        device: torch device.
        dtype: number format of the weights.
        repetitions: chunks of each method, in turns.
        seeds: weights and inputs are drawn anew for each seed.
        threads: of torch on the CPU.
        compile: measure compiled steps too, which takes a minute at the start and, on a CPU, a C++ compiler.
        bandwidth_gb_s: memory bandwidth of the device, for the floor; 0 leaves it out.
    """

    size: Size = "middle"
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    repetitions: int = 10
    seeds: int = 3
    threads: int = 2
    compile: bool = False
    bandwidth_gb_s: float = 0.0

    def __post_init__(self) -> None:
        if self.repetitions < 1 or self.seeds < 1 or self.threads < 1:
            raise ValueError(
                "repetitions, seeds, threads: expected at least 1 each, found "
                f"{self.repetitions}, {self.seeds}, {self.threads}"
            )


def network(size: Size) -> tuple[SpatialVLAConfig, ActionGrid]:
    """Sizes of the network, and its grid."""
    grid = ActionGrid.uniform()
    if size == "released":
        return replace(SpatialVLAConfig.released(), use_vision_zoe=False, vision_zoe_config=None), grid
    config = SpatialVLAConfig.tiny() if size == "tiny" else SpatialVLAConfig.small()
    if size == "middle":
        sizes = {
            "hidden_size": MIDDLE["hidden"],
            "intermediate_size": MIDDLE["mlp"],
            "num_hidden_layers": MIDDLE["layers"],
            "num_attention_heads": MIDDLE["heads"],
            "num_key_value_heads": MIDDLE["kv_heads"],
            "head_dim": MIDDLE["head_dim"],
            "query_pre_attn_scalar": MIDDLE["head_dim"],
        }
        vision = {"image_size": 224, "patch_size": 14}
        config = replace(
            config,
            text_config={**config.text_config, **sizes},
            vision_config={**config.vision_config, **vision},
            ego3d_patch_reso=2,
        )
    count = sum(grid.slot_sizes)
    begin = config.action_token_begin_idx
    vocabulary = max(begin + count, MIDDLE["vocabulary"] if size == "middle" else 0)
    return (
        config.with_vocabulary(
            vocabulary=vocabulary, image=config.image_token_index, state=4, action_begin=begin, actions=count
        ),
        grid,
    )


def run(settings: LatencySettings) -> dict[str, Any]:
    """Measure everything; `format_text` lays the result out."""
    torch.set_num_threads(settings.threads)
    seeds = [_measure(settings, seed) for seed in range(settings.seeds)]
    ours = [seed["ours"] for seed in seeds]
    methods = []
    for name in seeds[0]:
        medians = [statistics.median(seed[name]) for seed in seeds]
        ratios = [median / statistics.median(own) for median, own in zip(medians, ours, strict=True)]
        times = sorted(value for seed in seeds for value in seed[name])
        methods.append(
            {
                "name": name,
                "p50_ms": 1e3 * statistics.median(times),
                "p95_ms": 1e3 * times[min(len(times) - 1, int(0.95 * len(times)))],
                "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
            }
        )
    config, _ = network(settings.size)
    result: dict[str, Any] = {
        "benchmark": "chunk_latency",
        "size": settings.size,
        "device": settings.device,
        "dtype": settings.dtype,
        "seeds": settings.seeds,
        "repetitions": settings.repetitions,
        "threads": settings.threads,
        "methods": methods,
        "machine": describe_machine(),
        "versions": library_versions(),
    }
    if settings.bandwidth_gb_s > 0:
        result["floor_ms"] = 1e3 * weight_floor_s(config, settings)
    if settings.device.startswith("cuda"):
        result["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return result


def weight_floor_s(config: SpatialVLAConfig, settings: LatencySettings) -> float:
    """Seconds to read the language model's layers once for the prefill and once for each later token."""
    with torch.device("meta"):
        model = SpatialVLAModel(config)
    weights = sum(parameter.numel() for parameter in model.language_model.model.layers.parameters())
    bytes_read = weights * torch.finfo(getattr(torch, settings.dtype)).bits / 8
    return ACTIONS * TOKENS_PER_ACTION * bytes_read / (settings.bandwidth_gb_s * 1e9)


def _measure(settings: LatencySettings, seed: int) -> dict[str, list[float]]:
    config, grid = network(settings.size)
    dtype = getattr(torch, settings.dtype)
    if settings.size == "released":
        # Random weights of the released size are drawn where they are to be.
        with torch.device(settings.device):
            torch.set_default_dtype(dtype)
            model = SpatialVLAModel(config)
            torch.set_default_dtype(torch.float32)
    else:
        model = build_model(config, seed).to(settings.device, dtype)
    model.eval()
    slots = SpatialActionTokenizer(grid, config.action_token_begin_idx).slot_ranges()
    embeds, mask = _prompt(model, seed, settings)
    methods: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: decode_prompt(model, embeds, mask, slots, ACTIONS)[0],
        "library, cached": lambda: generate_with_library(model, embeds),
        "re-encoded": lambda: decode_by_encoding_again(model, embeds),
    }
    if settings.compile:
        compiled = CompiledSteps(model)
        methods[COMPILED] = lambda: decode_prompt(model, embeds, mask, slots, ACTIONS, compiled)[0]
    for method in methods.values():
        method()
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(settings.repetitions):
        for name, method in methods.items():
            _finish(settings.device)
            began = time.perf_counter()
            method()
            _finish(settings.device)
            times[name].append(time.perf_counter() - began)
    return times


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _prompt(model: SpatialVLAModel, seed: int, settings: LatencySettings) -> tuple[Tensor, Tensor]:
    """Prompt embeddings (1, L, D) of random image features and words, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    words = torch.randint(0, config.action_token_begin_idx, (1, PROMPT_WORDS), generator=generator)
    width = config.text_config["hidden_size"]
    image = torch.randn(1, config.image_tokens, width, generator=generator)
    with torch.inference_mode():
        text = model.embed_tokens(words.to(settings.device))
        embeds = torch.cat([image.to(text), text], 1)
    return embeds, torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)


@torch.inference_mode()
def generate_with_library(model: SpatialVLAModel, embeds: Tensor) -> Tensor:
    """Ids (1, 12) of transformers' greedy `generate` with its cache; its prompt is causal, which costs the same."""
    count = ACTIONS * TOKENS_PER_ACTION
    return model.language_model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        use_cache=True,
    )


@torch.inference_mode()
def decode_by_encoding_again(model: SpatialVLAModel, embeds: Tensor) -> Tensor:
    """Ids (1, 12) by a forward pass of the library's model over everything so far for each token."""
    ids = []
    for _ in range(ACTIONS * TOKENS_PER_ACTION):
        logits = model.language_model(inputs_embeds=embeds, use_cache=False, logits_to_keep=1).logits[:, -1]
        ids.append(logits.argmax(-1))
        embeds = torch.cat([embeds, model.language_model.model.embed_tokens(ids[-1][:, None])], 1)
    return torch.stack(ids, 1)


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    lines = [
        f"chunk of {ACTIONS} actions, {result['size']} network, {result['dtype']} on {result['device']}, "
        f"{result['seeds']} seeds of {result['repetitions']} chunks",
        f"{'method':<18}{'p50 ms':>10}{'p95 ms':>10}{'times ours':>12}{'(by seed)':>16}",
    ]
    for method in result["methods"]:
        ratio = method["ratio"]
        spread = f"{ratio['min']:.2f} to {ratio['max']:.2f}"
        lines.append(
            f"{method['name']:<18}{method['p50_ms']:>10.2f}{method['p95_ms']:>10.2f}"
            f"{ratio['median']:>12.2f}{spread:>16}"
        )
    if "floor_ms" in result:
        lines.append(f"floor by memory bandwidth: {result['floor_ms']:.2f} ms")
    if "gpu_memory_gb" in result:
        lines.append(f"peak GPU memory: {result['gpu_memory_gb']:.2f} GB")
    machine = result["machine"]
    lines.append(
        f"{machine['cpu']}, {machine['cores']} cores, {result['threads']} threads, {machine['accelerator'] or 'no GPU'}"
    )
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    return (
        "# Latency of a chunk\n\nSame weights, same process, in turns; the image features are given.\n\n"
        f"```\n{format_text(result)}\n```\n\nRun it again with `make bench-policies`.\n"
    )
