"""The official formats of OpenAI and Anthropic: ``bodies`` reads them, ``answers`` writes them."""
