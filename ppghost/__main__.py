"""Let `python -m ppghost VERB ...` do what the program `ppghost` does."""

import sys

from ppghost.cli import main

if __name__ == "__main__":
    sys.exit(main())
