"""Train the character model: ``python -m systolith.models.charlm.train --out DIR``.

Writes ``weights.safetensors``, ``tokenizer.json``, ``heldout.txt``, ``training_log.json`` and
``manifest.json``. Needs PyTorch (``pip install 'systolith[train]'``) and about three minutes of one
processor. The same interpreter, PyTorch and processor give the same bytes.
"""

import argparse
import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from systolith.models.charlm import corpus as corpora
from systolith.models.charlm.checkpoint import HELDOUT, TOKENIZER, WEIGHTS
from systolith.models.charlm.config import ModelConfig, Tokenizer
from systolith.models.charlm.files import DATA, ModelFileError, sha256, write_json
from systolith.models.charlm.manifest import Manifest
from systolith.models.charlm.torch_llama import initial_weights, load_torch, logits
from systolith.models.llama import Model, loss
from systolith.models.ops import FloatArray

__all__ = ["Recipe", "main", "train"]

LOG = "training_log.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Settings of a training run.

    Parameters
    ----------
    steps, warmup
        Number of optimiser steps, and how many of them raise the learning rate from zero.
    batch
        Sequences per step, each one context long.
    learning_rate
        Peak rate of AdamW; it falls to a tenth of that along a cosine.
    weight_decay
        Decay of the matrices; the norm gains are not decayed.
    beta1, beta2
        Averaging of the first and second moment.
    clip
        Largest norm of the gradient.
    seed
        Seed of the first weights and of the batches.
    threads
        Threads of PyTorch. Part of the recipe because it changes the order of sums.
    log_every
        Steps between two entries of the log.
    """

    steps: int = 4500
    warmup: int = 50
    batch: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    seed: int = 1
    threads: int = 1
    log_every: int = 100

    def rate(self, step: int) -> float:
        """Return the learning rate of step number ``step``, from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def train(
    config: ModelConfig, recipe: Recipe, text: NDArray[np.int64], heldout: NDArray[np.int64]
) -> tuple[dict[str, FloatArray], list[dict[str, float]]]:
    """Train from scratch on the ids ``text`` [T]; returns the tensors and the log.

    The held-out loss in the log is for the reader and decides nothing: no step is chosen by it.
    """
    torch = load_torch()
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(recipe.seed)
    weights = {
        name: torch.from_numpy(value).requires_grad_()
        for name, value in initial_weights(config, recipe.seed).items()
    }
    optimiser = torch.optim.AdamW(
        [
            {
                "params": [w for w in weights.values() if w.ndim == 2],
                "weight_decay": recipe.weight_decay,
            },
            {"params": [w for w in weights.values() if w.ndim == 1], "weight_decay": 0.0},
        ],
        betas=(recipe.beta1, recipe.beta2),
    )

    def cross_entropy(given: NDArray[np.int64], wanted: NDArray[np.int64]) -> Any:
        scores = logits(torch, config, weights, torch.from_numpy(given))
        return torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), torch.from_numpy(wanted).flatten()
        )

    def evaluate() -> float:
        count = (heldout.size - 1) // config.context * config.context
        with torch.no_grad():
            given, wanted = heldout[:count], heldout[1 : count + 1]
            shape = (-1, config.context)
            return float(cross_entropy(given.reshape(shape), wanted.reshape(shape)).item())

    log: list[dict[str, float]] = []
    recent: list[float] = []
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, TextColumn("{task.fields[loss]}"), console=console) as progress:
        task = progress.add_task("", total=recipe.steps, loss="")
        for step in range(recipe.steps):
            starts = rng.integers(0, text.size - config.context, recipe.batch)
            rows = text[starts[:, None] + np.arange(config.context + 1)]
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step)
            value = cross_entropy(rows[:, :-1].copy(), rows[:, 1:].copy())
            optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(list(weights.values()), recipe.clip)
            optimiser.step()
            recent.append(value.item())
            if (step + 1) % recipe.log_every == 0 or step + 1 == recipe.steps:
                entry = {"train_loss": float(np.mean(recent)), "heldout_loss": evaluate()}
                log.append({"step": step + 1} | {k: round(v, 5) for k, v in entry.items()})
                recent.clear()
                progress.update(task, loss="loss {heldout_loss:.3f}".format(**entry))
            progress.advance(task)
    return {name: value.detach().numpy() for name, value in weights.items()}, log


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns the exit status."""
    parser = argparse.ArgumentParser(description="Train the character model of Systolith.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="optimiser steps")
    options = parser.parse_args(arguments)
    try:
        manifest = _run(options.out, Recipe(steps=options.steps))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out / WEIGHTS}: held-out loss {manifest.heldout_loss:.4f} nats/character")
    return 0


def _run(out: Path, recipe: Recipe) -> Manifest:
    corpus = corpora.load()
    _warn_if_other_text(corpus)
    config, tokenizer = ModelConfig(), Tokenizer()
    heldout = tokenizer.encode(corpus.heldout)
    tensors, log = train(config, recipe, tokenizer.encode(corpus.train), heldout)

    out.mkdir(parents=True, exist_ok=True)
    weights = safetensors.numpy.save(tensors)
    (out / WEIGHTS).write_bytes(weights)
    (out / HELDOUT).write_bytes(corpus.heldout.encode("ascii"))
    tokenizer.save(out / TOKENIZER)
    write_json(out / LOG, {"unit": "nats per character", "entries": log})
    manifest = Manifest(
        model=config,
        parameters=config.parameters,
        weights_bytes=len(weights),
        weights_sha256=sha256(weights),
        tokenizer_sha256=sha256((out / TOKENIZER).read_bytes()),
        corpus_characters=len(corpus.text),
        corpus_sha256=corpus.sha256,
        corpus_python=corpus.python,
        heldout_characters=len(corpus.heldout),
        heldout_sha256=sha256(corpus.heldout.encode("ascii")),
        heldout_loss=round(loss(Model(config, tensors), heldout), 5),
        recipe={"optimiser": "AdamW", "torch": load_torch().__version__}
        | dataclasses.asdict(recipe),
    )
    manifest.save(out)
    return manifest


def _warn_if_other_text(corpus: corpora.Corpus) -> None:
    try:
        known = Manifest.load(DATA)
    except ModelFileError:
        return  # the very first run has nothing to compare with
    mismatch = corpora.compare(corpus, sha256=known.corpus_sha256, python=known.corpus_python)
    if mismatch:
        print(f"warning: {mismatch}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
