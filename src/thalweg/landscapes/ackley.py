"""Ackley's function: a nearly flat, dented plain around a funnel."""

import math

import torch

from thalweg.landscape import Landscape


def ackley() -> Landscape:
    """A funnel of the distance to the origin, with waves on it."""

    def value(p: torch.Tensor) -> torch.Tensor:
        distance = torch.linalg.vector_norm(p, dim=-1) / math.sqrt(2)  # its slope at 0 is 0, not NaN
        waves = torch.cos(2 * math.pi * p).mean(-1)
        return 20 - 20 * torch.exp(-0.2 * distance) + math.e - torch.exp(waves)

    return Landscape(
        name="ackley",
        value=value,
        start=(-2.7, 2.3),
        domain=((-4.0, 4.0), (-4.0, 4.0)),
        minima=((0.0, 0.0),),
        lowest=0.0,
        formula="20 - 20 exp(-0.2 √((x² + y²)/2)) + e - exp((cos 2πx + cos 2πy)/2)",
        summary="A funnel with dents, and a kink at its bottom.",
        teaches="Steps of a fixed length roll over the dents; steps that shrink with the slope stop in the first one.",
        source="Ackley 1987, A Connectionist Machine for Genetic Hillclimbing",
    )
