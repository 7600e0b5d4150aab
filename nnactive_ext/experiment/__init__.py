"""An experiment as its files: plan, loop files, results, times."""
