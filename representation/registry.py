"""The systems of `representation/`, by name. One dictionary; nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from representation.checkpoint import read_config
from representation.interface import DocumentEncoder, Encoder


@dataclass(frozen=True)
class System:
    """One published system.

    Attributes:
        module: where it lives. A system that pretrains an encoder has there a dataclass `Config`, a function
            `new(config, frames, seed)` that returns its `Objective`, and `load(directory)` that returns its `Encoder`.
            One that needs no training has `load(directory)` alone, and says how what it reads is made. So has one that
            is not trained from frames but by a command of its own; what it loads is a model, and no `Encoder`.
        paper: authors, title, venue and year, number.
        inputs: what it takes.
        outputs: what it gives.
        role: what it does for a robot.
        road: where it meets the rest of the stack.
    """

    module: str
    paper: str
    inputs: str
    outputs: str
    role: str
    road: str


SYSTEMS: dict[str, System] = {
    "matryoshka": System(
        module="representation.pretraining.matryoshka",
        paper="Kusupati, Bhatt, Rege et al., Matryoshka Representation Learning, NeurIPS 2022 (arXiv 2205.13147)",
        inputs="pictures with labels, or pictures alone; or any encoder of pictures",
        outputs="vectors whose every prefix is a vector",
        role="vectors to search and to classify with as many numbers as there is time for",
        road="representation.pretrain, .probe and .embed",
    ),
    "clip": System(
        module="representation.pretraining.clip",
        paper="Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021 "
        "(arXiv 2103.00020)",
        inputs="pictures, and texts of any kind",
        outputs="embeddings of both in one space; probabilities of phrases",
        role="tells which of some phrases fits what a camera sees; an image encoder for everything else",
        road="representation.pretrain, .probe and .embed",
    ),
    "i2p_mae": System(
        module="representation.pretraining.i2p_mae",
        paper="Zhang et al., Learning 3D Representations from 2D Pre-trained Models via Image-to-Point Masked "
        "Autoencoders, CVPR 2023 (arXiv 2212.06785)",
        inputs="point clouds; a frozen encoder of pictures as teacher",
        outputs="a vector of each cloud, features at some of its points",
        role="tells what a depth camera sees, by shape alone: objects for grasping",
        road="representation.pretrain, .probe and .embed",
    ),
    "tvts": System(
        module="representation.pretraining.tvts",
        paper="Zeng et al., Learning Transferable Spatiotemporal Representations from Natural Script Knowledge, "
        "CVPR 2023 (arXiv 2209.15280)",
        inputs="clips of episodes whose steps are narrated",
        outputs="a vector of each clip; which of some sentences happens when",
        role="tells how far an episode has come in a script, and whether its steps came in order",
        road="representation.pretrain, .probe and .embed; perception_node",
    ),
    "geodesic_mixup": System(
        module="representation.pretraining.geodesic_mixup",
        paper="Oh et al., Geodesic Multi-Modal Mixup for Robust Fine-Tuning, NeurIPS 2023 (arXiv 2203.03897)",
        inputs="pictures with texts, and an encoder of clip if there is one",
        outputs="the encoder of clip, in whose space pictures and texts lie together",
        role="fine-tunes clip on a few hundred pairs; one index then holds goal pictures and goal sentences",
        road="representation.pretrain, .pair_report, .probe and .embed",
    ),
    "mochi": System(
        module="representation.pretraining.mochi",
        paper="Kalantidis et al., Hard Negative Mixing for Contrastive Learning, NeurIPS 2020 (arXiv 2010.01028)",
        inputs="pictures",
        outputs="vectors of pictures",
        role="tells frames apart that look alike: trained from unlabelled frames against mixed hard negatives",
        road="representation.pretrain, .probe and .embed",
    ),
    "mixed_barlow_twins": System(
        module="representation.pretraining.mixed_barlow_twins",
        paper="Bandara et al., Guarding Barlow Twins Against Overfitting with Mixed Samples, 2023 (arXiv 2312.02151)",
        inputs="pictures",
        outputs="vectors of pictures",
        role="learns from a few hundred unlabelled frames, in small batches, without fitting them too well",
        road="representation.pretrain, .probe and .embed",
    ),
    "sie": System(
        module="representation.pretraining.sie",
        paper="Garrido et al., Self-supervised Learning of Split Invariant Equivariant Representations, ICML 2023 "
        "(arXiv 2302.10283)",
        inputs="pictures of objects whose rotations are known, several views of each",
        outputs="vectors of pictures in two parts, which object and how turned; pose codes after a rotation",
        role="finds the view in which an object is turned as wanted, for grasps and goals",
        road="representation.pretrain, .probe and .embed",
    ),
    "segmentation": System(
        module="representation.pretraining.segmentation",
        paper="Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038), and "
        "Levine et al., End-to-End Training of Deep Visuomotor Policies, JMLR 2016",
        inputs="pictures whose every pixel is labelled, as sim.segmented_scenes draws them",
        outputs="where in a picture each kind of thing is, as a vector or as a token for each kind",
        role="shows a policy where the things are that its instruction names",
        road="representation.pretrain, .probe and .embed; policies.train --vision-encoder",
    ),
    "relative_representations": System(
        module="representation.compatibility.relative_representations",
        paper="Moschella et al., Relative Representations Enable Zero-Shot Latent Space Communication, ICLR 2023 "
        "(arXiv 2209.15430)",
        inputs="pictures; or any encoder, or vectors of anything, and the same anchors for all",
        outputs="cosines to anchors, on which different encoders agree",
        role="swaps the encoder of a memory or of a head by showing it some anchors, without labels or training",
        road="representation.pretrain, .probe, .embed and .upgrade",
    ),
    "d_simplex": System(
        module="representation.compatibility.d_simplex",
        paper="Biondi et al., Stationary Representations: Optimally Approximating Compatibility and Implications for "
        "Improved Model Replacements, CVPR 2024 (arXiv 2405.02581)",
        inputs="pictures with labels; the version before, if there is one",
        outputs="vectors whose classes lie in the same place in every version",
        role="encoders whose later versions were planned for: any of them searches what any other stored",
        road="representation.pretrain, .probe, .embed and .upgrade",
    ),
    "bt2": System(
        module="representation.compatibility.bt2",
        paper="Zhou et al., BT²: Backward-compatible Training with Basis Transformation, ICCV 2023 (arXiv 2211.03989)",
        inputs="pictures with labels, the old encoder and an independent new one",
        outputs="vectors that hold all of the new encoder's, with a part to compare with old ones",
        role="replaces an encoder by a better one that is there already, while the memory keeps its old vectors",
        road="representation.pretrain, .probe, .embed and .upgrade",
    ),
    "oca": System(
        module="representation.compatibility.oca",
        paper="Ricci et al., Backward-Compatible Aligned Representations via an Orthogonal Transformation Layer, BEW "
        "at ECCV 2024 (arXiv 2408.08793)",
        inputs="pictures with labels, the old encoder or its class prototypes",
        outputs="vectors with a part to compare with old ones",
        role="replaces an encoder in one training, while the memory keeps its old vectors; old pictures may be gone",
        road="representation.pretrain, .probe, .embed and .upgrade",
    ),
    "mbat_vsa": System(
        module="representation.memory.mbat_vsa",
        paper='Gallant, Orthogonal Matrices for MBAT Vector Symbolic Architectures, and a "Soft" VSA Representation '
        "for JSON, 2022 (arXiv 2202.04771)",
        inputs="JSON values",
        outputs="vectors of them; parts of such vectors, told again",
        role="finds a state, a task or a report again that is like this one, without training",
        road="representation.memory, .probe and .embed; memory_node",
    ),
    "grounded_language": System(
        module="representation.memory.grounded_language",
        paper="Kubricht, Yang, Qiu and Tu, Grounding Language Acquisition From Object and Action Imagery, 2023 "
        "(arXiv 2309.06335)",
        inputs="pictures with classes, or pictures alone",
        outputs="messages of a few symbols for each picture, as symbols and as one-hot vectors",
        role="a short key of what is seen, which can be searched by, logged, and traced to pixels",
        road="representation.pretrain, .embed and .memory.grounded_language.talk",
    ),
    "origin_identification": System(
        module="representation.memory.origin_identification",
        paper="Wang et al., (Generalizable) Origin Identification for Text-Guided Image-to-Image Diffusion Models, "
        "ICML 2025 (arXiv 2501.02376)",
        inputs="pictures, and what was made of them if it is known",
        outputs="unit vectors that are alike for a picture and what was made of it",
        role="tells which frame an edited or translated frame was made from: leaks between sets, lost labels",
        road="representation.pretrain, .embed and .memory.origin_identification.trace",
    ),
    "hamiltonian_meta": System(
        module="representation.dynamics.hamiltonian_meta",
        paper="Song and Jeong, Towards Cross Domain Generalization of Hamiltonian Representation via Meta Learning, "
        "ICLR 2024 (arXiv 2212.01168)",
        inputs="positions, momenta and their rates at some moments",
        outputs="energy, rates and what will follow",
        role="a model of the tool in the gripper after two seconds of swinging; its energy tells collisions and slips",
        road="representation.dynamics.hamiltonian_meta.train and .watch; sim.held_tools; tool_watch_node",
    ),
    "ponet": System(
        module="representation.structure.ponet",
        paper="Tan et al., PoNet: Pooling Network for Efficient Token Mixing in Long Sequences, ICLR 2022 "
        "(arXiv 2110.02442)",
        inputs="sequences of features or of tokens, of any length",
        outputs="features of each step, and a vector of all",
        role="understands long histories of readings in time that grows with their length and not with its square",
        road="representation.bench ponet: the history of a held tool",
    ),
    "gcrl": System(
        module="representation.dynamics.gcrl",
        paper="Shirahmad Gale Bagi et al., Generative Causal Representation Learning for Out-of-Distribution Motion "
        "Forecasting, ICML 2023 (arXiv 2302.08635)",
        inputs="tracks of agents that move about each other, two or any number",
        outputs="samples of what all of them will do next",
        role="foretells what moves in the shared workspace; tuned to a new place by about a hundred scenes",
        road="representation.dynamics.gcrl.train; forecast_node",
    ),
    "commutative_monoids": System(
        module="representation.structure.commutative_monoids",
        paper="Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022 "
        "(arXiv 2212.08541)",
        inputs="sets of any size; sights of things by several cameras",
        outputs="a state of each set, which a new element changes in log n steps; where things are",
        role="fuses what cameras saw of each thing, in any order and in parts, and holds what means and maxima lose",
        road="representation.structure.commutative_monoids.train; perception_node",
    ),
    "sheaf_diffusion": System(
        module="representation.structure.sheaf_diffusion",
        paper="Bodnar et al., Neural Sheaf Diffusion: A Topological Perspective on Heterophily and Oversmoothing in "
        "GNNs, NeurIPS 2022 (arXiv 2202.04579)",
        inputs="graphs: features of nodes, edges",
        outputs="classes of nodes; how the ends of edges are related",
        role="tells which part each thing of a scene plays, by what it touches and what bears it",
        road="representation.structure.label_scenes, on scene graphs of sim.scene_graphs",
    ),
    "d_sla": System(
        module="representation.structure.d_sla",
        paper="Kim, Baek and Hwang, Graph Self-supervised Learning with Accurate Discrepancy Learning, NeurIPS 2022 "
        "(arXiv 2202.02989)",
        inputs="graphs whose nodes and edges have types; no labels",
        outputs="a vector of each graph, whose distances count changed edges",
        role="tells by how many relations a scene differs from a goal, and which scenes are like it",
        road="representation.structure.compare_scenes, on scene graphs of sim.scene_graphs",
    ),
    "ponita": System(
        module="representation.equivariant.ponita",
        paper="Bekkers et al., Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in "
        "Position-Orientation Space, ICLR 2024 (arXiv 2310.02970)",
        inputs="point clouds, and what is known of them: labels, normals, grasps, poses",
        outputs="a vector of each cloud that no motion changes; scalars, and vectors that turn with it, at points",
        role="tells from depth where to grasp and how an object lies, in any pose after training in few",
        road="representation.pretrain, .probe, .embed and .equivariant.cloud_report; perception_node",
    ),
    "gaunt_tensor_product": System(
        module="representation.equivariant.gaunt_tensor_product",
        paper="Luo et al., Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor Products, "
        "ICLR 2024 (arXiv 2401.10216)",
        inputs="point clouds, and what is known of them; or features of any degrees",
        outputs="a vector of each cloud that no motion changes; features of points of any degree; products of features",
        role="heads for what turns with an object and is more than a vector: inertia, stiffness, curvature",
        road="representation.pretrain, .probe, .embed and .equivariant.cloud_report; perception_node",
    ),
    "frame_averaging": System(
        module="representation.equivariant.frame_averaging",
        paper="Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022 (arXiv 2110.03336)",
        inputs="point clouds, and what is known of them; or any network of points, bodies or graphs",
        outputs="a vector of each cloud that no motion changes; scalars, and vectors that turn with it, at points",
        role="makes a network that learned in one pose of an object work in all of them, exactly",
        road="representation.pretrain, .probe, .embed and .equivariant.cloud_report; perception_node",
    ),
    "lie_decompositions": System(
        module="representation.equivariant.lie_decompositions",
        paper="Mironenco and Forré, Lie Group Decompositions for Equivariant Neural Networks, ICLR 2024 "
        "(arXiv 2310.11366)",
        inputs="pictures of flat things with labels",
        outputs="vectors of pictures that quarter turns do not change; coordinates, draws and measures of affine maps",
        role="tells flat things, learned upright, after quarter turns too; coordinates of affine maps for estimation",
        road="representation.pretrain, .probe and .embed; perception_node",
    ),
    "topkld": System(
        module="representation.compression.topkld",
        paper="Ding, Cao, Cao and Chen, Dissecting Bit-Level Scaling Laws in Quantizing Vision Generative Models, 2025 "
        "(arXiv 2501.06218)",
        inputs="any module with linear maps, and batches to calibrate and to distil on",
        outputs="the module with packed weights of 2 to 8 bits; quality over bits",
        role="fits a policy into the memory of an arm's own computer, and tells what that costs",
        road="policies.compress",
    ),
    "qlae": System(
        module="representation.generative.qlae",
        paper="Hsu, Dorrell, Whittington, Wu and Finn, Disentanglement via Latent Quantization, NeurIPS 2023 "
        "(arXiv 2305.18378)",
        inputs="pictures, or anything of some numbers in [0, 1]",
        outputs="a short code of whole numbers, the scalars that these stand for, and pictures of codes",
        role="a short code of a crop or a scene, made so that one number means one thing, to read, to gate on, to edit",
        road="representation.pretrain, .probe, .embed and .disentanglement",
    ),
    "tmi": System(
        module="representation.selection.tmi",
        paper="Xu and Kang, Fast and Accurate Transferability Measurement by Evaluating Intra-class Feature Variance, "
        "ICCV 2023 (arXiv 2308.05986)",
        inputs="vectors of any encoder, of a few labelled frames",
        outputs="how far the vectors of a class are spread",
        role="tells before any fine-tuning which encoders left no room for a task; follows the scale of the vectors",
        road="representation.select",
    ),
    "ped": System(
        module="representation.selection.ped",
        paper="Li et al., Exploring Model Transferability through the Lens of Potential Energy, ICCV 2023 "
        "(arXiv 2308.15074)",
        inputs="vectors of any encoder, of a few labelled frames and of others",
        outputs="vectors whose classes pushed each other apart, as fine-tuning would",
        role="a second opinion on which encoder to take, before LogME, SFDA or NLEEP",
        road="representation.select",
    ),
    "benchx": System(
        module="representation.selection.benchx",
        paper="Zhou et al., BenchX: A Unified Benchmark Framework for Medical Vision-Language Pretraining on Chest "
        "X-Rays, NeurIPS 2024 Datasets and Benchmarks (arXiv 2410.21969)",
        inputs="encoders of pictures; pictures with classes, segmentations or reports",
        outputs="a ranked table of measures over seeds and fractions of the labels",
        role="tells which of some encoders is better for a task, and whether by more than the noise of seeds",
        road="representation.benchmark, on scenes of sim.reported_scenes",
    ),
    "interaction_basis": System(
        module="representation.analysis.interaction_basis",
        paper="Bushnaq, Mendel, Heimersheim, Braun et al., Using Degeneracy in the Loss Landscape for Mechanistic "
        "Interpretability, 2024 (arXiv 2405.10927)",
        inputs="a network of linear maps and activations, or a head of a larger one, and inputs of it",
        outputs="directions of each layer by what they do to the output; a network of no more than those; modules",
        role="tells how many numbers drive a policy's actions, and leaves out the others",
        road="policies.explain",
    ),
    "atlas": System(
        module="representation.transfer.atlas",
        paper="Zhang, Albert, Rodriguez-Opazo, van den Hengel and Abbasnejad, Knowledge Composition using Task Vectors "
        "with Learned Anisotropic Scaling, NeurIPS 2024 (arXiv 2407.02880)",
        inputs="a network, state dicts of its fine-tuned versions, and a loss on a few samples",
        outputs="a coefficient for each block of each version, and the state dict that they make",
        role="composes a policy for a new cell out of what other cells' fine-tuning changed; forgets a habit",
        road="policies.compose",
    ),
    "rich_representations": System(
        module="representation.transfer.rich_representations",
        paper="Zhang and Bottou, Learning useful representations for shifting tasks and distributions, ICML 2023 "
        "(arXiv 2212.07346)",
        inputs="several encoders, of one modality or of different ones; or a system to train some of",
        outputs="their vectors side by side; one encoder distilled from them; classifiers tuned in two stages",
        role="makes one backbone out of several cheap trainings, which tells more of new objects and cameras",
        road="representation.transfer.concatenate; then .probe and .embed",
    ),
    "d2nwg": System(
        module="representation.transfer.d2nwg",
        paper="Soro et al., Diffusion-Based Neural Network Weights Generation, ICLR 2025 (arXiv 2402.18153)",
        inputs="trained heads with features of what they are for; then features of a few samples of new classes",
        outputs="weights of heads for these classes, best first",
        role="heads for new kinds of parts at once, from five pictures of each, on a frozen encoder",
        road="representation.transfer.heads",
    ),
    "shda_ktf": System(
        module="representation.transfer.shda_ktf",
        paper="Yao et al., Noise May Contain Transferable Knowledge: Understanding Semi-supervised Heterogeneous "
        "Domain Adaptation from an Empirical Perspective, 2025 (arXiv 2502.13573)",
        inputs="vectors of one kind, a few of each class labelled; labelled vectors of another kind, or noise",
        outputs="labels of the unlabelled; a classifier of vectors to come",
        role="learns classes of a new camera or sensor from three labels of each and many unlabelled samples",
        road="representation.transfer.label_few, after representation.embed",
    ),
    "neural_cross_subject": System(
        module="representation.transfer.neural_cross_subject",
        paper="Liu et al., See Through Their Minds: Learning Transferable Brain Decoding Models from Cross-Subject "
        "fMRI, AAAI 2025 (arXiv 2403.06361)",
        inputs="joint positions and velocities of several robots with what their cameras see; or recorded brains",
        outputs="tokens of the picture, vectors to find it by, the tool's pose; for signals of any width",
        role="lets in a robot by its own adapter; saves samples with drawn subjects, but did not yet with our arms",
        road="policies.onboard, on datasets of sim.collect or policies.data.convert; sim.bench new_robot",
    ),
    "feature_bias": System(
        module="representation.analysis.feature_bias",
        paper="Lampinen, Chan and Hermann, Learned feature representations are biased by complexity, learning order, "
        "position, and more, TMLR 2024 (arXiv 2405.05847)",
        inputs="activations of an encoder or of a layer, and factors that the simulator knows of each row",
        outputs="shares of variance, how well each factor is read, how densely, and warnings",
        role="tells which factors an encoder holds so faintly that a search by distance misses them",
        road="representation.explain",
    ),
    "invariance_transfer": System(
        module="representation.analysis.invariance_transfer",
        paper="Speicher, Nanda and Gummadi, Understanding the Role of Invariance in Transfer Learning, TMLR 2024 "
        "(arXiv 2407.04325)",
        inputs="an encoder of pictures, and objects cut out of their pictures",
        outputs="how invariant the encoder is to each of 18 transforms; probes and studies of transfer",
        role="tells what an encoder no longer sees, such as how an object is turned, before a grasp needs it",
        road="representation.explain, on cut-outs of sim.cut_outs or pictures of sim.segmented_scenes",
    ),
    "pac_invariant": System(
        module="representation.analysis.pac_invariant",
        paper="Parulekar, Shanmugam and Shakkottai, PAC Generalization via Invariant Representations, ICML 2023 "
        "(arXiv 2205.15196)",
        inputs="a few features and an outcome, from several environments",
        outputs="subsets of the features whose linear rule stays, and for how many unseen environments that is sure",
        role="tells which readings predict an outcome by a rule that will hold with another gripper, table or load",
        road="representation.analysis.vet_features, on columns of recorded episodes",
    ),
    "deep_kernel_machines": System(
        module="representation.analysis.deep_kernel_machines",
        paper="Yang et al., A theory of representation learning gives a deep generalisation of kernel methods, "
        "ICML 2023 (arXiv 2108.13097)",
        inputs="some hundreds or thousands of rows of numbers, such as logged steps or an encoder's vectors",
        outputs="means and variances of a measured quantity, or probabilities of classes; kernels of each layer",
        role="predicts a measured quantity from little data, and how sure; how far kernels must move to fit it",
        road="representation.analysis.deep_kernel_machines.fit, on logged episodes, frames and vectors",
    ),
    "spen": System(
        module="representation.structure.spen",
        paper="Mitton and Murray-Smith, Subgraph Permutation Equivariant Networks, TMLR 2023 (arXiv 2111.11840)",
        inputs="graphs: features of nodes and edges",
        outputs="classes of graphs; vectors of nodes",
        role="tells what a scene's contacts form as a whole, such as closed loops, where things are all alike",
        road="representation.structure.classify_scenes, on scene graphs of sim.scene_graphs",
    ),
    "addp": System(
        module="representation.generative.addp",
        paper="Tian et al., ADDP: Learning General Representations for Image Recognition and Generation with "
        "Alternating Denoising Diffusion Process, ICLR 2024 (arXiv 2306.05423)",
        inputs="pictures",
        outputs="vectors of pictures and of their patches; new pictures; how much each patch surprises",
        role="tells what does not belong into a picture; its vectors, trained for minutes, tell no more than untrained",
        road="representation.pretrain in three stages, .probe and .embed; policies.train --vision-encoder; "
        "representation.generative.addp.surprise",
    ),
    "binary_latent_diffusion": System(
        module="representation.generative.binary_latent_diffusion",
        paper="Wang, Wang, Liu and Qiu, Binary Latent Diffusion, CVPR 2023 (arXiv 2304.04820)",
        inputs="pictures",
        outputs="a grid of bits of each, and pictures of bits; new bits, missing ones, and how likely bits are",
        role="keeps frames in few bytes, finds them again and fills in what was hidden",
        road="representation.pretrain, .probe and .embed; representation.memory add, search, repair and alarm",
    ),
    "dts": System(
        module="representation.generative.dts",
        paper="Li et al., Learning Disentangled Representations for Time Series, 2021 (arXiv 2105.08179)",
        inputs="windows of joint positions, velocities, efforts and grippers, or of any signals",
        outputs="vectors with a group for what is done and one for who does it; skills and alarms along episodes",
        role="tells what an arm does apart from which arm it is; watches a second arm whose skills nobody labelled",
        road="representation.generative.dts.train and .watch, on datasets of sim.collect or policies.data.convert",
    ),
    "progae": System(
        module="representation.generative.progae",
        paper="Tatro, Das, Chen, Chenthamarakshan and Lai, Learning Geometrically Disentangled Representations of "
        "Protein Folding Simulations, 2022 (arXiv 2205.10423)",
        inputs="nodes of cables, hoses or arms in order; backbones of proteins",
        outputs="a code of shape, which no rigid motion changes, and one of directions; nodes of both",
        role="tells how a cable is bent apart from how it lies; sets goals by swapping or interpolating one of the two",
        road="representation.generative.progae.fit and .shape_goals, on cables of sim.cables",
    ),
    "customcontrast": System(
        module="representation.pretraining.customcontrast",
        paper="Chen et al., CustomContrast: A Multilevel Contrastive Perspective for Subject-Driven Text-to-Image "
        "Customization, AAAI 2025 (arXiv 2409.05606)",
        inputs="pictures of single objects, several views of each, with a mask and a noun phrase where known",
        outputs="vectors of which object it is; codes for each cross-attention layer of a generator",
        role="knows an object again from another camera, in other light, after it was moved",
        road="representation.pretrain, .embed and .memory.subjects, on objects of sim.subject_views",
    ),
    "madeleine": System(
        module="representation.pretraining.madeleine",
        paper="Jaume, Vaidya et al., Multistain Pretraining for Slide Representation Learning in Pathology, ECCV 2024 "
        "(arXiv 2408.02859)",
        inputs="pictures with the depth or the segmentation of the same frames; afterwards pictures alone",
        outputs="vectors of pictures, and of their parts; which parts matter; vectors of depth in the same space",
        role="a camera's encoder that learned from sensors which only the simulator has",
        road="representation.pretrain, .probe, .embed and .pretraining.madeleine.retrieve, on scenes of "
        "sim.sensor_scenes; policies.train --vision-encoder",
    ),
    "mmist": System(
        module="representation.generative.mmist",
        paper="Wang, Wu, Dela Rosa, Wang and Shrivastava, Multimodality-guided Image Style Transfer using Cross-modal "
        "GAN Inversion, WACV 2024 (arXiv 2312.01671)",
        inputs="frames of episodes, and a weighted mix of texts and pictures that say how they should look",
        outputs="the frames in that look, everything where it was; pictures of the style",
        role="shows a policy the same episodes in other lights and materials, with their labels",
        road="representation.restyle on datasets of sim.collect; --restyle of policies.train",
    ),
    "diffusion_classification": System(
        module="representation.generative.diffusion_classification",
        paper="Mukhopadhyay, Gwilliam et al., Diffusion Models Beat GANs on Image Classification, 2023 "
        "(arXiv 2307.08702)",
        inputs="pictures; or any U-Net of diffusers, or that of guided diffusion",
        outputs="features of any block of a U-Net at any step of noise, and vectors of pooled ones; pictures of noise",
        role="an encoder out of what was trained to make pictures; a few labels find which of its features to read",
        road="representation.pretrain, .generative.scan_features, .probe and .embed; policies.train --vision-encoder",
    ),
    "diti": System(
        module="representation.generative.diti",
        paper="Yue et al., Exploring Diffusion Time-steps for Unsupervised Representation Learning, ICLR 2024 "
        "(arXiv 2401.11430)",
        inputs="pictures, and a network of diffusion_classification",
        outputs="vectors whose first numbers are fine and whose last ones coarse; pictures with other numbers",
        role="gives a grasp planner what is coarse and an inspection what is fine, out of one encoder without labels",
        road="representation.pretrain, .generative.edit_slices, .probe and .embed",
    ),
}


def module_of(name: str) -> ModuleType:
    """The module of a system.

    Raises:
        ValueError: no such system; lists the known ones.
    """
    if name not in SYSTEMS:
        raise ValueError(f"system: expected one of {', '.join(sorted(SYSTEMS))}, found {name!r}")
    return importlib.import_module(SYSTEMS[name].module)


def load_model(directory: Path) -> Any:
    """Read what a system saved, an encoder or any other model; in evaluation mode.

    Args:
        directory: the model's, or a run's that has one in `encoder/`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: of no known system, or damaged.
    """
    inner = directory / "encoder"
    directory = inner if inner.is_dir() else directory
    system = read_config(directory)["system"]
    load = getattr(module_of(system), "load", None)
    if load is None:
        raise ValueError(f"{directory}: system: expected one that saves models, found {system}")
    return load(directory)


def load_encoder(directory: Path) -> Encoder | DocumentEncoder:
    """Read an encoder that a system saved; in evaluation mode.

    Args:
        directory: see `load_model`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: of no known system, or damaged, or no encoder.
    """
    model = load_model(directory)
    if not hasattr(model, "modality"):
        raise ValueError(f"{directory}: expected an encoder, found another model, {type(model).__name__}")
    encoder: Encoder | DocumentEncoder = model
    return encoder
