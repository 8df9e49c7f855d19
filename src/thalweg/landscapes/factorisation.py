"""Matrix factorisation: U Uᵀ shall be M, and at U = 0 nothing pulls."""

import torch
from torch import Tensor

from thalweg.landscape import Landscape

EIGENVALUES = (4.0, 2.0, 1.0)


def factorisation(size=6, scale=0.01) -> Landscape:
    """A quarter of the squared distance of U Uᵀ (U is size x 3) to a matrix of rank 3, from near the saddle at 0."""
    if size < len(EIGENVALUES):
        raise ValueError(f"size is {size!r}; it must be at least {len(EIGENVALUES)}, the rank.")
    random = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(size, len(EIGENVALUES), generator=random, dtype=torch.float64))
    target = basis @ torch.diag(torch.tensor(EIGENVALUES, dtype=torch.float64)) @ basis.T
    start = scale * torch.randn(size, len(EIGENVALUES), generator=random, dtype=torch.float64)

    def value(u: Tensor) -> Tensor:
        return 0.25 * (u @ u.transpose(-1, -2) - target).square().sum((-1, -2))

    return Landscape(
        name="factorisation",
        value=value,
        start=start.tolist(),
        lowest=0.0,
        formula="‖U Uᵀ - M‖² / 4",
        summary="A matrix of rank 3 to be written as U Uᵀ.",
        teaches="U = 0 is a saddle. Gradient descent learns one singular value after the other, the largest first, "
        "with plateaus in between.",
        source="Saxe, McClelland and Ganguli 2014, arXiv:1312.6120",
        coordinates=("U",),
        spectrum=tuple(x**0.5 for x in EIGENVALUES),
    )
