"""The one exception that means: the user can mend this, so show a sentence and no traceback."""


class UserError(ValueError):
    """A bad flag, missing or malformed data, or a wrong checkpoint.

    Its message is one sentence that says what is wrong and what to do. Entry points print it and exit with code 2.
    """
