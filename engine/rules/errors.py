"""What may be wrong with something that a person gave: one line that quotes it."""


class InputError(ValueError):
    """Input that cannot be used; the message is one line and quotes the offending text."""


class VariantError(InputError):
    """A variant file that breaks its own grammar; names the file, the line and the key."""


class UnknownVariantError(InputError):
    """A variant name that nobody has defined; the message offers the nearest names."""


class FenError(InputError):
    """A position text that does not describe a position of the variant."""


class IllegalMoveError(InputError):
    """A move that the rules do not allow; the message quotes the move and the FEN."""
