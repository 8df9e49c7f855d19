"""The bowl: the same curvature in every direction."""

from thalweg.landscape import Landscape, of_coordinates


def bowl(curvature=1.0) -> Landscape:
    """Half the squared distance to the origin, times the curvature."""
    return Landscape(
        name="bowl",
        value=of_coordinates(lambda x, y: 0.5 * curvature * (x**2 + y**2)),
        start=(-1.6, 1.0),
        domain=((-2.0, 2.0), (-2.0, 2.0)),
        minima=((0.0, 0.0),),
        lowest=0.0,
        formula="curvature/2 (x² + y²)",
        summary="A round bowl.",
        teaches="Gradient descent goes straight down, and in one step with lr = 1 / curvature.",
    )
