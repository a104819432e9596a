"""CustomContrast: which object it is, whatever its pose, light and background, in codes for each layer of a generator.

Several views of a subject shall agree and different subjects differ, on two levels: pictures with the text of their
class (CSCL), and the looks at each of several scales (MACL), where views that look alike must agree more. So the codes
keep what is a subject's own, and not the view that it was seen in, as reconstruction does.

Source: CustomContrast: A Multilevel Contrastive Perspective for Subject-Driven Text-to-Image Customization, Chen,
Huang, Chen, Zheng, Zhang and Mao, AAAI 2025 (arXiv 2409.05606). Takes pictures (B, 3, H, W) in [0, 1] of one object
each, with a mask (B, H, W) and a noun phrase where they are known; gives a CLS (B, d), codes (B, K, d), one for each
cross-attention layer of a generator, and vectors (B, (1 + scales) d) by which the object is found again. It is trained
on views of objects (`episode`) with `texts`, `label`, and `rotation` in the camera's frame (unit quaternion x, y, z,
w); with `mask` the background of some views is removed, and that of others exchanged.

- `losses.py`: CSCL and MACL. `mfi.py`: the encoder of two Q-Formers and their fusion. `eyes.py`: what it looks through.
- `encoder.py`, `objective.py`, `config.py`: the encoder as others use it, and its training.
- `subject_index.py`: stored subjects; `representation.memory.subjects` is its command.
- `injection.py`: the codes in a UNet of diffusers.

No code was published. Decided here: the CLS of pictures hears no text, else it could copy what it is to find; only the
codes are fused. What a scale is contrasted by is the mean of its codes, through a linear head of its own. Relevance is
the cosine of features about the mean of the batch, of an untrained copy of the tokeniser (of CLIP, where that is looked
through). Without a generator a small decoder draws another view of the subject, in pixels of variance 1; its stages
hear the codes of one scale each. The class token's attention is divided by its maximum to guide where codes are
injected. Since the small tokeniser sees few pictures, views are also cropped, mirrored and a little recoloured, and
some get the background of another one; all of it can be switched off.
"""

from representation.pretraining.customcontrast.config import Config
from representation.pretraining.customcontrast.encoder import SubjectEncoder, load
from representation.pretraining.customcontrast.injection import SubjectInjector, epsilon_loss, inject
from representation.pretraining.customcontrast.losses import crossmodal_semantic_loss, multiscale_appearance_loss
from representation.pretraining.customcontrast.mfi import MFIEncoder, SubjectCodes, mean_codes
from representation.pretraining.customcontrast.objective import SubjectObjective, new
from representation.pretraining.customcontrast.subject_index import Match, SubjectIndex

__all__ = [
    "Config",
    "MFIEncoder",
    "Match",
    "SubjectCodes",
    "SubjectEncoder",
    "SubjectIndex",
    "SubjectInjector",
    "SubjectObjective",
    "crossmodal_semantic_loss",
    "epsilon_loss",
    "inject",
    "load",
    "mean_codes",
    "multiscale_appearance_loss",
    "new",
]
