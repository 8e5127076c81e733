"""The one exception that means "the user can fix this"."""


class UserError(ValueError):
    """Bad input. The message is one line: what came, what was expected. `main.py` prints it and exits with 2."""

    ag_pass_through = True  # tf.function then lets it through, instead of putting lines of its traceback in front
