"""Make a bag of one whose recorder was killed, with index and metadata: `python -m representation.data.recover_bag`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from representation.data.bag_messages import check_type
from representation.data.bag_reader import BagReader
from representation.data.bag_writer import BagTopic, BagWriter, Compression


@dataclass(frozen=True, slots=True)
class Arguments:
    """Write the messages of a bag into a new one that every tool reads.

    Attributes:
        source: directory of a bag, or one MCAP file, whole or cut off.
        target: directory of the new bag.
        compression: of the new bag.
    """

    source: Annotated[Path, tyro.conf.Positional]
    target: Annotated[Path, tyro.conf.Positional]
    compression: Compression = "lz4"


def recover(source: Path, target: Path, compression: Compression = "lz4", progress: bool = False) -> tuple[int, str]:
    """Write the messages of a bag, cut off or not, into a new one with index and metadata.

    Topics of types that are not standard are left out.

    Returns:
        Number of messages, and what was wrong with the source; empty if nothing was.

    Raises:
        ValueError: the source is no bag, or the target exists.
    """
    reader, writer = BagReader(source), BagWriter(target, compression)
    left_out: set[str] = set()
    known: set[str] = set()
    count = 0
    try:
        for message in tqdm(reader.messages(), unit="message", disable=not progress):
            if message.topic not in known | left_out:
                try:
                    check_type(message.type)
                except ValueError:
                    left_out.add(message.topic)
                    continue
                writer.add_topic(BagTopic(message.topic, message.type))
                known.add(message.topic)
            if message.topic in known:
                writer.write(message.topic, message.data, message.log_ns, message.publish_ns, message.sequence)
                count += 1
    finally:
        writer.close()
    problems = [reader.cut] if reader.cut else []
    problems += [f"left out topics of types that are not standard: {', '.join(sorted(left_out))}"] if left_out else []
    return count, "; ".join(problems)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m representation.data.recover_bag")
    try:
        count, problem = recover(arguments.source, arguments.target, arguments.compression, progress=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.target}: {count} messages" + (f"; {problem}" if problem else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
