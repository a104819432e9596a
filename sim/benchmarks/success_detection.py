"""Does a fine-tuned CLIP tell from one picture whether an instruction has been carried out?

A small CLIP is pretrained on staged pictures with captions and fine-tuned on a few hundred judged pictures of episodes:
of the two phrases "done: ..." and "not done: ..." the right one shall fit the picture better. The probability that its
`scores` then give to the first one, which is what the perception node publishes, is judged on episodes that were held
out, by the simulator's truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from policies.machine import describe_machine, library_versions
from representation.benchmarks.claims import Claim
from representation.data.augmentations import random_squares
from representation.data.batches import BatchOrder, split_frames
from representation.data.frames import Frames, square
from representation.pretraining import clip
from representation.pretraining.clip import CLIPEncoder
from representation.pretraining.clip.pretraining import CLIPObjective
from sim.benchmarks.success_episodes import EMPTY, EXPERT, HOLDING, KINDS, judged_episodes, staged_pictures

PHRASES = ("done: {}", "not done: {}")
TUNED, PRETRAINED, UNTRAINED = "fine-tuned", "not fine-tuned", "untrained"
PIXELS, PRIOR = "linear probe of pixels", "share of successes"
DETECTORS = (TUNED, PRETRAINED, UNTRAINED, PIXELS, PRIOR)
PIXEL_SIZE, PIXEL_STRENGTH = 24, 1e-3  # of the linear probe
SMALLEST_CROP = 0.9
CURVE = np.linspace(0, 1, 51)  # false alarms at which curves are kept


@dataclass(frozen=True, slots=True)
class SuccessSettings:
    """How much is driven and trained.

    Attributes:
        episodes: driven through, once for all seeds.
        held_out: of these, judged and not trained on; chosen anew for each seed.
        staged: pictures with captions, once for all seeds.
        size: side of the pictures, pixels.
        pretraining_steps: of the CLIP, on staged pictures.
        steps: of its fine-tuning.
        batch: pictures of a step.
        lr: peak learning rate of the pretraining; the fine-tuning's is a third.
        seeds: of weights, orders and what is held out.
        output: directory to save the last seed's encoder in; none if left out.
    """

    episodes: int = 240
    held_out: int = 80
    staged: int = 3000
    size: int = 64
    pretraining_steps: int = 600
    steps: int = 150
    batch: int = 64
    lr: float = 1e-3
    seeds: int = 3
    output: Path | None = None


def instructed(judged: Frames) -> list[tuple[str, str]]:
    """`PHRASES` of the instruction of each judged picture."""
    return [(PHRASES[0].format(text), PHRASES[1].format(text)) for text in judged.texts]


def captioned(judged: Frames) -> list[tuple[str, str]]:
    """The captions of staged pictures that say that what was asked for is held, and that nothing is."""
    return [(HOLDING.format(judged.names["asked"][number]), EMPTY) for number in judged.columns["asked"]]


def verdicts(encoder: CLIPEncoder, images: Tensor, phrases: Sequence[tuple[str, str]]) -> Tensor:
    """(B, 2) how well each of its two phrases fits a picture, as the encoder's `scores` weigh them."""
    texts = encoder.encode_texts([phrase for pair in phrases for phrase in pair]).unflatten(0, (len(phrases), 2))
    return encoder.model.scale() * torch.einsum("be,bpe->bp", encoder.encode(images), texts)


def new_encoder(staged: Frames, judged: Frames, size: int, seed: int) -> CLIPEncoder:
    """An untrained CLIP whose vocabulary holds captions and instructions."""
    sentences = sorted({*staged.texts, *(phrase for pair in instructed(judged) for phrase in pair)})
    blank = np.zeros((len(sentences), 1, 1, 3), np.uint8)
    texts = Frames(blank, np.arange(len(sentences)), {}, {}, sentences)
    return clip.new(clip.Config(resolution=size), texts, seed).encoder


