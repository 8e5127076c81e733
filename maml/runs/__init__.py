"""A run of any method: its settings, its folder, its training, its test."""
