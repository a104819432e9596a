"""How fast networks of the released sizes answer, where the time of an answer goes, and how much of it they need.

The weights are random, which costs the same. An answer is divided into stages, one after the other. The floor of a
stage is the time in which the device reads what the stage must read, or does what it must multiply, whichever is
longer, at the rates that a copy and a product of large matrices reach on it in the same run. What an answer takes
beyond its floor is told by the profile: the operators that take longest and, on a GPU, how long no kernel runs.

`spatialvla` is SpatialVLA-4B (arXiv 2501.15830) for one picture: ZoeDepth unless there is a depth camera, the image
tower with Ego3D, the prompt with the first token, and the eleven tokens after it. `rdt_1b` and `rdt_170m` are RDT-1B
and its smaller sibling (arXiv 2410.07864) with SigLIP so400m-384: three new pictures, the keys and values of 4374 image
tokens, and the steps of the sampler. SpatialVLA's tokens after the first and RDT's steps are run as they are, compiled,
and replayed as a CUDA graph.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import SiglipVisionConfig

from policies.machine import describe_machine, library_versions
from policies.rdt.compiled_network import compiled
from policies.rdt.config import RDTConfig
from policies.rdt.image_tower import SiglipTower
from policies.rdt.network import Attended, Conditions, RDTModel
from policies.rdt.sampling import sample
from policies.rdt.solver import DPMSolverPP
from policies.spatialvla.action_grid import ActionGrid
from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION, SpatialActionTokenizer
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.decoding import decode_prompt
from policies.spatialvla.model import SpatialVLAModel
from policies.spatialvla.token_steps import CompiledSteps
from policies.spatialvla.zoe_depth import estimate_depth

Network = Literal["spatialvla", "rdt_1b", "rdt_170m"]
ACTIONS, PROMPT_WORDS = 4, 12
LANGUAGE_TOKENS, FREQUENCY_HZ, CAMERAS = 32, 25.0, 3
SO400M_384 = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
TINY_TOWER = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
AS_IT_IS = "as it is"
VARIANTS = {AS_IT_IS: None, "compiled": "default", "CUDA graph": "reduce-overhead"}
"""How a step of the sampler or of a token is run, and the mode of torch.compile; the last one is for GPUs alone."""
OPERATORS = 6  # that the profile tells
COPIED_BYTES = {"cpu": 2**27, "cuda": 2**31}
MULTIPLIED = {"cpu": 1024, "cuda": 8192}  # side of the matrices


@dataclass(frozen=True, slots=True)
class ReleasedSettings:
    """What is measured.

    Attributes:
        network: "spatialvla", "rdt_1b" or "rdt_170m".
        tiny: a tiny network in its place, to try the benchmark.
        device: torch device.
        dtype: number format of the weights; ZoeDepth keeps float32, as in the policy.
        depth_camera: leave ZoeDepth out.
        sampler_steps: of RDT.
        repetitions: answers of each seed, after three that are not counted.
        seeds: weights and inputs are drawn anew for each.
        compile: measure the other `VARIANTS` too.
        threads: of torch on the CPU.
    """

    network: Network = "spatialvla"
    tiny: bool = False
    device: str = "cuda"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    depth_camera: bool = False
    sampler_steps: int = 5
    repetitions: int = 30
    seeds: int = 3
    compile: bool = True
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("sampler_steps", "repetitions", "seeds", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")


@dataclass(frozen=True)
class Stage:
    """A part of an answer.

    Attributes:
        name: of the part.
        work: does it.
        read_bytes: of weights and stored keys and values that it must read.
        within: stage whose work is done in `work` too; its time and operations are taken off.
    """

    name: str
    work: Callable[[], Any]
    read_bytes: int
    within: str = ""


def bytes_of(*parts: nn.Module | Attended) -> int:
    """Bytes of the weights of modules and of kept keys and values."""
    tensors: list[Tensor] = []
    for part in parts:
        tensors += [t for pair in part.pairs for t in pair] if isinstance(part, Attended) else list(part.parameters())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _built(make: Callable[[], nn.Module], settings: ReleasedSettings) -> Any:
    """A network with random weights, drawn on the device in the number format."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, settings.dtype))
    try:
        with torch.device(settings.device):
            return make().eval()
    finally:
        torch.set_default_dtype(before)


