"""Are Gaunt tensor products fast, and are features of high degree worth having?

Speed: products of features of degrees up to L, 256 of them, beside a loop over all paths; `growth` also beside e3nn's
full tensor product of the same paths. Worth: the second moments (trace and traceless part) and the third (its part of
degree 3) of eight points are told by a network of messages, from 256 clouds, and tested on turned ones; beside a
plain network on coordinates of as many weights, and the same messages with features of degrees up to 1 and a linear map
of what they tell, trained alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.timing import Growth, exponent, least_seconds
from representation.equivariant.cloud_targets import random_turns
from representation.equivariant.gaunt_tensor_product import GauntPointNet, gaunt_coefficients, gaunt_tensor_product
from representation.equivariant.gaunt_tensor_product.product import path_strength
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import number_of, real_spherical_harmonics

PRODUCTS, POINTS, CLOUDS, TESTS = 256, 8, 256, 256
STEPS, BATCH, RATE = 80, 64, 3e-3
SLOPE_DEGREES = (4, 6, 8, 10)
MOMENTS = (0, 2, 3)  # degrees of what is told


def run(options: BenchOptions) -> list[Claim]:
    """Times and exponents with their signs changed, and errors of moments beside a fifth of the plain network's."""
    loops, ffts, slopes = [], [], []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        loops.append(least_seconds(path_loop(4, *_factors(4))))
        times = {degree: least_seconds(_product(degree, "fft")) for degree in SLOPE_DEGREES}
        ffts.append(times[4])
        slopes.append(-exponent(SLOPE_DEGREES, list(times.values())))
    found = [moment_errors(seed, options.steps(STEPS)) for seed in range(options.seeds)]
    ours, plain = (tuple(-one[name] for one in found) for name in ("ours", "plain"))
    higher, low = (tuple(one[f"{name}, explained"] for one in found) for name in ("ours", "low"))
    speed = tuple(loop / fft for loop, fft in zip(loops, ffts, strict=True))
    what, each = f"moments of {POINTS} points, turned clouds", (-0.1,) * options.seeds
    return [
        Claim("times as fast as a loop over paths, L = 4", "3", speed, (3.0,) * options.seeds),
        Claim("minus the exponent of time by L, L = 4 to 10", "-4.5", tuple(slopes), (-4.5,) * options.seeds),
        Claim(f"minus squared error, {what}", "a fifth of a plain network's", ours, tuple(one / 5 for one in plain)),
        Claim(f"R squared of degrees 2 and 3, {what}", "trained features of degrees up to 1", higher, low, 0.8),
        Claim(f"the same by features of degrees up to 1, negated, {what}", "-0.1", tuple(-one for one in low), each),
    ]


def growth() -> Growth:
    """Milliseconds for L = 1 to 10."""
    from e3nn import o3

    degrees = range(1, 11)
    seconds: dict[str, list[float]] = {"Gaunt, FFT": [], "Gaunt, grid": [], "e3nn": []}
    for degree in degrees:
        torch.manual_seed(degree)
        one, other = _factors(degree)
        for name, method in (("Gaunt, FFT", "fft"), ("Gaunt, grid", "grid")):
            seconds[name].append(least_seconds(_product(degree, method)))
        irreps = o3.Irreps([(1, (each, (-1) ** each)) for each in range(degree + 1)])
        full = o3.FullTensorProduct(irreps, irreps, filter_ir_out=[irrep for _, irrep in irreps])
        seconds["e3nn"].append(least_seconds(lambda full=full, one=one, other=other: full(one, other)))
    return Growth(
        f"Products of {PRODUCTS} pairs of features of degrees 0 to L",
        "python -m representation.benchmarks.growth gaunt_tensor_product",
        "L",
        list(degrees),
        seconds,
        fitted_from=4,
    )


def _factors(degree: int) -> tuple[Tensor, Tensor]:
    return torch.randn(PRODUCTS, number_of(degree)), torch.randn(PRODUCTS, number_of(degree))


def _product(degree: int, method: str) -> Callable[[], Tensor]:
    one, other = _factors(degree)
    return lambda: gaunt_tensor_product(one, other, degree, method)


