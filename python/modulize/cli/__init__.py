"""The command ``modulize``. Needs ``pip install 'modulize[cli]'``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    from modulize._extras import MissingExtraError, need

    try:
        need("typer", "cli")
        need("rich", "cli")
    except MissingExtraError as error:
        print(f"modulize: {error}", file=sys.stderr)
        raise SystemExit(3) from None
    from modulize.cli.commands import app

    app(prog_name="modulize")
