"""What one does with a trained run: adapt its classifier to one's own images, keep it, export it."""
