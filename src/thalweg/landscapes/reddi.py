"""Reddi's counter-example: Adam forgets the rare large gradient, and walks the wrong way."""

from torch import Tensor

from thalweg.landscape import Landscape


def reddi(c=3.0) -> Landscape:
    """On [-1, 1], of every three steps one has the loss c x and two have -x; the best place is -1."""
    if not c > 2:
        raise ValueError(f"c is {c!r}; it must be above 2: else the best place is not -1.")

    def sample(p: Tensor, t: int, seed: int) -> Tensor:
        return (c if t % 3 == 1 else -1.0) * p[..., 0]

    forgets = f"lr=0.5, beta1=0, beta2={1 / (1 + c**2):.12g}, eps=1e-12, bias_correction=False"
    return Landscape(
        name="reddi",
        value=lambda p: (c - 2) / 3 * p[..., 0],
        start=(0.0,),
        domain=((-1.25, 1.25),),
        minima=((-1.0,),),
        lowest=-(c - 2) / 3,
        formula="c x at every third step, else -x",
        summary="An online problem on which Adam converges to the worst point.",
        teaches="The large gradient is divided by itself, the small ones by the little that is remembered of it: three "
        "steps of Adam add up to the wrong side. AMSGrad remembers the largest.",
        source="Reddi, Kale and Kumar 2018, On the Convergence of Adam and Beyond, theorem 1",
        coordinates=("x",),
        sample=sample,
        bounds=((-1.0, 1.0),),
        decay="sqrt",
        optimizers=f"adam({forgets}), adam({forgets}, amsgrad=True)",
    )
