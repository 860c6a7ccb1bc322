"""The inspector: how all nodes are, who follows what, and who lags; and presence, by the same questions.

Nodes don't know each other. One that wants to know asks all of them by pub/sub, and waits a moment for their
answers: nothing is written to Redis, and nothing is sent while nobody asks (decision 0021).

    line.py         one connection of each process, for questions and answers
    inquiries.py    asking, answering, and which nodes are known
    roll.py         of nodes that were heard lately, which are silent, and which have gone
    node.py         what this process says of itself
    kept.py         what Redis keeps of some channels
    snapshot.py     all of it, as one JSON object
    inspector.py    the parts together, and the tasks
    pages.py        the admin port: the page, and the object
    crowds.py       presence events, for streams that ask for them
    presence.py     GET /presence
"""
