"""The command line: `thalweg compare digits`. One file per command; `app` puts them together."""

from __future__ import annotations

import sys

from thalweg.extras import MissingExtra, require


def main() -> None:
    """Run the command that the shell gave; the entry point of `thalweg`."""
    try:
        for package in ("typer", "rich"):
            require(package)
    except MissingExtra as missing:
        print(f"thalweg: {missing}", file=sys.stderr)
        raise SystemExit(1) from None
    try:
        from thalweg.cli.app import app

        app()
    except KeyboardInterrupt:  # while it loads
        raise SystemExit(130) from None
