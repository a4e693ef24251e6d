"""The tabs of the page, a file each; page.py puts them together.

wiring.py             acts to gradio's events
chat_tab.py           the chat: its layout and its events; chat.js is what runs in the browser
access.js             what gradio leaves out for the keyboard and for screen readers
transcript.py         the messages as HTML
conversation_list.py  the conversations as HTML
status_tab.py         what speaks, what was trained, how the data was read
characters_tab.py     characters and imported cards: edited, saved, taken along
compare_tab.py        two sources side by side, and votes
tool_blocks.py        pieces of HTML for these two
downloads.py          a file for the visitor that does not stay on the server
"""
