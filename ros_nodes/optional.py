"""What the nodes use where it is installed and do without elsewhere: the one place of guarded imports."""

from __future__ import annotations

try:  # There are no wheels of it. Without it, camera mounts come from `camera/<name>/extrinsics` only.
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None

try:  # There are no wheels of it either. Without it, `gripper_action_node` does not start.
    from control_msgs.action import GripperCommand
except ImportError:
    GripperCommand = None
