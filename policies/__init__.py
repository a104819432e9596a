"""Policies and what stands between a policy and an arm.

Begin with `interface.py`: `Observation` in, `ActionChunk` out, `load_policy` to get a policy.

- `rdt/`: the network of RDT, a diffusion policy for two arms; its sampler and weights.
- `spatialvla/`: the SpatialVLA policy; `train.py`: the training command; `checkpoints/`: what is shipped.
- `execution/`: kinematics, chunk scheduling, safety filter, gateway: from a chunk to what an arm may safely do.
- `robots/`: joints, limits, frames and models of the robots.
"""
