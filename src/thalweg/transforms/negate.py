"""Walk up instead of down: torch's ``maximize``, which turns every gradient round before anything else acts."""


def negate(p, g):
    """The gradient's opposite."""
    return p, -g
