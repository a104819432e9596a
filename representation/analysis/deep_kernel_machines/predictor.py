"""`Predictor`: a deep kernel machine with the units of the data that it was fitted to; what is kept in a directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from representation.analysis.deep_kernel_machines.full import DeepKernelMachine
from representation.analysis.deep_kernel_machines.sparse import SparseDKM
from representation.checkpoint import load_weights, read_config, save_encoder

SYSTEM = "deep_kernel_machines"
Machine = DeepKernelMachine | SparseDKM


class Predictor(nn.Module):
    """A machine of standardised inputs and targets.

    Args:
        machine: that was fitted to them.
        inputs: mean and scale (d,) of the inputs.
        outputs: likewise (C,) of the targets; zeros and ones for classes.
        names: of the inputs and, last, of the target.
    """

    def __init__(
        self,
        machine: Machine,
        inputs: tuple[Tensor, Tensor],
        outputs: tuple[Tensor, Tensor],
        names: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.machine, self.names = machine, names
        for name, (mean, scale) in (("input", inputs), ("output", outputs)):
            self.register_buffer(f"{name}_mean", mean.double())
            self.register_buffer(f"{name}_scale", scale.double())
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.output_mean: Tensor
        self.output_scale: Tensor

    def predict(self, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance (B, C), noise included, of targets in their own units at inputs (B, d).

        Of classes: probabilities p, and p (1 - p).

        Raises:
            ValueError: inputs of another width, or not finite.
        """
        points = torch.as_tensor(np.asarray(x, np.float64))
        if points.ndim != 2 or points.shape[1] != len(self.input_mean):
            raise ValueError(f"x: expected (B, {len(self.input_mean)}), found {tuple(points.shape)}")
        mean, variance = self.machine.predict((points - self.input_mean) / self.input_scale)
        return (mean * self.output_scale + self.output_mean).numpy(), (variance * self.output_scale.square()).numpy()

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        config = {
            "machine": "full" if isinstance(self.machine, DeepKernelMachine) else "sparse",
            "settings": self.machine.settings(),
            "widths": [len(self.input_mean), len(self.output_mean)],
            "names": list(self.names),
        }
        save_encoder(self, SYSTEM, config, directory)


def load(directory: Path) -> Predictor:
    """Read a predictor that was saved.

    Raises:
        ValueError: damaged; names the file.
    """
    config = read_config(directory)["config"]
    try:
        kind: type[Machine] = {"full": DeepKernelMachine, "sparse": SparseDKM}[config["machine"]]
        machine = kind.from_settings(config["settings"])
        inputs, outputs = ((torch.zeros(width), torch.ones(width)) for width in config["widths"])
        model = Predictor(machine, inputs, outputs, tuple(config["names"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the settings of a deep kernel machine: {error!r}") from error
    load_weights(model, directory)
    return model.eval()