def pretrain(encoder: CLIPEncoder, staged: Frames, settings: SuccessSettings, seed: int) -> None:
    """Train pictures and captions to find each other."""
    objective = CLIPObjective(encoder, SMALLEST_CROP)

    def loss_of(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        return objective(objective.batch(staged, rows, generator)).total

    _train(encoder, loss_of, len(staged), settings.pretraining_steps, settings.batch, settings.lr, seed)


def finetune(encoder: CLIPEncoder, judged: Frames, settings: SuccessSettings, seed: int) -> None:
    """Train the right one of both phrases to fit each judged picture better."""
    wrong, phrases = torch.from_numpy(~judged.columns["success"]).long(), instructed(judged)

    def loss_of(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        pixels = random_squares(judged.pixels(rows), settings.size, SMALLEST_CROP, generator)
        return F.cross_entropy(verdicts(encoder, pixels, [phrases[row] for row in rows]), wrong[rows])

    batch = min(settings.batch, len(judged))
    _train(encoder, loss_of, len(judged), settings.steps, batch, settings.lr / 3, seed)


def _train(
    encoder: CLIPEncoder,
    loss_of: Callable[[NDArray[np.int64], torch.Generator], Tensor],
    count: int,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> None:
    order = BatchOrder(np.arange(count), batch, seed)
    optimizer = torch.optim.AdamW(encoder.train().parameters(), lr=lr, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for step in tqdm(range(steps), desc="training", unit="step"):
        optimizer.zero_grad()
        loss_of(order[step], torch.Generator().manual_seed(seed * 1_000_003 + step)).backward()
        optimizer.step()
        schedule.step()
    encoder.eval()


@torch.inference_mode()
def scored(encoder: CLIPEncoder, judged: Frames, phrases: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """(N,) probabilities of the first of its two phrases for each judged picture."""
    found = verdicts(encoder.eval(), judged.pixels(np.arange(len(judged))), phrases)
    return found.softmax(dim=1)[:, 0].double().numpy()


def pixel_probe(training: Frames, held_out: Frames) -> NDArray[np.float64]:
    """(N,) of the held-out: probability by a logistic regression on small pictures, which does not read the texts."""
    x, y = (
        np.stack([square(image, PIXEL_SIZE) for image in frames.images]).reshape(len(frames), -1) / 255
        for frames in (training, held_out)
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=PIXEL_STRENGTH, max_iter=1000))
    return model.fit(x, training.columns["success"]).predict_proba(y)[:, 1]


def detect(judged: Frames, staged: Frames, settings: SuccessSettings, seed: int) -> dict[str, NDArray[np.float64]]:
    """Scores (N,) of the judged pictures of held-out episodes by every detector, and the `truth`."""
    rows = split_frames(judged, settings.held_out, np.random.default_rng(seed))
    training, held_out = (judged.subset(part) for part in rows)
    encoder = new_encoder(staged, training, settings.size, seed)
    found = {"truth": held_out.columns["success"].astype(float), "kind": held_out.columns["kind"].astype(float)}
    found[UNTRAINED] = scored(encoder, held_out, instructed(held_out))
    pretrain(encoder, staged, settings, seed)
    found[PRETRAINED] = scored(encoder, held_out, captioned(held_out))
    finetune(encoder, training, settings, seed)
    found[TUNED] = scored(encoder, held_out, instructed(held_out))
    found[PIXELS] = pixel_probe(training, held_out)
    found[PRIOR] = np.full(len(held_out), training.columns["success"].mean())
    if settings.output is not None:
        encoder.save(settings.output)
    return found


def run(settings: SuccessSettings) -> dict[str, Any]:
    """Drive once, and train and judge for each seed.

    Raises:
        ValueError: fewer than two seeds, of which no interval can be told.
    """
    if settings.seeds < 2:
        raise ValueError(f"seeds: expected at least 2, found {settings.seeds}")
    began = time.monotonic()
    judged = judged_episodes(settings.episodes, settings.size, 0)
    staged = staged_pictures(settings.staged, settings.size, 0)
    found = [detect(judged, staged, settings, seed) for seed in range(settings.seeds)]
    counts = {kind: int((judged.columns["kind"] == number).sum()) for number, kind in enumerate(KINDS)}
    return {
        "settings": asdict(settings) | {"output": None},
        "judged": counts,
        "successes": int(judged.columns["success"].sum()),
        "auc": {name: [_auc(one, name) for one in found] for name in DETECTORS},
        "auc_by_kind": {
            kind: {name: [_auc(one, name, number) for one in found] for name in DETECTORS}
            for number, kind in enumerate(KINDS)
            if kind != EXPERT
        },
        "curves": {name: np.mean([_curve(one, name) for one in found], axis=0).round(4).tolist() for name in DETECTORS},
        "seconds": round(time.monotonic() - began, 1),
        "machine": describe_machine(),
        "libraries": library_versions(),
    }


def _auc(found: Mapping[str, NDArray], name: str, kind: int | None = None) -> float:
    """Area under the curve; of one kind: all successes against the failures of that kind."""
    truth = found["truth"] > 0
    rows = np.ones(len(truth), bool) if kind is None else truth | (found["kind"] == kind)
    return float(roc_auc_score(truth[rows], found[name][rows]))


def _curve(found: Mapping[str, NDArray], name: str) -> NDArray[np.float64]:
    false_alarms, hits, _ = roc_curve(found["truth"], found[name])
    return np.interp(CURVE, false_alarms, hits)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw the mean curves of all seeds."""
    # Imported late: drawing is not needed to measure on a machine without fonts.
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(6, 6), layout="constrained")).subplots()
    for name, hits in result["curves"].items():
        axes.plot(CURVE, hits, label=f"{name}: {np.mean(result['auc'][name]):.2f}")
    axes.set_xlabel("failures that are called successes")
    axes.set_ylabel("successes that are found")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(title="area under the curve", loc="lower right")
    figure.savefig(path, dpi=100)


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine = result["settings"], result["machine"]
    judged, kinds = sum(result["judged"].values()), [kind for kind in KINDS if kind != EXPERT]
    share = settings["held_out"] / settings["episodes"]
    lines = [
        f"{settings['episodes']} episodes, {judged} judged pictures, of which {result['successes']} show success; "
        f"{share:.0%} of the episodes held out; {settings['seeds']} seeds",
        f"{'area under the ROC curve':<34}{'all':>22}" + "".join(f"{kind:>15}" for kind in kinds),
    ]
    for name in DETECTORS:
        mean, low, high = Claim(name, "none", tuple(result["auc"][name]), (0.0,) * settings["seeds"]).difference()
        by_kind = "".join(f"{np.mean(result['auc_by_kind'][kind][name]):>15.3f}" for kind in kinds)
        lines.append(f"{name:<34}{f'{mean:.3f} [{low:.3f}, {high:.3f}]':>22}{by_kind}")
    for name in DETECTORS[1:]:
        mean, low, high = Claim(TUNED, name, tuple(result["auc"][TUNED]), tuple(result["auc"][name])).difference()
        lines.append(f"{TUNED} minus {name}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    lines.append(
        f"{result['seconds']:.0f} s; {machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}"
    )
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    return _PAGE.format(table=format_text(result), settings=result["settings"])


_PAGE = """# Success detection by text-image scores

Can a CLIP tell from one picture of the front camera whether "pick up the red cube" has been done? It scores the phrases
"done: pick up the red cube" and "not done: pick up the red cube"; what counts is the probability of the first, as
`CLIPEncoder.scores` and the perception node give it. The truth is the simulator's: whether the goal state of the task
holds in the picture.

```
{table}
```

![ROC curves](success_detection.png)

How to read it:

- The scripted expert picks up objects, undisturbed or heavily disturbed (`noisy`). Pictures are the last one of each
  episode, one from before its goal was reached (`stopped early`), and the last one again with a sentence about another
  object on the table (`wrong object`). Episodes are held out as a whole; intervals are Student's t over the seeds.
- Columns by kind have all successes against the failures of that kind alone.
- A CLIP of the default size is pretrained for {settings[pretraining_steps]} steps on {settings[staged]} staged pictures
  ("the gripper holds the red cube", "the gripper is empty"), and then fine-tuned for {settings[steps]} steps on the
  judged pictures of the other episodes. `not fine-tuned` scores those captions, which are all that it knows.
- The linear probe sees the picture and not the sentence, so it cannot tell which object was asked for. The share of
  successes is what is known without a look: it orders nothing.

Run it again with `python -m sim.bench success_detection --write`.
"""
