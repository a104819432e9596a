"""MADELEINE: a bag of tokens is summed up by attention into a vector that foretells what other sensors saw of it.

One network sums up the tokens of a sample, whichever sensor saw it. Pretraining pulls the vectors of the reference, the
colour camera, and of each other sensor of the same sample together, and their tokens by transport; what a sample lacks
is left out. Afterwards the reference alone is needed: depth and segmentation, which a simulator gives for nothing, have
done their part.

Source: Multistain Pretraining for Slide Representation Learning in Pathology, Jaume, Vaidya et al., ECCV 2024
(arXiv 2408.02859). `BagEncoder` takes tokens (B, N, d) and gives vectors (B, h), token vectors (B, N, token_dim) and
attention (B, N, K); `MadeleineEncoder` takes pictures (B, 3, H, W) in [0, 1] and gives vectors (B, width).

What is decided here where the paper and its code are silent, or differ on purpose: the attention's layers are as wide
as the vector; plans of transport count as constants in the gradient; tokens for the transport are drawn of each bag and
side by itself; codes of modalities belong to the bags that they are given for, and the reference keeps its own when it
is queried alone; samples without the reference do not count. For pictures, a token is a patch's pixels or a frozen
encoder's features, with a one-hot code of its place; a sensor is a picture of its own, and its tokens are brought to
one scale, or what a sensor's pictures share outweighs what tells them apart. The released script's temperature of 0.001
and local weight of 1 are the defaults of `LossConfig`, those of `Config` suit small batches.

- `bag_encoder.py`: the network, and released weights. `optimal_transport.py`, `objective.py`: the losses.
- `pretrainer.py`, `bags.py`, `pretrain_bags.py`: training on stored features of slides, and the command.
- `encoder.py`, `sensors.py`: pictures of robots' scenes, for `representation.pretrain`. `retrieve.py`: from one sensor
  to another, a command. `few_shot.py`: the probe and the smooth rank, a command for any encoder.
"""

from representation.pretraining.madeleine.bag_encoder import BagEncoder, BagOutput, from_released, load_released
from representation.pretraining.madeleine.bags import MemoryBags, StoredBags
from representation.pretraining.madeleine.encoder import Config, MadeleineEncoder, MadeleineObjective, load, new
from representation.pretraining.madeleine.few_shot import FewShotScores, few_shot_probe, smooth_rank
from representation.pretraining.madeleine.objective import LossConfig, multi_modal_loss, symmetric_info_nce
from representation.pretraining.madeleine.optimal_transport import graph_optimal_transport, ipot
from representation.pretraining.madeleine.pretrainer import MultiModalPretrainer, PretrainerConfig
from representation.pretraining.madeleine.sensors import sensor_pictures

__all__ = [
    "BagEncoder",
    "BagOutput",
    "Config",
    "FewShotScores",
    "LossConfig",
    "MadeleineEncoder",
    "MadeleineObjective",
    "MemoryBags",
    "MultiModalPretrainer",
    "PretrainerConfig",
    "StoredBags",
    "few_shot_probe",
    "from_released",
    "graph_optimal_transport",
    "ipot",
    "load",
    "load_released",
    "multi_modal_loss",
    "new",
    "sensor_pictures",
    "smooth_rank",
    "symmetric_info_nce",
]
