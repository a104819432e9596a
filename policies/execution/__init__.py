"""From an action chunk to a motion that an arm may make.

In the order of the data: `observation_sync.py` joins inputs by stamp and `camera_pose.py` says where a camera is;
`kinematics.py` turns Cartesian chunks into joint chunks, `chunk_scheduler.py` splices chunks into one `JointTrajectory`
(`trajectory.py`), and `policy_runner.py` ties these to a policy. `safety_filter.py` checks every trajectory against the
robot's limits, and `arm_gateway.py` holds the arm on any doubt.

`sensor_messages.py` and `joint_states.py` say what messages hold, live or from a bag, `observation_inputs.py` makes
observations of them, and `cadence.py` chooses those that are used; `controller_trajectories.py` joins what the
controllers of several arms get. In the place of a policy stand a person (`teleoperation.py`, by `joystick.py` or
`keyboard_joystick.py`) or a recording (`episode_replay.py`).

Everything takes time as an argument; the ROS nodes and the in-process evaluation run the same objects.
"""
