"""The wire formats of OpenAI and Anthropic around the engine: ``bodies`` in, ``answers`` out."""
