"""An associative memory: eight keys, eight values, asked for as often as words are (Zipf)."""

import torch
from torch import Tensor

from thalweg.landscape import Landscape

ITEMS = 8


def associative_memory(exponent=1.0) -> Landscape:
    """Cross-entropy of reading value i from W key_i, where item i is asked for with frequency i^-exponent."""
    random = torch.Generator().manual_seed(0)
    keys, _ = torch.linalg.qr(torch.randn(ITEMS, ITEMS, generator=random, dtype=torch.float64))
    frequency = torch.arange(1, ITEMS + 1, dtype=torch.float64) ** -exponent
    frequency = frequency / frequency.sum()

    def value(w: Tensor) -> Tensor:
        scores = w @ keys.T  # column i: what W answers to key i
        right = scores.diagonal(dim1=-2, dim2=-1)
        return (frequency * (torch.logsumexp(scores, -2) - right)).sum(-1)

    return Landscape(
        name="associative_memory",
        value=value,
        start=torch.zeros(ITEMS, ITEMS).tolist(),
        lowest=0.0,
        formula="Σ fᵢ (-log softmax(W kᵢ)ᵢ), fᵢ ~ i^-exponent",
        summary="An 8 x 8 matrix that stores eight facts, the first asked for eight times as often as the last.",
        teaches="Frequent facts grow first: a few singular values run ahead. Rules that act on the whole matrix raise "
        "all of them together. The loss has no minimum, it falls towards 0 for ever.",
        source="Cabannes, Dohmatob and Bietti 2023, arXiv:2310.02984",
        coordinates=("W",),
    )
