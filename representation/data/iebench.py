"""`read_views`: the published folders of 3DIEBench, or any of their layout: CLASS/OBJECT/image_I.jpg and latent_I.npy.

Seven numbers tell of each view how it was drawn: angles of the object, extrinsic about x, y and z, rad; hue of the
floor; polar angle and azimuth of the lamp, rad; its hue. Source: Garrido et al., ICML 2023 (arXiv 2302.10283).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from representation.data.array_files import read_array
from representation.data.untrusted_files import resolve_inside

LATENTS, MAX_LATENT_BYTES = 7, 4096
_PATTERN = "*/*/latent_*.npy"


@dataclass(frozen=True)
class View:
    """A view of an object.

    Attributes:
        picture: its file.
        kind: name of the object's class.
        thing: name of the object within its class.
        latents: (7,) how it was drawn.
    """

    picture: Path
    kind: str
    thing: str
    latents: NDArray[np.float64]


def has_views(path: Path) -> bool:
    """Whether a directory holds views in this layout."""
    return any(path.glob(_PATTERN))


def read_views(path: Path) -> list[View]:
    """The views below a directory, by class, object and number.

    Raises:
        ValueError: a view without picture or number, or other latents than seven finite numbers; names the file.
    """
    files = []
    for file in path.glob(_PATTERN):
        digits = file.stem.removeprefix("latent_")
        if not digits.isdecimal():
            raise ValueError(f"{file}: expected latent_NUMBER.npy")
        files.append((file.parent.parent.name, file.parent.name, int(digits), file))
    views = []
    for kind, thing, number, file in sorted(files):
        latents = read_array(resolve_inside(path, f"{kind}/{thing}/{file.name}"), MAX_LATENT_BYTES)
        is_number = np.issubdtype(latents.dtype, np.number) and not np.iscomplexobj(latents)
        if latents.size != LATENTS or not is_number or not np.isfinite(latents).all():
            found = f"{latents.dtype} {latents.shape}"
            raise ValueError(f"{file}: expected {LATENTS} finite numbers, found {found}")
        picture = resolve_inside(path, f"{kind}/{thing}/image_{number}.jpg")
        views.append(View(picture, kind, thing, latents.astype(np.float64).reshape(LATENTS)))
    return views
