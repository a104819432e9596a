"""ROS 2 nodes: thin wiring around the classes of `policies`, `sim` and `representation`.

`bringup.py` starts the graph without a ROS install; `launch/sim_eval.launch.py` starts the same graph with it.
"""
