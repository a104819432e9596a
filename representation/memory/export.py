"""A memory as parquet files, for other programs: `frames.parquet` and `episodes.parquet` with all their columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from representation.memory.episode_memory import EpisodeMemory
from representation.memory.schema import TABLES


def export(memory: EpisodeMemory, output: Path, progress: bool = False) -> dict[str, int]:
    """Write both tables; each file appears whole or not at all.

    Args:
        memory: what is written.
        output: directory, made if it is not there.
        progress: show a progress bar.

    Returns:
        Number of rows by name of the table.
    """
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name in TABLES:
        path = output / f"{name}.parquet"
        part, counts[name] = path.with_name(path.name + ".part"), 0
        with (
            pq.ParquetWriter(part, memory.schema(name), compression="zstd") as writer,
            tqdm(desc=name, total=memory.count(name), unit="row", disable=not progress) as bar,
        ):
            for batch in memory.batches(name):
                writer.write_batch(batch)
                counts[name] += len(batch)
                bar.update(len(batch))
        part.replace(path)
    return counts
