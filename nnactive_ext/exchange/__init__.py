"""Tasks out to people's viewers, answers back in."""
