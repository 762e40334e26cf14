"""Where the promises come from."""

API = "https://platform.openai.com/docs/api-reference"
GUIDES = "https://platform.openai.com/docs/guides"
ANTHROPIC = "https://docs.anthropic.com/en/api"
OPENAPI = "https://github.com/openai/openai-openapi"
OWN = "veneer"
"""A promise of our own."""