def path_loop(degree: int, one: Tensor, other: Tensor) -> Callable[[], Tensor]:
    """The same product as a sum over paths."""
    blocks = [slice(each**2, number_of(each)) for each in range(degree + 1)]
    paths = [
        (a, b, c, gaunt_coefficients(a, b, c).float())
        for a in range(degree + 1)
        for b in range(degree + 1)
        for c in range(degree + 1)
        if path_strength(a, b, c)
    ]

    def product() -> Tensor:
        found = torch.zeros(len(one), number_of(degree))
        for a, b, c, coefficients in paths:
            found[:, blocks[c]] += torch.einsum("za,zb,abc->zc", one[:, blocks[a]], other[:, blocks[b]], coefficients)
        return found

    return product


def moment_clouds(count: int, generator: torch.Generator) -> Tensor:
    """Clouds (B, 8, 3) of random extents."""
    extents = 0.1 + 0.7 * torch.rand(count, 1, 3, generator=generator)
    return extents * torch.randn(count, POINTS, 3, generator=generator)


def moment_errors(seed: int, steps: int) -> dict[str, float]:
    """Squared error of each network on turned clouds, and how much of degrees 2 and 3 it explains."""
    generator = torch.Generator().manual_seed(seed)
    points, fresh = moment_clouds(CLOUDS, generator), moment_clouds(TESTS, generator)
    turned = torch.einsum("bij,bpj->bpi", random_turns(TESTS, generator), fresh)
    moments, wanted = moments_of(points), moments_of(turned)
    torch.manual_seed(seed)
    ours = MomentNetwork()
    weights = sum(parameter.numel() for parameter in ours.parameters())
    networks = {"ours": ours, "plain": plain_network(weights), "low": LowNetwork()}
    found = {}
    for name, model in networks.items():
        _train(model, points, moments, steps, seed)
        with torch.inference_mode():
            told = model(turned)
        found[name] = float((told - wanted).square().mean())
        found[f"{name}, explained"] = explained(told[:, 1:], wanted[:, 1:])
    return found


def moments_of(points: Tensor) -> Tensor:
    """Moments (B, 13) of clouds (B, 8, 3): degrees 0, 2 and 3."""
    centred = points - points.mean(dim=1, keepdim=True)
    values, length = real_spherical_harmonics(3, centred), centred.norm(dim=2, keepdim=True)
    parts = [(length ** max(degree, 2) * values[..., degree**2 : number_of(degree)]).mean(dim=1) for degree in MOMENTS]
    return torch.cat(parts, dim=1)


def explained(told: Tensor, wanted: Tensor) -> float:
    """R squared."""
    return 1 - float((told - wanted).square().sum() / (wanted - wanted.mean(dim=0)).square().sum())


class MomentNetwork(nn.Module):
    """Moments (B, 13) of clouds (B, 8, 3) by messages."""

    def __init__(self) -> None:
        super().__init__()
        self.network = GauntPointNet(l_max=3, channels=8, layers=3, out_l=MOMENTS, out_channels=1)

    def forward(self, points: Tensor) -> Tensor:
        """The moments."""
        return torch.cat([values[:, 0] for values in self.network(points).values()], dim=1)


class LowNetwork(nn.Module):
    """Moments (B, 13) of clouds (B, 8, 3) by messages of degrees up to 1, and a linear map of what they tell."""

    def __init__(self) -> None:
        super().__init__()
        self.network = GauntPointNet(l_max=1, channels=8, layers=3, out_l=(0, 1), out_channels=8)
        self.head = nn.Linear(8 * number_of(1), 13)

    def forward(self, points: Tensor) -> Tensor:
        """The moments."""
        return self.head(torch.cat([values.flatten(1) for values in self.network(points).values()], dim=1))


def plain_network(weights: int) -> nn.Sequential:
    """Moments by a network on centred coordinates of about so many weights."""
    width = round((weights / 2) ** 0.5)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(3 * POINTS, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, 13),
    )


def _train(model: nn.Module, points: Tensor, moments: Tensor, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    for _ in range(steps):
        rows = torch.randint(len(points), (BATCH,), generator=generator)
        optimizer.zero_grad()
        (model(points[rows]) - moments[rows]).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
