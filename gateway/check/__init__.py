"""What is wrong with the surroundings of a node: facts in, findings out, and nothing else.

`gateway.survey` collects the facts, `fanlight check` shows the findings. Each finding that is not ok says
what to change. What could not be found out is a note, never an ok.

    findings.py   what is said, and how bad it is
    demand.py     what a node with these settings asks of Redis and of the machine
    rights.py     every command that a gateway and a publisher run, as it can be tried without an effect
    server.py     Redis
    sentinels.py  those that name the primary
    access.py     keys and certificates
    machine.py    descriptors, the kernel's limits, ports
"""
