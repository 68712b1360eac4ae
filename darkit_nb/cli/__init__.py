"""The command line: `darkit-nb train|resume|generate|evaluate|tree|runs|import|data|bench|doctor|demo|lab`."""

from darkit_nb.cli.app import main

__all__ = ["main"]