def spatialvla_stages(settings: ReleasedSettings, variant: str = AS_IT_IS) -> list[Stage]:
    """The stages of an answer of SpatialVLA whose tokens after the first are run in one of `VARIANTS`."""
    grid = ActionGrid.uniform()
    config = SpatialVLAConfig.released()
    if settings.tiny:
        tiny = SpatialVLAConfig.tiny(point_frame="camera", state_dim=0)
        begin, count = tiny.action_token_begin_idx, sum(grid.slot_sizes)
        config = tiny.with_vocabulary(
            vocabulary=begin + count, image=tiny.image_token_index, state=4, action_begin=begin, actions=count
        )
    if settings.depth_camera:
        config = replace(config, use_vision_zoe=False, vision_zoe_config=None)
    model: SpatialVLAModel = _built(lambda: SpatialVLAModel(config), settings)
    layers = model.language_model.model.layers
    side = config.image_size
    pixels = torch.rand(1, 3, side, side, device=settings.device)
    intrinsics = torch.tensor([[side, 0, side / 2], [0, side, side / 2], [0, 0, 1]], device=settings.device)
    depth = 1.0 + torch.rand(1, side, side, device=settings.device)
    words = torch.randint(0, config.action_token_begin_idx, (1, PROMPT_WORDS), device=settings.device)
    with torch.inference_mode():
        text = model.embed_tokens(words)
        prompt = torch.cat([model.image_features(pixels, intrinsics, depth).to(text), text], 1)
    mask = torch.ones(prompt.shape[:2], dtype=torch.bool, device=settings.device)
    slots = SpatialActionTokenizer(grid, config.action_token_begin_idx).slot_ranges()
    tower = [model.vision_tower, model.multi_modal_projector, model.position_embedding_3d]
    tokens = ACTIONS * TOKENS_PER_ACTION
    mode = VARIANTS[variant]
    compiled = None if mode is None else CompiledSteps(model, mode)
    stages = [
        Stage("image tower", lambda: model.image_features(pixels, intrinsics, depth), bytes_of(*tower)),
        Stage(
            "prompt, first token", lambda: decode_prompt(model, prompt, mask, slots[:1], 1, compiled), bytes_of(layers)
        ),
        Stage(
            f"{tokens - 1} more tokens",
            lambda: decode_prompt(model, prompt, mask, slots, ACTIONS, compiled),
            (tokens - 1) * bytes_of(layers),
            within="prompt, first token",
        ),
    ]
    if config.use_vision_zoe:
        zoe = model.vision_zoe_model.float()
        stages.insert(0, Stage("ZoeDepth", lambda: estimate_depth(zoe, pixels), bytes_of(zoe)))
    return stages


