"""What each viewer opens: one file per viewer."""
