"""``python -m minivgg.cli`` is the ``minivgg`` command."""

from minivgg.cli import main

main()