def rdt_stages(settings: ReleasedSettings, variant: str = AS_IT_IS) -> list[Stage]:
    """The stages of an answer of RDT whose network is run in one of `VARIANTS`."""
    config = RDTConfig.rdt_1b() if settings.network == "rdt_1b" else RDTConfig.rdt_170m()
    if settings.tiny:
        config = RDTConfig.tiny()
    tower: SiglipTower = _built(
        lambda: SiglipTower(SiglipVisionConfig(**(TINY_TOWER if settings.tiny else SO400M_384))), settings
    )
    model: RDTModel = _built(lambda: RDTModel(config), settings)
    dtype = model.dtype
    place = {"device": settings.device, "dtype": dtype}
    pixels = torch.rand(CAMERAS, 3, tower.image_size, tower.image_size, **place)
    images = torch.randn(1, config.img_cond_len, config.img_token_dim, **place)
    language = torch.randn(1, LANGUAGE_TOKENS // (2 if settings.tiny else 1), config.lang_token_dim, **place)
    mask = torch.zeros(config.action_dim, device=settings.device)
    mask[:14] = 1
    state = torch.randn(1, config.action_dim, device=settings.device) * mask
    noise = torch.randn(1, config.pred_horizon, config.action_dim, device=settings.device)
    frequency = torch.tensor([FREQUENCY_HZ], device=settings.device)
    solver = DPMSolverPP(settings.sampler_steps, config.prediction_type, config.num_train_timesteps)
    with torch.no_grad():
        conditions = Conditions(model.encode_language(language), model.encode_images(images))
    mode = VARIANTS[variant]
    network: Any = model if mode is None else compiled(model, mode)
    adapted = bytes_of(model.img_adaptor, *(block.cross_attn.kv for block in model.model.blocks[1::2]))
    step = bytes_of(model.model.blocks, model.state_adaptor) - bytes_of(
        *(block.cross_attn.kv for block in model.model.blocks)
    )
    step += bytes_of(conditions.images, conditions.language)
    return [
        Stage(f"{CAMERAS} pictures", lambda: tower(pixels), bytes_of(tower)),
        Stage("keys and values", lambda: model.encode_images(images), adapted),
        Stage(
            f"{settings.sampler_steps} sampler steps",
            lambda: sample(network, conditions, state, mask, frequency, noise, solver),
            settings.sampler_steps * step,
        ),
    ]


@torch.no_grad()
def rates(settings: ReleasedSettings) -> dict[str, float]:
    """Bytes per second of a copy, read and written, and operations per second of a product, the best of five each."""
    kind = settings.device.partition(":")[0]
    source = torch.zeros(COPIED_BYTES[kind], dtype=torch.uint8, device=settings.device)
    target = torch.empty_like(source)
    side = 64 if settings.tiny else MULTIPLIED[kind]
    left, right = (torch.randn(side, side, device=settings.device).to(getattr(torch, settings.dtype)) for _ in range(2))
    copies = [_seconds(lambda: target.copy_(source), settings) for _ in range(5)]
    products = [_seconds(lambda: left @ right, settings) for _ in range(5)]
    return {"bytes": 2 * len(source) / min(copies), "operations": 2 * side**3 / min(products)}


@torch.no_grad()
def measure(stages: Sequence[Stage], settings: ReleasedSettings) -> dict[str, Any]:
    """Seconds of each repetition, operations and bytes by stage, and peak memory of the device in bytes."""
    on_gpu = settings.device.startswith("cuda")
    operations = {stage.name: _operations(stage.work) for stage in stages}
    for _ in range(3):
        for stage in stages:
            stage.work()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds: dict[str, list[float]] = {stage.name: [] for stage in stages}
    for _ in range(settings.repetitions):
        for stage in stages:
            seconds[stage.name].append(_seconds(stage.work, settings))
    for stage in stages:
        if stage.within:
            operations[stage.name] -= operations[stage.within]
            pairs = zip(seconds[stage.name], seconds[stage.within], strict=True)
            seconds[stage.name] = [whole - part for whole, part in pairs]
    return {
        "seconds": seconds,
        "operations": operations,
        "bytes": {stage.name: stage.read_bytes for stage in stages},
        "memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
    }


@torch.no_grad()
def profiled(stages: Sequence[Stage], settings: ReleasedSettings) -> dict[str, Any]:
    """Share of an answer's time by operator, the largest first, and, on a GPU, the share in which no kernel ran."""
    on_gpu = settings.device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    once = [stage for stage in stages if stage.name not in {other.within for other in stages}]
    wall = sum(_seconds(stage.work, settings) for stage in once)
    with profile(activities=activities) as found:
        for stage in once:
            stage.work()
        _finish(settings)
    # On a GPU the kernels alone: the operators that started them are given their time once more.
    where = DeviceType.CUDA if on_gpu else DeviceType.CPU
    spent = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in found.key_averages()
        if event.device_type == where
    }
    total = sum(spent.values())
    largest = sorted(spent.items(), key=lambda item: -item[1])[:OPERATORS]
    return {
        "operators": {name: value / total for name, value in largest},
        "no_kernel": max(0.0, 1 - total / 1e6 / wall) if on_gpu else None,
    }


