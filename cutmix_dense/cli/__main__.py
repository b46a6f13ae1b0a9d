"""``python -m cutmix_dense.cli COMMAND``: the same as ``cutmix-dense COMMAND``."""

import sys

from cutmix_dense.cli.main import main

sys.exit(main())
