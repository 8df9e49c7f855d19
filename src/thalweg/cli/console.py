"""Where commands print: the terminal as wide as it is, and a file wide enough for a table."""

from __future__ import annotations

from rich.console import Console

WIDE = 160


def wide_console() -> Console:
    """A console on stdout whose tables do not break when it is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)
