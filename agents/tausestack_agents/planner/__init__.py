"""The offline planner: from a request to tool calls by search and schemas alone, without a language model.

`split` cuts a request into parts, `choice` finds the tool of each, `arguments` its arguments, and `answer` says what
came of them. It is deterministic and invents nothing: what it can't find in the request it names as missing.
"""
