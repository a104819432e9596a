"""`fit_processor`: statistics, action grid and tokenizer from demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tokenizers import Tokenizer

from policies.robots.spec import RobotSpec
from policies.spatialvla import text_tokenizer
from policies.spatialvla.action_grid import ActionGrid, fit_gaussian_stats
from policies.spatialvla.action_tokenizer import SpatialActionTokenizer
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.normalizer import ActionNormalizer, action_statistics
from policies.spatialvla.processor import BaseFromTool, ProcessorSettings, SpatialVLAProcessor

SMALL_BINS = {"theta": 12, "phi": 16, "r": 6, "roll": 5, "pitch": 5, "yaw": 5}
# A dimension that hardly moves would put all inner edges into one point.
MIN_SIGMA = 0.02


def fit_processor(
    actions: ArrayLike,
    instructions: Iterable[str],
    config: SpatialVLAConfig,
    settings: ProcessorSettings,
    robot: RobotSpec,
    base_from_tool: BaseFromTool,
    num_bins: Mapping[str, int] = SMALL_BINS,
    tokenizer: Tokenizer | None = None,
    intrinsic_config: Mapping[str, Any] | None = None,
    dataset_keys: Sequence[str] | None = None,
) -> SpatialVLAProcessor:
    """Fit a processor to demonstrations.

    Args:
        actions: (N, 7) all actions of the training set, physical units, `cartesian_delta` with gripper 0 or 1.
        instructions: all training instructions; words that never occur in them become `<unk>`.
        config: sizes and switches; the token ids are set here, in the `config` of the result.
        settings: see `ProcessorSettings`.
        robot: the robot's joints.
        base_from_tool: its forward kinematics.
        num_bins: bins per axis.
        tokenizer: ends with `<image>`; None builds a word tokenizer from the instructions.
        intrinsic_config: a record of the training camera for `processor_config.json`.
        dataset_keys: N names of datasets, that of `settings.dataset_key` among them: each is normalised by statistics
            of its own. None has one entry for all, under `settings.dataset_key`.

    Returns:
        A processor whose `config` builds the fitting model.
    """
    actions = np.asarray(actions, dtype=np.float64)
    keys = np.asarray([settings.dataset_key] * len(actions) if dataset_keys is None else dataset_keys)
    statistics, normalized = {}, actions.copy()
    for key in dict.fromkeys(keys.tolist()):
        own = keys == key
        entry = action_statistics(actions[own])
        statistics[key] = {"action": entry, "num_transitions": int(own.sum())}
        normalized[own] = ActionNormalizer.from_statistics(entry).normalize(actions[own])
    gaussian = fit_gaussian_stats(normalized)
    grid = ActionGrid.from_gaussian(gaussian, num_bins, min_sigma=MIN_SIGMA).with_empirical_centroids(normalized)
    if tokenizer is None:
        tokenizer = text_tokenizer.build_word_tokenizer(instructions)
    names = SpatialActionTokenizer(grid, 0).token_names()
    begin = text_tokenizer.append_action_tokens(tokenizer, names)
    fitted = config.with_vocabulary(
        vocabulary=tokenizer.get_vocab_size(),
        image=text_tokenizer.token_id(tokenizer, text_tokenizer.IMAGE),
        state=text_tokenizer.token_id(tokenizer, text_tokenizer.STATE) if config.state_dim else None,
        action_begin=begin,
        actions=len(names),
        pad_token_id=text_tokenizer.token_id(tokenizer, text_tokenizer.PAD),
        bos_token_id=text_tokenizer.token_id(tokenizer, text_tokenizer.BOS),
        eos_token_id=text_tokenizer.token_id(tokenizer, text_tokenizer.EOS),
    )
    return SpatialVLAProcessor(
        fitted,
        settings,
        tokenizer,
        grid,
        statistics,
        robot,
        base_from_tool,
        dict(intrinsic_config or {}),
    )
