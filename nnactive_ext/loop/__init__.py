"""Goes round the cycles of an experiment, and says where it stands."""
