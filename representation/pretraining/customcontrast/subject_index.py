"""`SubjectIndex`: objects that were seen, to be known again from another side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from representation.data.atomic_files import write_json
from representation.data.untrusted_files import read_json
from representation.pretraining.customcontrast.mfi import SubjectCodes

VECTORS_FILE, NAMES_FILE = "subjects.safetensors", "subjects.json"


@dataclass(frozen=True, slots=True)
class Match:
    """A stored subject.

    Attributes:
        id: under which it was added.
        similarity: mean cosine over the CLS and the scales, of its most similar view.
    """

    id: str
    similarity: float


class SubjectIndex:
    """All views of all subjects, as vectors with a part for the CLS and for each scale.

    Args:
        scales: of the codes.
        encoder: key of the encoder that they are of (`checkpoint.encoder_key`); empty if that is not told.
    """

    def __init__(self, scales: int = 4, encoder: str = "") -> None:
        if scales < 1:
            raise ValueError(f"scales: expected at least 1, found {scales}")
        self.scales, self.encoder = scales, encoder
        self._ids: list[str] = []
        self._parts: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """The subjects, each once, in the order in which they came."""
        return tuple(dict.fromkeys(self._ids))

    def add(self, codes: SubjectCodes, id: str | Sequence[str]) -> None:
        """Store views.

        Args:
            codes: of B pictures.
            id: of the subject, or of the subject of each picture.

        Raises:
            ValueError: another width than what is stored, other counts, or numbers that are not finite.
        """
        vectors = self._vectors(codes)
        names = [id] * len(vectors) if isinstance(id, str) else list(map(str, id))
        if len(names) != len(vectors):
            raise ValueError(f"id: expected {len(vectors)}, one for each picture, found {len(names)}")
        self._ids += names
        self._parts.append(vectors)

    def query(self, codes: SubjectCodes, k: int = 1) -> list[list[Match]]:
        """The k subjects most like each of B pictures, the most similar first; fewer where fewer are stored.

        Raises:
            ValueError: nothing is stored, another width, or k below 1.
        """
        if k < 1:
            raise ValueError(f"k: expected at least 1, found {k}")
        if not self._ids:
            raise ValueError("subjects: expected some, found none stored")
        vectors, names = self._vectors(codes), self.ids
        self._parts = [torch.cat(self._parts)]
        similar = vectors @ self._parts[0].T / (1 + self.scales)
        place = {name: number for number, name in enumerate(names)}
        owners = torch.tensor([place[name] for name in self._ids]).expand(len(vectors), -1)
        best = similar.new_full((len(vectors), len(names)), -torch.inf).scatter_reduce(1, owners, similar, "amax")
        values, order = best.topk(min(k, len(names)), dim=1)
        return [
            [Match(names[n], value) for n, value in zip(row, own, strict=True)]
            for row, own in zip(order.tolist(), values.tolist(), strict=True)
        ]

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        if not self._ids:
            raise ValueError("subjects: expected some, found none stored")
        directory.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": torch.cat(self._parts)}, directory / VECTORS_FILE)
        write_json(directory / NAMES_FILE, {"scales": self.scales, "encoder": self.encoder, "ids": self._ids})

    @classmethod
    def load(cls, directory: Path) -> SubjectIndex:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is none.
            ValueError: damaged; names the file.
        """
        if not (directory / NAMES_FILE).is_file():
            raise FileNotFoundError(f"{directory}: expected stored subjects, found no {NAMES_FILE}")
        content = read_json(directory, NAMES_FILE)
        try:
            index = cls(int(content["scales"]), str(content["encoder"]))
            vectors, ids = load_file(directory / VECTORS_FILE)["vectors"], list(map(str, content["ids"]))
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ValueError(f"{directory}: expected stored subjects: {error}") from error
        if vectors.ndim != 2 or len(vectors) != len(ids) or vectors.shape[1] % (1 + index.scales):
            raise ValueError(f"{directory / VECTORS_FILE}: expected {len(ids)} vectors, found {tuple(vectors.shape)}")
        index._ids, index._parts = ids, [vectors]
        return index

    def _vectors(self, codes: SubjectCodes) -> Tensor:
        vectors = codes.vectors(self.scales).detach().float().cpu()
        if not torch.isfinite(vectors).all():
            raise ValueError("codes: expected finite numbers, found others")
        if self._parts and vectors.shape[1] != self._parts[0].shape[1]:
            raise ValueError(f"codes: expected vectors of {self._parts[0].shape[1]}, found {vectors.shape[1]}")
        return vectors
