"""A model server on loopback: it plays recorded answers in the real wire formats of OpenAI and Anthropic."""
