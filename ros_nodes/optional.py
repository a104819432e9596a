"""What the nodes use where it is installed and do without elsewhere: the one place of guarded imports."""

from __future__ import annotations

try:  # There are no wheels of it. Without it, camera mounts come from `camera/<name>/extrinsics` only.
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None
