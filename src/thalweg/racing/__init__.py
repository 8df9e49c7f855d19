"""Races: optimizers side by side on a landscape, each at the best of its learning rates. Data first, then pictures."""
