"""Makes the environments known to gymnasium without importing MuJoCo."""

from __future__ import annotations

import gymnasium

ENVIRONMENTS: dict[str, str] = {
    "polyarm/Reach-v0": "reach",
    "polyarm/Push-v0": "push",
    "polyarm/Pick-v0": "pick",
    "polyarm/Place-v0": "place",
    "polyarm/Stack-v0": "stack",
    "polyarm/Drawer-v0": "drawer",
    "polyarm/TransferCube-v0": "transfer_cube",
    "polyarm/Sort-v0": "sort",
    "polyarm/LiftTray-v0": "lift_tray",
    "polyarm/Insertion-v0": "insertion",
}
"""Task by environment id."""


def register_envs() -> None:
    """Register every environment that gymnasium does not know yet.

    Importing `sim.env` calls this, so `gymnasium.make("sim.env:polyarm/Pick-v0")` works in any process.
    """
    for name, task in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point="sim.env:TabletopEnv", kwargs={"task": task})
