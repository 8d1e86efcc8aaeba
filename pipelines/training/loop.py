"""The training loop of one process: steps, logs, saves, validation."""

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import gemma3n
from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.lora import Adapter
from gemma3n.model import Gemma3n
from gemma3n.named import checkpoint_folder
from gemma3n.placement import Ple
from gemma3n.tokenizer import Tokenizer
from gemma3n.trainable import Trainable
from pipelines.settings import TrainJob, Trains
from pipelines.training.adaptation import Adaptation
from pipelines.training.augment import SLOWEST
from pipelines.training.batch import Batch, Collator
from pipelines.training.device import products
from pipelines.training.examples import Example, Kind, fitting, longest_clip, read_examples
from pipelines.training.files import ADAPTER, CHECKPOINT, HEADS, STATE
from pipelines.training.heads import heads_scores
from pipelines.training.log import Log
from pipelines.training.objective import Objective
from pipelines.training.optimizer import (
    average_gradients,
    choose_trained,
    learning_rate,
    make_optimizer,
    running_mean,
)
from pipelines.training.pieces import Resplit
from pipelines.training.sampler import Sampler
from pipelines.training.sizes import NestedSizes
from pipelines.training.state import load_state, save_state
from pipelines.training.validate import by_group, validate
from stages.mel import mel_config
from stages.resize import checkpoint_resolution

logger = logging.getLogger(__name__)

_LOG_S = 10.0  # between two lines
_CLASS_LIST = "classes"  # metadata of the saved heads
_CLASSES = 256  # most frequent captions that the image classifier knows


