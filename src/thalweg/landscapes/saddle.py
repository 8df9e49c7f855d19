"""The saddle: downhill to both sides, and nothing to tell which."""

from thalweg.landscape import Landscape, of_coordinates


def saddle() -> Landscape:
    """A saddle at the origin between two minima at y = -1 and y = 1."""
    return Landscape(
        name="saddle",
        value=of_coordinates(lambda x, y: 0.5 * x**2 - 0.5 * y**2 + 0.25 * y**4),
        start=(-1.8, 1e-3),
        domain=((-2.0, 2.0), (-2.0, 2.0)),
        minima=((0.0, -1.0), (0.0, 1.0)),
        lowest=-0.25,
        formula="x²/2 - y²/2 + y⁴/4",
        summary="A saddle between two minima, entered along its ridge.",
        teaches="The gradient is small in the one direction that leads down. Rates per coordinate enlarge it and "
        "leave soon; gradient descent and momentum first walk to the saddle and wait.",
    )
