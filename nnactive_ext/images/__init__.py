"""Images that others wrote, read with suspicion; images that we write, whole or not at all."""
