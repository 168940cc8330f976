"""``python -m modulize``: the command line."""

from modulize.cli import main

main()
