"""What ``tools/benchmark.py`` runs: machine, timing, jobs, peers and report."""
