"""``python tools/instance_bank.py``: the same as ``cutmix-dense bank``, from a clone that isn't installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cutmix_dense.cli.bank import main, parser

__all__ = ["main", "parser"]

if __name__ == "__main__":
    sys.exit(main())
