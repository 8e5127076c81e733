"""Tasks to learn from, and nothing about models."""
