r"""Binary latent diffusion: pictures as a grid of bits, and a diffusion of bits that draws, completes and scores them.

An autoencoder whose bottleneck is c bits at each of h x w places, which needs no codebook; and over its frozen bits a
chain that turns them into coin flips, and a small transformer that turns these back in a few steps.

Source: Binary Latent Diffusion, Wang, Wang, Liu and Qiu, CVPR 2023 (arXiv 2304.04820). Takes pictures (B, 3, H, W) in
[0, 1]; gives bits (B, c, h, w), eight of them a byte when packed, pictures of bits, and of the prior new bits, missing
ones, and a lower bound of their log-probability. `encode` of the encoder gives 2 p - 1 (B, c h w), whose signs are the
bits. Train it in two runs:

    python -m representation.pretrain --system binary_latent_diffusion --data DIR --output runs/bits
    python -m representation.pretrain --system binary_latent_diffusion --data DIR --output runs/prior \
        --set tokenizer=runs/bits

`python -m representation.memory` then keeps frames as bits, repairs them, and tells what the robot has not seen before.

Decided here. Sizes are for 32 pixels and two cores. Autoencoder and discriminator learn in one step, not in turns, as
the common loop has one optimizer, and the discriminator's weight decay is that loop's. Any encoder of ours that tells
of places stands where LPIPS does. Class-balanced weights, which make probabilities wrong, are an option that is off in
the prior, as its bound is used; their share of ones is at least 2 %, so that a sample of which nothing flipped still
counts. The penalty acts on the probability itself. The bound mixes exact posteriors, the sampler plugs probabilities
in, as the source does. Gains of the transformer's halves are one number each.
"""

from representation.generative.binary_latent_diffusion.adversary import PatchDiscriminator
from representation.generative.binary_latent_diffusion.autoencoder import AutoencoderConfig, BinaryAutoencoder
from representation.generative.binary_latent_diffusion.denoiser import BinaryDenoiser, DenoiserConfig
from representation.generative.binary_latent_diffusion.diffusion import BernoulliDiffusion
from representation.generative.binary_latent_diffusion.encoder import BinaryEncoder, Config, load, tokens, untokened
from representation.generative.binary_latent_diffusion.hamming_index import HammingIndex
from representation.generative.binary_latent_diffusion.objectives import AutoencoderObjective, PriorObjective, new
from representation.generative.binary_latent_diffusion.schedule import BernoulliSchedule

__all__ = [
    "AutoencoderConfig",
    "AutoencoderObjective",
    "BernoulliDiffusion",
    "BernoulliSchedule",
    "BinaryAutoencoder",
    "BinaryDenoiser",
    "BinaryEncoder",
    "Config",
    "DenoiserConfig",
    "HammingIndex",
    "PatchDiscriminator",
    "PriorObjective",
    "load",
    "new",
    "tokens",
    "untokened",
]
