"""The command line: ``minivgg demo``, ``summary``, ``train``, ``eval``, ``predict``, ``gradcheck``, ``bench``, ``explain``, ``doctor``, ``warmup``."""


def main() -> None:
    """The entry point of the ``minivgg`` command."""
    from minivgg.cli.app import app

    app()
