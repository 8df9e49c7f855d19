"""Rastrigin's function: a bowl full of dents."""

import math

import torch

from thalweg.landscape import Landscape, of_coordinates


def rastrigin(depth=10.0) -> Landscape:
    """A bowl plus a wave in each coordinate."""
    return Landscape(
        name="rastrigin",
        value=of_coordinates(
            lambda x, y: 2 * depth + sum(c**2 - depth * torch.cos(2 * math.pi * c) for c in (x, y))  # type: ignore[misc]
        ),
        start=(-3.3, 2.7),
        domain=((-4.5, 4.5), (-4.5, 4.5)),
        minima=((0.0, 0.0),),
        lowest=0.0,
        formula="2 depth + x² - depth cos 2πx + y² - depth cos 2πy",
        summary="A local minimum near every pair of whole numbers.",
        teaches="Gradients say nothing about the bowl: only long steps or much momentum leave a dent.",
        source="Rastrigin 1974; Mühlenbein, Schomisch and Born 1991",
    )
