"""The valley: one direction is curved `condition` times as much as the other."""

from thalweg.landscape import Landscape, of_coordinates


def valley(condition=10.0, rotation=0.0) -> Landscape:
    """A quadratic with eigenvalues 1 and `condition`, turned by `rotation` degrees about its minimum."""
    if not condition > 0:
        raise ValueError(f"condition is {condition!r}; it must be above 0.")
    straight = Landscape(
        name="valley",
        value=of_coordinates(lambda x, y: 0.5 * (x**2 + condition * y**2)),
        start=(-1.7, 0.9),
        domain=((-2.0, 2.0), (-2.0, 2.0)),
        minima=((0.0, 0.0),),
        lowest=0.0,
        formula="(x² + condition y²) / 2",
        summary="A long valley: the model of an ill-conditioned problem.",
        teaches="Gradient descent zigzags and needs about condition steps per digit, momentum about its root. "
        "Turned by 45 degrees, gradient descent and momentum only turn with it; rates per coordinate lose their use.",
        source="Goh 2017, Why momentum really works, distill.pub/2017/momentum",
    )
    return straight.rotated(rotation)
