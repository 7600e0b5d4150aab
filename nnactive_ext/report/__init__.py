"""The report of one experiment: one HTML file that says how good it is, how it got there, and what to do next."""
