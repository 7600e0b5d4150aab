"""Train the ensemble's members, ask them for predictions, and evaluate them."""
