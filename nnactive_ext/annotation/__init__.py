"""The annotation loop with people: tasks out to their viewers, answers back in."""
