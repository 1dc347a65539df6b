"""The command line: `ppghost VERB ...` and PaddleClas' `tools/*.py`, which are one verb each.

The only room that prints, parses arguments, configures logging and chooses exit codes: 0 done, 1 failed
(training broke, an export differs, some pictures could not be read), 2 cannot be done as asked, 130 stopped
by Ctrl-C. Heavy rooms are imported when a verb runs, so that help starts fast.
"""

from ppghost.cli.main import main

__all__ = ["main"]
