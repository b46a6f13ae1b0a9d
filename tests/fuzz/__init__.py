"""Fuzzing of every file reader and of the public surface: ``python -m tests.fuzz.run``."""
