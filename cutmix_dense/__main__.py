"""``python -m cutmix_dense COMMAND``: the same as ``cutmix-dense COMMAND``."""

import sys

from cutmix_dense.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
