"""What happens on the chat page: each act of a visitor is a generator of views, which a page lays over its parts.

views.py      what a view is
visit.py      what a visitor's page says with each act, and whose conversations it may see
room.py       the state all acts share, and the view of a conversation
scene.py      who speaks next, and what its card adds to the prompt
writing.py    a reply on its way
evidence.py   what was in the prompt of a reply, as it is kept
orders.py     what is wanted of an engine
speaking.py   send, retry, continue, let them talk, stop
branching.py  swipe, edit, branch, rate, undo, redo
keeping.py    open, begin, search, rename, delete, export, import
talk.py       all of them in one object
"""
