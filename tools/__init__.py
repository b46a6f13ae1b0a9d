"""Scripts: the command lines, each a caller of `cutmix_dense.cli`, and what draws the documentation."""