class Loop:
    """A training run in one of its processes.

    Args:
        job: settings.
        rank: number of this process; 0 logs, saves and validates.
        device: where it computes, from `training_device`.
    """

    def __init__(self, job: TrainJob, rank: int, device: torch.device) -> None:
        self.job, self.rank, self.world = job, rank, job.processes
        self.device, formats = device, products(job.precision, device)
        self.output, init = Path(job.output), checkpoint_folder(job.init)
        self.companions = init
        torch.manual_seed(job.seed)
        config = Config.from_folder(init)
        self.model = Trainable(config, job.seed)
        tokenizer = Tokenizer(init, config)
        if any(init.glob("*.safetensors")):
            self.model.load(Checkpoint(init))
        self.model.act_rounded(job.qat.weights, job.qat.ple_bits)
        if job.gradient_checkpointing:
            self.model.recompute()
        self.adapter = Adaptation(self.model, job) if job.trains is Trains.lora else None
        self.collate = Collator(
            tokenizer,
            mel_config(init),
            checkpoint_resolution(init),
            {Kind.audio: job.audio_prompt, Kind.image: job.image_prompt},
            job.augment,
            job.batch.wrong,
            Resplit(tokenizer, job.batch.split),
            job.batch.image_side,
            job.batch.pack,
        )
        slowest = SLOWEST if job.augment else 1.0
        examples = fitting(read_examples(job.train), config, slowest)
        if job.batch.join_seconds > (longest := longest_clip(config, slowest)):
            raise SettingsError(
                f"batch.join_seconds={job.batch.join_seconds}, but a prompt of this model holds "
                f"{longest:.1f} s of clips that augmentation may slow down. Lower it."
            )
        captions = Counter(e.answer for e in examples if e.kind is Kind.image and not e.asks)
        classes = [answer for answer, _ in captions.most_common(_CLASSES)]
        self.objective = Objective(self.model, job.loss, classes, formats)
        if (heads := init.parent / HEADS).is_file():
            self._take_heads(heads)
        self.samplers = _samplers(job, examples)
        self.sizes = NestedSizes(self.model, config, job.joint, job.seed)
        choose_trained(self.model, job.trains, job.frozen)
        # A model that stays as it is needs no place in the state.
        changing = self.model if self.adapter is None else self.adapter.added
        self.modules = nn.ModuleDict({"model": changing, "objective": self.objective})
        self.model.place(self.device)
        self.objective.to(self.device)
        if self.adapter is not None:
            self.adapter.added.to(self.device)
        self.optimizer = make_optimizer(self.modules, job.rate)
        self.mean: AveragedModel | None = None
        self.state = nn.ModuleDict({"trained": self.modules})
        if job.rate.average:
            self.mean = running_mean(self.modules, job.rate.average)
            self.state["mean"] = self.mean
        self.step, self.seconds = 0, 0.0
        if rank == 0:
            self.log = Log(self.output, job.steps)

    def run(self) -> bool:
        """Train until the last step, or until `minutes` are over.

        Returns:
            Whether all steps are done.
        """
        progress = load_state(self.output / STATE, self.state, self.optimizer)
        if progress is not None:
            self.step, self.seconds = progress["step"], progress["seconds"]
            logger.info("resumed at step %d", self.step)
            if self.step >= self.job.steps:
                return True
        elif self.job.validate_first:
            self._validate()
        began = saved = logged = time.monotonic()
        earlier, shown = self.seconds, 0
        since: dict[str, float] = defaultdict(float)
        for batches in self._read_ahead():
            losses = self._take_step(batches)
            self.step, shown = self.step + 1, shown + 1
            now = time.monotonic()
            self.seconds = earlier + now - began
            for name, loss in losses.items():
                since[name] += loss
            over = self.job.minutes is not None and now - began > self.job.minutes * 60
            over = self._agree(over)
            if self.rank == 0 and (now - logged > _LOG_S or self.step == self.job.steps):
                left = (self.job.steps - self.step) * (now - logged) / shown
                rate = learning_rate(self.step, self.job.steps, self.job.rate)
                means = {name: total / shown for name, total in since.items()}
                self.log.progress(self.step, self.seconds, left, {"rate": rate, **means})
                shown, logged = 0, now
                since.clear()
            if self.rank == 0 and now - saved > self.job.save_minutes * 60:
                self._save()
                saved = time.monotonic()
            every = self.job.validate_steps
            if self.step == self.job.steps or (every and self.step % every == 0):
                self._validate()
            if over:
                break
        if self.rank == 0:
            self._save()
        return self.step >= self.job.steps

    def _take_step(self, batches: list[Batch]) -> dict[str, float]:
        """One change of the weights: all its batches, then the optimizer."""
        # Dropout draws what step and process say, on any device: no generator's state to save.
        torch.manual_seed((self.job.seed * 1_000_003 + self.step) * self.world + self.rank)
        shown: dict[str, float] = defaultdict(float)
        for number, batch in enumerate(one.to(self.device) for one in batches):
            sizes = self.sizes.of(self.step * len(batches) + number)
            losses = self.objective(self.model, batch, sizes)
            share = 1 / self.job.batch.accumulate
            # A batch that reaches no weight in training is only shown.
            if learned := [loss for loss in losses.values() if loss.requires_grad]:
                (torch.stack(learned).sum() * share).backward()
            for name, loss in losses.items():
                shown[f"{batch.kind.value} {name}"] += loss.item() * share
        trained = [p for p in self.modules.parameters() if p.requires_grad]
        if self.world > 1:
            average_gradients(trained, self.world)
        norm = nn.utils.clip_grad_norm_(trained, self.job.rate.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.job.steps, self.job.rate)
        self.optimizer.step()
        self.model.clip_mixing()
        self.optimizer.zero_grad(set_to_none=True)
        if self.mean is not None:
            self.mean.update_parameters(self.modules)
        return {**shown, "gradient": float(norm)}

    def _read_ahead(self) -> Iterator[list[Batch]]:
        """The batches of each step, one step ahead."""
        with ThreadPoolExecutor(1, "read") as thread:
            coming = thread.submit(self._batches, self.step)
            for step in range(self.step, self.job.steps):
                batches = coming.result()
                coming = thread.submit(self._batches, step + 1)
                yield batches

    def _batches(self, step: int) -> list[Batch]:
        batches = []
        for part in range(self.job.batch.accumulate):
            number = (step * self.job.batch.accumulate + part) * self.world + self.rank
            for sampler in self.samplers.values():
                batches.append(self.collate(sampler.batch(number), str(number)))
        return [batch.pinned() for batch in batches] if self.device.type == "cuda" else batches

    def _agree(self, over: bool) -> bool:
        """All processes stop after the same step."""
        if self.world == 1:
            return over
        flag = torch.tensor([float(over)], device=self.device)
        dist.broadcast(flag, 0)
        return bool(flag.item())

    def _save(self) -> None:
        progress = {"step": self.step, "seconds": self.seconds}
        save_state(self.output / STATE, self.state, self.optimizer, progress)
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        changed, objective = self._result()
        if isinstance(changed, Adapter):
            assert self.adapter is not None
            self.adapter.save(changed, self.output / ADAPTER)
        else:
            changed.save(self.output / CHECKPOINT, self.companions)
        heads = {n: t.cpu().contiguous() for n, t in objective.state_dict().items()}
        classes = json.dumps(list(objective.classify.places))
        save_file(heads, self.output / HEADS, {_CLASS_LIST: classes})

    def _result(self) -> tuple[Trainable | Adapter, Objective]:
        """What changed, and heads, as they are saved: the running mean, if there is one."""
        modules = self.modules if self.mean is None else cast(nn.ModuleDict, self.mean.module)
        return cast(Trainable | Adapter, modules["model"]), cast(Objective, modules["objective"])

    def _take_heads(self, path: Path) -> None:
        """Heads of an earlier run, where they are of the same shape and mean the same."""
        own = self.objective.state_dict()
        with safe_open(path, "pt") as saved:
            classes = json.loads((saved.metadata() or {}).get(_CLASS_LIST, "[]"))
            known = classes == list(self.objective.classify.places)
            for name in set(own) & set(saved.keys()):
                tensor = saved.get_tensor(name)
                if own[name].shape == tensor.shape and (known or not name.startswith("classify.")):
                    own[name] = tensor
        self.objective.load_state_dict(own)

    def _load(self) -> Gemma3n:
        """What was saved, loaded as any job would, rounded if that is what it trains for."""
        qat = self.job.qat
        precision = "float32" if qat.weights is None else qat.weights.value
        ple, device = Ple("resident", qat.ple_bits), str(self.device)
        adapter = None if self.adapter is None else self.output / ADAPTER
        model = self.output / CHECKPOINT if adapter is None else self.job.init
        return gemma3n.load(model, precision=precision, device=device, ple=ple, adapter=adapter)

    def _validate(self) -> None:
        if self.rank == 0 and self.job.dev:
            self._save_checkpoint()
            plain = replace(self.collate, augment=False, wrong=0.0, resplit=None)
            collate = replace(plain, image_side=None, pack=False)
            dev = fitting(read_examples(self.job.dev), self.model.config)
            groups = by_group(dev, self.job.validate_rows)
            changed, objective = self._result()
            model = changed if isinstance(changed, Trainable) else self.model
            scores = heads_scores(model, objective, groups, collate)
            if self.job.loss.answer:
                scores |= validate(self._load(), groups, collate, self.sizes.names)
            self.log.scores(self.step, scores)
        if self.world > 1:
            dist.barrier()


def _samplers(job: TrainJob, examples: list[Example]) -> dict[Kind, Sampler]:
    sizes = {
        Kind.audio: job.batch.audio_seconds,
        Kind.image: job.batch.images,
        Kind.text: job.batch.texts,
    }
    samplers = {}
    for kind, size in sizes.items():
        some = [example for example in examples if example.kind is kind]
        if not some or not size:
            continue
        if kind is Kind.audio and any(not example.seconds for example in some):
            raise SettingsError(
                "a clip in the training manifests has no `seconds`; batches are cut by length. "
                "Add the column."
            )
        cost = (lambda e: e.seconds) if kind is Kind.audio else (lambda _: 1.0)
        join = job.batch.join_seconds if kind is Kind.audio else 0.0
        samplers[kind] = Sampler(some, cost, size, job.seed, join)
    if not samplers:
        raise SettingsError("nothing to learn from: every kind has batch size 0 or no rows.")
    return samplers