def run(settings: ReleasedSettings) -> dict[str, Any]:
    """Measure every variant with every seed.

    Raises:
        ValueError: no such device.
    """
    kind = settings.device.partition(":")[0]
    if kind not in COPIED_BYTES:
        raise ValueError(f"released.device: expected one of {', '.join(COPIED_BYTES)}, found {settings.device}")
    on_gpu = kind == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise ValueError(f"released.device: expected one that is there, found {settings.device} and no GPU")
    torch.set_num_threads(settings.threads)
    variants = [AS_IT_IS]
    if settings.compile:
        variants = [name for name in VARIANTS if on_gpu or name != "CUDA graph"]
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    profiles: dict[str, dict[str, Any]] = {}
    for seed, variant in tqdm([(s, v) for s in range(settings.seeds) for v in variants], "released_speed", unit="run"):
        torch.manual_seed(seed)
        stages = (spatialvla_stages if settings.network == "spatialvla" else rdt_stages)(settings, variant)
        measured[variant].append(measure(stages, settings))
        profiles.setdefault(variant, profiled(stages, settings))
        del stages
        torch.compiler.reset()
        if on_gpu:
            torch.cuda.empty_cache()
    return {
        "settings": asdict(settings),
        "rates": rates(settings),
        "measured": measured,
        "profiles": profiles,
        "machine": describe_machine(),
        "libraries": library_versions(),
    }


def _finish(settings: ReleasedSettings) -> None:
    if settings.device.startswith("cuda"):
        torch.cuda.synchronize()


def _seconds(work: Callable[[], Any], settings: ReleasedSettings) -> float:
    _finish(settings)
    began = time.perf_counter()
    work()
    _finish(settings)
    return time.perf_counter() - began


def _operations(work: Callable[[], Any]) -> int:
    # The counter sees no operators within what is compiled, and nothing is compiled while it counts.
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def floors(one: Mapping[str, Any], rates: Mapping[str, float]) -> dict[str, float]:
    """Least seconds of each stage."""
    return {
        name: max(one["bytes"][name] / rates["bytes"], one["operations"][name] / rates["operations"])
        for name in one["bytes"]
    }


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine, found = result["settings"], result["machine"], result["rates"]
    lines = [
        f"{'tiny ' if settings['tiny'] else ''}{settings['network']}, {settings['dtype']} on {settings['device']}, "
        f"batch 1, {settings['seeds']} seeds of {settings['repetitions']} answers",
        f"the device copies {found['bytes'] / 1e9:.0f} GB/s and multiplies {found['operations'] / 1e9:.0f} GFLOP/s",
    ]
    for variant, seeds in result["measured"].items():
        least = floors(seeds[0], found)
        lines.append(f"{variant + ', ms':<24}{'p50':>9}{'p95':>9}{'floor':>9}{'times':>8}{'GB read':>9}{'GFLOP':>9}")
        answers = [sum(parts) for one in seeds for parts in zip(*one["seconds"].values(), strict=True)]
        rows = {name: [value for one in seeds for value in one["seconds"][name]] for name in least}
        for name, values in {**rows, "answer": answers}.items():
            floor = sum(least.values()) if name == "answer" else least[name]
            read, work = (
                sum(seeds[0][kind].values()) if name == "answer" else seeds[0][kind][name]
                for kind in ("bytes", "operations")
            )
            middle = statistics.median(values)
            high = sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]
            lines.append(
                f"  {name:<22}{1e3 * middle:>9.2f}{1e3 * high:>9.2f}{1e3 * floor:>9.2f}{middle / floor:>8.1f}"
                f"{read / 1e9:>9.2f}{work / 1e9:>9.1f}"
            )
        told = f"  {1 / statistics.median(answers):.2f} chunks/s"
        if (memory := max(one["memory_bytes"] or 0 for one in seeds)) > 0:
            told += f", at most {memory / 1e9:.2f} GB of GPU memory"
        shown = result["profiles"][variant]
        if shown["no_kernel"] is not None:
            told += f", no kernel runs for {100 * shown['no_kernel']:.0f} % of the time"
        lines.append(told)
        lines.append(
            "  longest: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in shown["operators"].items())
        )
    accelerator = machine["accelerator"] or "no GPU"
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {settings['threads']} threads, {accelerator}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    settings = result["settings"]
    changed = " ".join(
        f"--released.{name.replace('_', '-')} {settings[name]}"
        for name in ("network", "device", "dtype", "seeds", "repetitions")
    )
    changed += "".join(f" --released.{name.replace('_', '-')}" for name in ("tiny", "depth_camera") if settings[name])
    changed += "" if settings["compile"] else " --released.no-compile"
    return (
        "# Speed of networks of the released sizes\n\nRandom weights; the floor is the time to read or to multiply "
        f"what must be, at rates measured in the same run.\n\n```\n{format_text(result)}\n```\n\n"
        f"Run it again with `python -m policies.bench released_speed {changed} --write`.\n"
    )
