"""How soon does a new robot know where its tool is and what lies before it, if other robots have learned before?

Every sample is a table with a cube, as the camera above sees it before any arm moves, and a moment of an arm's straight
way to a place above the cube. Signals are the robot's own: positions and velocities of all its joints and fingers.
Targets mean the same for all: the tool's pose, and the embedding of the picture by the shipped policy's encoder.
Adapters for some robots are trained with the decoder that they share (`neural_cross_subject`); the new robot then gets
an adapter, trained on few samples, beside the same network trained on these alone, all of it trained on, the decoder
composed (`atlas`) of what fine-tuning on each known robot changed in it, and ridge regression.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from tqdm import tqdm

from policies.execution.kinematics import Kinematics
from policies.machine import describe_machine, library_versions
from policies.onboard import POSE, Score, fit_options, fresh_model, pose_errors, scene_tokens, score, tool_pose
from policies.rdt.encoder_tower import EncoderTower
from policies.robots import get_robot
from representation.benchmarks.claims import Claim
from representation.transfer.atlas import AnisotropicComposer, TaskVector, learn_composition
from representation.transfer.neural_cross_subject import (
    CrossSubjectModel,
    FitOptions,
    SubjectData,
    SubjectLoader,
    fit_joint,
    fit_known_subject,
    fit_new_subject,
    retrieval_top1,
)
from representation.transfer.neural_cross_subject.recordings import SubjectBatch
from representation.transfer.neural_cross_subject.training import subject_losses, weighted_sum
from sim.layout import Layout, ObjectLayout
from sim.rendering import OffscreenRenderer, choose_gl_backend
from sim.scene import Scene
from sim.suites import NOMINAL

ENCODER = Path("policies/checkpoints/rdt_small/image_tower")
TABLE_ROBOT = "aloha"  # whose scene, with the arms at home, every picture shows
SPAWN_LOW, SPAWN_HIGH = (0.38, 0.03), (0.58, 0.20)  # m; all arms reach it
ABOVE = (0.08, 0.22)  # m, of the tool over the table at the end of its way
TILT_RAD, OTHER_JOINTS_RAD = 0.35, 0.15
WAY_S, MOMENT_S, EARLIEST = 2.0, 0.05, 0.5
FARTHEST_M = 0.005  # of a solution from its target
ADAPTER, TUNED, SCRATCH, RIDGE = "adapter only", "all trained on", "from scratch", "ridge regression"
COMPOSED, COMPOSED_LR = "decoder composed", 0.05  # the rate is that of `policies.compose`
LARGEST_RATIO = 0.7  # of the errors with an adapter and from scratch, at `CLAIMED_SAMPLES`
CLAIMED_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class NewRobotSettings:
    """How much is drawn and trained.

    Attributes:
        known: robots that learn first, in groups that are separated by a slash.
        new: the robot that comes then.
        samples: of it, that are trained with.
        joint_samples: of each known robot.
        tested: samples of each robot that are measured on.
        steps: rounds of training of the known robots.
        new_steps: of the new one.
        batch: samples of a batch.
        lr: peak learning rate.
        hidden: width of the common space.
        seeds: of weights and orders; each takes other samples of the new robot.
        threads: of torch.
    """

    known: tuple[str, ...] = ("panda/aloha/xarm7",)
    new: str = "ur5e"
    samples: tuple[int, ...] = (50, 100, 200)
    joint_samples: int = 600
    tested: int = 100
    steps: int = 600
    new_steps: int = 200
    batch: int = 64
    lr: float = 3e-3
    hidden: int = 64
    seeds: int = 3
    threads: int = 1


class Tables:
    """Draws tables and their embeddings."""

    def __init__(self) -> None:
        self._tower = EncoderTower.from_directory(ENCODER)
        self._robot = get_robot(TABLE_ROBOT)
        self._scene = Scene(self._robot)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], Tensor]:
        """Places (n, 2) of a cube, m, and the tokens (n, N, D) of its pictures."""
        places, pictures = rng.uniform(SPAWN_LOW, SPAWN_HIGH, (count, 2)), []
        side = self._tower.image_size
        with OffscreenRenderer(self._scene.model, side, side, "fast") as renderer:
            for x, y in places:
                cube = ObjectLayout("cube", "red", 0.021, (float(x), float(y)), float(rng.uniform(-0.3, 0.3)))
                self._scene.arrange(Layout((cube,), {}), NOMINAL, self._robot.home)
                pictures.append(renderer.render(self._scene.data, self._scene.cameras.fixed)[0])
        return places, scene_tokens(self._tower, np.stack(pictures))


def signals_above(robot: str, places: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Positions and velocities of a robot's joints (n, 2 joints), each at a moment of a way to above a place (n, 2).

    The first arm's tool goes from home to a drawn height and tilt; fingers and other arms stand as they like.
    """
    spec = get_robot(robot)
    kinematics, found = Kinematics(spec), []
    home = kinematics.forward(spec.home)
    others = np.setdiff1d(np.arange(len(spec.joint_names)), spec.arms[0].joints)
    for place in tqdm(places, desc=robot, unit="sample"):
        while True:
            goal, turn = np.array([*place, rng.uniform(*ABOVE)]), rng.uniform(-TILT_RAD, TILT_RAD, 3)
            share = rng.uniform(EARLIEST, 1.0)
            start = np.array(spec.home)
            start[others] += rng.uniform(-OTHER_JOINTS_RAD, OTHER_JOINTS_RAD, len(others))
            start = np.clip(start, spec.lower, spec.upper)
            targets = [_on_the_way(home, goal, turn, part) for part in (share, share + MOMENT_S / WAY_S)]
            q = kinematics.inverse(targets[0], start)
            after = kinematics.inverse(targets[1], q)
            missed = np.linalg.norm(kinematics.forward(q)[:3, 3] - targets[0][:3, 3])
            if missed < FARTHEST_M:
                break
        found.append(np.concatenate([q, (after - q) / MOMENT_S]))
    return np.stack(found)


