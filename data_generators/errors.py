"""The one exception that means "the user can fix this"."""


class UserError(ValueError):
    """Bad input. The message is one line: what came, what was expected. `main.py` prints it and exits with 2."""
