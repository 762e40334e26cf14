"""What is said of ids that do not exist."""

from veneer_server.conversations.errors import ConversationNotFound, ItemNotFound, ResponseNotFound


def test_a_long_id_is_not_repeated_whole() -> None:
    for error in (ResponseNotFound, ConversationNotFound, ItemNotFound):
        assert len(str(error("9" * 5000))) < 400
        assert "'resp_1'" in str(error("resp_1"))
