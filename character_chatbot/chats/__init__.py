"""Conversations that are kept: a store in SQLite, a tree of messages, votes, files to take along.

store.py        ChatStore: all of it in one object, owner by owner; open_chat_store reads the settings
records.py      what the store gives: Conversation, Message, Comparison
tree.py         which message follows which; pure
turn_order.py   who speaks next in a scene of several characters; pure
whole.py        one conversation with all its branches, as files have it
*_file.py       our own JSON, SillyTavern's JSONL, Markdown
preferences.py  pairs of replies for preference training
commands.py     python training_pipeline.py chats …
"""
