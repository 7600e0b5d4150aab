"""What all our HTML pages are made of."""
