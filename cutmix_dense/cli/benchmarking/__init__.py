"""What ``cutmix-dense benchmark`` runs: machine, timing, jobs, peers and report."""
