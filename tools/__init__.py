"""Command lines. Each is thin: what it does lives in `cutmix_dense`."""
