"""Every way in which a request for something that is kept can fail.

    ConversationFault
    ├── NotKept                     there is nothing under this id that the asker may see
    │   ├── ResponseNotFound
    │   ├── ConversationNotFound
    │   ├── ItemNotFound
    │   └── PreviousResponseNotFound
    ├── StateRefused                the request contradicts itself, or what is kept
    ├── RunsFull                    as many responses run in the background as may
    └── StateUnavailable            the database cannot be read or written now

What belongs to somebody else is reported exactly as what does not exist.
"""

_LONGEST_SHOWN = 100


def short_id(text: str) -> str:
    """Return an id as a client wrote it, at most 100 characters of it."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


class ConversationFault(Exception):
    """The base class; ``param`` names the field of the request when there is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NotKept(ConversationFault):
    """There is nothing under this id."""


class ResponseNotFound(NotKept):
    """No response has this id."""

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Response with id '{short_id(response_id)}' not found.")


class ConversationNotFound(NotKept):
    """No conversation has this id."""

    def __init__(self, conversation_id: str, *, param: str | None = None) -> None:
        super().__init__(
            f"Conversation with id '{short_id(conversation_id)}' not found.", param=param
        )


class ItemNotFound(NotKept):
    """No item has this id."""

    def __init__(self, item_id: str, *, param: str | None = None) -> None:
        super().__init__(
            f"Item with id '{short_id(item_id)}' not found. Items are not persisted when `store` is"
            " set to false. Try again with `store` set to true, or remove this item from your"
            " input.",
            param=param,
        )


class PreviousResponseNotFound(NotKept):
    """No response has the id that the request wants to go on from."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Previous response with id '{short_id(response_id)}' not found.",
            param="previous_response_id",
        )


class StateRefused(ConversationFault):
    """The request contradicts itself, or what is kept; sending it again cannot help."""


class RunsFull(ConversationFault):
    """As many responses run in the background as may; one more may run later."""


class StateUnavailable(ConversationFault):
    """The database cannot be read or written now, so nothing was changed."""
