"""The DDS transport: every process of the graph calls `use_shared_memory_profile` before `rclpy.init`."""

from __future__ import annotations

import os
from pathlib import Path

from ros_nodes.resources import config_file

PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
SHARED_MEMORY = Path("/dev/shm")


def use_shared_memory_profile() -> str:
    """Select the shipped shared-memory profile for this process and its children, unless the user selected one.

    Returns:
        One line for the log that says which transport is in use and why.
    """
    implementation = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if "fastrtps" not in implementation:
        return f"DDS profile not used: it is for Fast DDS and RMW_IMPLEMENTATION is {implementation}"
    if not os.access(SHARED_MEMORY, os.W_OK):
        return f"DDS profile not used: {SHARED_MEMORY} is not writable; expect camera frames to be lost"
    chosen = os.environ.get(PROFILE_VARIABLE)
    if chosen is None:
        chosen = os.environ[PROFILE_VARIABLE] = str(config_file("fastdds_shm.xml"))
    elif chosen == "":
        return f"DDS profile switched off by an empty {PROFILE_VARIABLE}: default transports"
    return f"DDS profile in use: {chosen}"