def _on_the_way(
    home: NDArray[np.float64], goal: NDArray[np.float64], turn: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """The tool's pose (4, 4) at a share of the way from home to a goal (3,), turned by a rotation vector (3,) there."""
    pose = home.copy()
    pose[:3, 3] = (1 - share) * home[:3, 3] + share * goal
    pose[:3, :3] = Rotation.from_rotvec(share * turn).as_matrix() @ home[:3, :3]
    return pose


def draw_samples(robot: str, tables: Tables, count: int, rng: np.random.Generator) -> SubjectData:
    """Samples of a robot, each of a table of its own."""
    places, tokens = tables.draw(count, rng)
    signals = signals_above(robot, places, rng)
    joints = signals.shape[1] // 2
    pose = torch.from_numpy(tool_pose(Kinematics(get_robot(robot)), signals[:, :joints]))
    return SubjectData(torch.from_numpy(signals).float(), tokens, None, {POSE: pose})


def ridge_score(train: SubjectData, test: SubjectData) -> Score:
    """What regressions of the same samples tell."""

    def told(targets: Tensor) -> Tensor:
        model = make_pipeline(StandardScaler(), Ridge(1e-3 * len(train)))
        return torch.from_numpy(model.fit(train.signals, targets).predict(test.signals)).float()

    centre, tokens = train.tokens.mean(dim=0), told(train.tokens.flatten(1)).reshape(test.tokens.shape)
    found = retrieval_top1(tokens - centre, test.tokens - centre)
    return Score(*pose_errors(told(train.values[POSE]), test.values[POSE]), found)


def joint_model(
    names: Sequence[str], data: Mapping[str, SubjectData], settings: NewRobotSettings, seed: int
) -> CrossSubjectModel:
    """Known robots under one decoder."""
    dims = {name: data[name].signals.shape[1] for name in names}
    model = fresh_model(data[names[0]], dims, settings.hidden, seed)
    loaders = {name: SubjectLoader(data[name], settings.batch, seed) for name in names}
    fit_joint(model, loaders, fit_options(loaders, settings.steps, settings.lr, seed))
    return model


def onboard(
    model: CrossSubjectModel | None,
    train: SubjectData,
    test: SubjectData,
    method: str,
    settings: NewRobotSettings,
    seed: int,
) -> Score:
    """Measure the new robot after one of the methods; a model is copied, and none stands for no other robots."""
    name, loader = settings.new, SubjectLoader(train, settings.batch, seed)
    options = fit_options({name: loader}, settings.new_steps, settings.lr, seed)
    if model is None:
        model = fresh_model(train, {name: train.signals.shape[1]}, settings.hidden, seed)
        fit_joint(model, {name: loader}, options)
    else:
        model = copy.deepcopy(model)
        fit_new_subject(model, loader, name, freeze_decoder=method == ADAPTER, options=options)
    return score(model, name, test)


class SubjectLoss(nn.Module):
    """The loss of a subject's batch as a network, so that what is composed is all that the loss goes through.

    Args:
        model: of the subject.
        name: of the subject.
        options: of the loss, as it is at the end of a training.
    """

    def __init__(self, model: CrossSubjectModel, name: str, options: FitOptions) -> None:
        super().__init__()
        self.model, self._name, self._options = model, name, options

    def forward(self, batch: SubjectBatch) -> Tensor:
        """Scalar."""
        generator, options = torch.Generator().manual_seed(self._options.seed), self._options
        losses = subject_losses(self.model, self._name, batch, options, options.epochs - 1, generator)
        return weighted_sum(losses, options, generator)


def tuned_models(
    model: CrossSubjectModel, data: Mapping[str, SubjectData], settings: NewRobotSettings, seed: int
) -> list[CrossSubjectModel]:
    """Copies of a model, each fine-tuned on one of its robots."""
    found = []
    for name, own in data.items():
        tuned, loader = copy.deepcopy(model), SubjectLoader(own, settings.batch, seed)
        fit_known_subject(tuned, loader, name, fit_options({name: loader}, settings.new_steps, settings.lr, seed))
        found.append(tuned)
    return found


def compose(
    model: CrossSubjectModel,
    tuned: Sequence[CrossSubjectModel],
    train: SubjectData,
    test: SubjectData,
    settings: NewRobotSettings,
    seed: int,
) -> Score:
    """Measure the new robot after an adapter, and then coefficients of what fine-tuning changed, were learned for it.

    Args:
        model: of the known robots; it is copied.
        tuned: copies of it that were fine-tuned.
        train: samples of the new robot.
        test: others.
        settings: steps of the adapter, and as many of the coefficients.
        seed: of orders.
    """
    name, loader = settings.new, SubjectLoader(train, settings.batch, seed)
    options = fit_options({name: loader}, settings.new_steps, settings.lr, seed)
    shared = [key for key, _ in model.named_parameters() if not key.startswith("adapters.")]
    vectors = [TaskVector.from_state_dicts(model.state_dict(), one.state_dict(), shared) for one in tuned]
    model = copy.deepcopy(model)
    fit_new_subject(model, loader, name, options=options)
    composer = AnisotropicComposer(
        SubjectLoss(model, name, options),
        [TaskVector({f"model.{key}": delta for key, delta in one.deltas.items()}) for one in vectors],
    )
    batches = list(loader)
    learn_composition(composer, lambda network, batch: network(batch), batches, COMPOSED_LR, steps=settings.new_steps)
    model.load_state_dict({key.removeprefix("model."): v for key, v in composer.merged_state_dict().items()})
    return score(model, name, test)


def run(settings: NewRobotSettings) -> dict[str, Any]:
    """Measure everything; the result as plain data.

    Raises:
        RuntimeError: OpenGL is missing.
    """
    began = time.monotonic()
    choose_gl_backend()
    torch.set_num_threads(settings.threads)
    groups = [group.split("/") for group in settings.known]
    rng, tables = np.random.default_rng(0), Tables()
    data = {
        name: draw_samples(name, tables, settings.joint_samples + settings.tested, rng)
        for name in dict.fromkeys(name for group in groups for name in group)
    }
    most = max(settings.samples)
    new = draw_samples(settings.new, tables, settings.seeds * most + settings.tested, rng)
    test = new.subset(torch.arange(settings.seeds * most, len(new)))
    first, held = torch.arange(settings.joint_samples + settings.tested).split(settings.joint_samples)
    scores: dict[str, list[list[Score]]] = {}
    known: dict[str, list[Score]] = {}
    for seed in tqdm(range(settings.seeds), "seeds", unit="seed"):
        parts = [new.subset(torch.arange(seed * most, seed * most + count)) for count in settings.samples]
        found = {SCRATCH: [onboard(None, part, test, SCRATCH, settings, seed) for part in parts]}
        found[RIDGE] = [ridge_score(part, test) for part in parts]
        for group, label in zip(groups, settings.known, strict=True):
            own = {name: data[name].subset(first) for name in group}
            model = joint_model(group, own, settings, seed)
            for name in group:
                known.setdefault(f"{label}: {name}", []).append(score(model, name, data[name].subset(held)))
            for method in (ADAPTER, TUNED):
                found[f"{method}, after {label}"] = [
                    onboard(model, part, test, method, settings, seed) for part in parts
                ]
            tuned = tuned_models(model, own, settings, seed)
            found[f"{COMPOSED}, after {label}"] = [compose(model, tuned, part, test, settings, seed) for part in parts]
        for name, row in found.items():
            scores.setdefault(name, []).append(row)
    return {
        "benchmark": "new_robot",
        "settings": asdict(settings),
        "scores": {name: [[one._asdict() for one in row] for row in rows] for name, rows in scores.items()},
        "known": {name: [one._asdict() for one in row] for name, row in known.items()},
        "seconds": round(time.monotonic() - began, 1),
        "machine": describe_machine(),
        "libraries": library_versions(),
    }


def claims(result: Mapping[str, Any]) -> list[Claim]:
    """At `CLAIMED_SAMPLES`: the tool's error with an adapter, over that from scratch, is at most `LARGEST_RATIO`."""
    place = list(result["settings"]["samples"]).index(CLAIMED_SAMPLES)

    def errors(name: str) -> NDArray[np.float64]:
        return np.array([row[place]["tool_m"] for row in result["scores"][name]])

    found = []
    for label in result["settings"]["known"]:
        ratio = errors(f"{ADAPTER}, after {label}") / errors(SCRATCH)
        asked = (-LARGEST_RATIO,) * len(ratio)
        what = f"error of the tool, adapter after {label} over scratch, {CLAIMED_SAMPLES} samples, negated"
        found.append(Claim(what, "asked, negated", tuple(-ratio), asked))
    return found


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for a terminal."""
    return "\n".join(
        [f"| {' | '.join(row)} |" for row in [_header(result), *_rows(result)]] + ["", *_known(result), *_told(result)]
    )


def _header(result: Mapping[str, Any]) -> list[str]:
    counts = result["settings"]["samples"]
    return ["", *(f"mm, {count}" for count in counts), *(f"found, {count}" for count in counts)]


def _rows(result: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, by_seed in result["scores"].items():
        cells = [name]
        for key, factor, digits in (("tool_m", 1e3, 1), ("retrieval", 1.0, 3)):
            for place in range(len(result["settings"]["samples"])):
                values = tuple(factor * row[place][key] for row in by_seed)
                mean, low, high = Claim(name, "none", values, (0.0,) * len(values)).difference()
                cells.append(f"{mean:.{digits}f} ± {(high - low) / 2:.{digits}f}")
        rows.append(cells)
    return rows


def _known(result: Mapping[str, Any]) -> list[str]:
    """How the known robots do."""
    return [
        f"{name}: {1e3 * np.mean([one['tool_m'] for one in row]):.1f} mm, "
        f"{np.mean([one['retrieval'] for one in row]):.3f} found"
        for name, row in result["known"].items()
    ]


def _told(result: Mapping[str, Any]) -> list[str]:
    return [
        f"{claim.claim}: {np.mean(claim.ours):.3f}, asked {claim.baseline[0]:g}: {'yes' if claim.holds() else 'NO'}"
        for claim in claims(result)
    ]


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    header = _header(result)
    table = [header, ["---", *["---:"] * (len(header) - 1)], *_rows(result)]
    machine = result["machine"]
    return _PAGE.format(
        table="\n".join(f"| {' | '.join(row)} |" for row in table),
        known_robots="\n".join(f"- {line}" for line in _known(result)),
        told="\n".join(f"- {line}" for line in _told(result)),
        conditions=f"{result['seconds']:.0f} s; {machine['cpu']}, {machine['cores']} cores",
        **result["settings"],
    )


_PAGE = """# A new robot with few samples

Where is the tool, and which picture does the camera see? A new {new} learns it from few samples of its own, after other
robots have learned from {joint_samples} each. Mean error of the tool's position in millimetres, and share of {tested}
held-out samples whose own picture is found among all {tested}, by number of samples; means over {seeds} seeds, ± half
the 95 % interval by Student's t.

{table}

The known robots themselves, on held-out samples:

{known_robots}

Asked of it:

{told}

How to read it:

- Signals are positions and velocities of all joints and fingers of a robot, of other arms too. Targets mean the same
  for all robots: the pose of the first arm's tool in the base frame, and the embedding of the picture of the table,
  which the camera takes before any arm moves, by the encoder of the shipped policy for two arms.
- `adapter only` trains the new robot's adapter and nothing else, `all trained on` the decoder too, at a tenth of the
  rate; `from scratch` is the same network with the same steps ({new_steps}) and samples, as ridge regression sees too.
- `decoder composed` (system `atlas`) trains the adapter, and then a coefficient for each weight, bias and norm of what
  {new_steps} steps of fine-tuning on each known robot had changed in all but the adapters, in as many steps again.
- An arm moves on a straight way to above a cube, tilted by up to 20 degrees about each axis; the other arm of two and
  all fingers stand as they like. Nothing is simulated but kinematics, and the readings are exact.

{conditions}. Run it again with `python -m sim.bench new_robot --write`.
"""
