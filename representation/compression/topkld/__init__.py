"""TopKLD: quantised weights, what they cost in bits and in quality, and a distillation that repairs them.

Source: Ding, Cao, Cao and Chen, Dissecting Bit-Level Scaling Laws in Quantizing Vision Generative Models, 2025
(arXiv 2501.06218). Takes any module with linear maps, and batches to calibrate and to distil on; gives the module with
packed weights, its bits, and the curve of quality over bits.

The paper names its loss by what it does: the teacher's most likely classes are treated by reverse and all others by
forward Kullback-Leibler divergence. Its formula was not at hand. Two parts of such divergences summed as they are
(`variant="naive"`) are not least where both distributions are equal; the default adds the terms that make each part
a divergence of its own ("generalized"). Quantisers, GPTQ and SmoothQuant follow their own papers, see there.
"""

from representation.compression.topkld.calibration import Inputs, gptq, gptq_by_hessian, observe_inputs, smooth
from representation.compression.topkld.distillation import distill
from representation.compression.topkld.fake_quantization import (
    KEPT,
    FakeQuantizedLinear,
    fake_quantize,
    linear_maps,
    replace_linear,
)
from representation.compression.topkld.formats import FloatFormat, Format, IntFormat, format_named
from representation.compression.topkld.losses import forward_kld, reverse_kld, topkld
from representation.compression.topkld.noise import noisy_inputs
from representation.compression.topkld.quantized_linear import QuantizedLinear, packed
from representation.compression.topkld.quantizer import QTensor, dequantize, pack, quantize, unpack
from representation.compression.topkld.scaling import ScalingLaw, fit_scaling, model_bits

__all__ = [
    "KEPT",
    "FakeQuantizedLinear",
    "FloatFormat",
    "Format",
    "Inputs",
    "IntFormat",
    "QTensor",
    "QuantizedLinear",
    "ScalingLaw",
    "dequantize",
    "distill",
    "fake_quantize",
    "fit_scaling",
    "format_named",
    "forward_kld",
    "gptq",
    "gptq_by_hessian",
    "linear_maps",
    "model_bits",
    "noisy_inputs",
    "observe_inputs",
    "pack",
    "packed",
    "quantize",
    "replace_linear",
    "reverse_kld",
    "smooth",
    "topkld",
    "unpack",
]
