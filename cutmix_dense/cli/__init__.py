"""The command lines: ``cutmix-dense COMMAND``, and the scripts in ``tools/`` that call the same functions."""
